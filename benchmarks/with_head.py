"""A Ray head of one's own on this machine, for as long as a command runs.

    python benchmarks/with_head.py COMMAND...      # `ray job` in COMMAND talks to that head

The command begins at once, beside the head's start. What runs on the head ends with it.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from support.heads import free_ports, kill_all_with  # type: ignore[import-not-found]

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@contextmanager
def ray_head() -> Iterator[dict[str, str]]:
    """The environment of commands that talk to the head. It has all cores and GPUs of this machine."""
    token = secrets.token_hex(32)
    port, dashboard, agent, client = free_ports(4)
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    environment.pop("RAY_ADDRESS", None)
    start = [
        *RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        f"--ray-client-server-port={client}", "--disable-usage-stats",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:  # short: sockets lie in it
        start.append(f"--temp-dir={folder}")
        head = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            yield {**environment, "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
        finally:
            kill_all_with(token)  # the jobs are over; an orderly end takes half a minute
            head.wait()


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ray_head() as environment:
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
