"""A Ray head node of one's own: its ports, folder and token are nobody else's, and only its processes are stopped."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.cluster import TOO_LATE, TRIES
from support.heads import answers, free_ports, kill_all_with
from support.waiting import PATIENCE_S, wait_for

RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Head:
    """A running head. address: of its dashboard; gcs: where nodes join. environment: of every command that may talk to
    it. folder: where Ray keeps its files. working_dir: what is submitted.
    """

    address: str
    gcs: str
    environment: dict[str, str]
    folder: Path
    working_dir: Path

    def ray(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `ray` command; standard output and error come in one."""
        return subprocess.run(
            [str(RAY), *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def get(self, path: str) -> Any:
        """What the dashboard answers."""
        token = self.environment["RAY_AUTH_TOKEN"]
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def log(self, submission: str) -> str:
        return str(self.get(f"/api/jobs/{submission}/logs")["logs"])

    def submit(self, manifest: str, output: Path | str, *flags: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        """Exit code and log of a submitted job of the fake model, gangs of 2 CPU ranks."""
        ours = ("--manifest", manifest, "--output", str(output), "--model", "fake", "--gang-size", "2")
        where = ("--address", self.address, "--working-dir", str(self.working_dir), *options)
        command = ("python", "jobs/generate.py", *ours, "--set", "device=cpu", *flags)
        done = self.ray("job", "submit", *where, "--", *command)
        return done.returncode, done.stdout


@contextmanager
def head_node(working_dir: Path) -> Iterator[Head]:
    """A head with as many CPUs as one gang of two needs: a gang that was left behind leaves no room for the next.

    Its processes have this process's environment, credentials of stores included; the commands that talk to it do not.
    """
    folder = Path(tempfile.mkdtemp(prefix="cosmos-ray-"))  # short: Ray's sockets lie in it
    shared = {
        "RAY_AUTH_MODE": "token",  # a head turns it on by itself, `ray job` commands have to be told
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PATH": f"{RAY.parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_worker_niceness": "0",  # as on the clusters that this process starts
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RAY_") and name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    try:
        gcs, dashboard = _start(folder, inherited | shared)
        submitter = {name: value for name, value in inherited.items() if not name.startswith("AWS_")} | shared
        yield Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", submitter, folder, working_dir)
    finally:
        kill_all_with(shared["RAY_AUTH_TOKEN"])
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, environment: dict[str, str]) -> tuple[int, int]:
    """Ports of the head and of its dashboard, which answers. A head that comes too late for Ray is started again."""
    for _ in range(TRIES):
        gcs, dashboard, agent, client = free_ports(4)
        command = [
            str(RAY), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=2",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
            f"--ray-client-server-port={client}", "--object-store-memory=200000000", "--disable-usage-stats",
            f"--temp-dir={folder / 'ray'}",
        ]  # fmt: skip
        log = folder / "head.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
            )
        wait_for(
            lambda log=log, process=process: "Ray runtime started" in log.read_text() or process.poll() is not None,
            lambda log=log: f"a head. {log.read_text()[-3000:]}",
        )
        if process.poll() is None:
            wait_for(lambda port=dashboard: answers(port), "the dashboard")
            return gcs, dashboard
        assert TOO_LATE in log.read_text(), log.read_text()
        kill_all_with(environment["RAY_AUTH_TOKEN"])
    raise AssertionError(f"a head came too late {TRIES} times: {log.read_text()}")


def processes_of(token: str) -> Iterator[Path]:
    """In /proc, the processes of the cluster with this token: those that have it in their environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.name != str(os.getpid()) and token.encode() in (entry / "environ").read_bytes():
                yield entry
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
