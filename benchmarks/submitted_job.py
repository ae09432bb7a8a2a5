"""One job through `ray job submit`: submitted, followed, a rank of it killed if that is asked for, stopped if late."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from with_head import RAY

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.store.storage import Storage

ROOT = Path(__file__).resolve().parents[1]
_HEAD_S = 120.0


class SubmittedJob:
    """exit_code: None while it runs, and if it was stopped. log: what the driver said. killed_at: when a rank was."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.output = folder / "out"
        self.exit_code: int | None = None
        self.killed_at: datetime | None = None
        self._log = folder / "job.log"
        self._environment = environment
        self._id = f"benchmark-{secrets.token_hex(4)}"

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def committed(self) -> int:
        return sum(1 for _ in Ledger(Storage(str(self.output))).records())

    def run(self, flags: list[str], kill_after: int | None = None) -> None:
        """Submit and follow it to its end. kill_after: kills a rank when so many clips are committed."""
        _await_head(self._environment)
        submit = [*RAY, "job", "submit", "--submission-id", self._id, "--working-dir", str(ROOT), "--"]
        command = [*submit, sys.executable, "jobs/generate.py", "--output", str(self.output), *flags]
        with self._log.open("wb") as log:
            following = subprocess.Popen(command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            while following.poll() is None:
                if kill_after is not None and self.killed_at is None and self.committed() >= kill_after:
                    self._kill_a_rank()
                time.sleep(0.1)
            self.exit_code = following.returncode
        finally:
            if self.exit_code is None:
                stop = [*RAY, "job", "stop", self._id]
                subprocess.run(stop, env=self._environment, stdout=sys.stderr, check=False, timeout=60)
            print(self.log, file=sys.stderr, flush=True)

    def _kill_a_rank(self) -> None:
        """As a GPU that falls off the bus would take it: without a word."""
        os.environ |= {name: self._environment[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
        from ray.util.state import list_actors

        address = self._environment["RAY_API_SERVER_ADDRESS"]
        alive = list_actors(address, filters=[("class_name", "=", "Rank"), ("state", "=", "ALIVE")], detail=True)
        working = [rank for rank in alive if "-rank" in rank.name]  # the others are spares
        os.kill(working[-1].pid, signal.SIGKILL)
        self.killed_at = datetime.now(UTC)


def _await_head(environment: dict[str, str]) -> None:
    """A head that has just been started takes jobs once its dashboard lists them."""
    deadline = time.monotonic() + _HEAD_S
    while subprocess.run([*RAY, "job", "list"], env=environment, capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no Ray head answers at {environment['RAY_API_SERVER_ADDRESS']}")
        time.sleep(0.5)
