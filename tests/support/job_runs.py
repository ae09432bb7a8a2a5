"""What tests of whole jobs share: manifests, runs with the fake generator, and what must hold afterwards."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.config import GenerateConfig
from cosmos_ray.job.job import Summary, generate
from cosmos_ray.ledger.ledger import Ledger, Record
from cosmos_ray.store.storage import Storage

#: Short lives, so that tests of takeovers take seconds.
FAST = {"lease": {"beat_s": 0.5, "life_s": 3.0}, "breaker": {"max_pause_s": 0.2}}


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> str:
    """A Parquet manifest of these rows; columns that a row lacks are null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), path)
    return str(path)


def fake_config(manifest: str, output: Path | str, **settings: Any) -> GenerateConfig:
    """A job with the fake generator on CPU gangs."""
    base: dict[str, Any] = {"model": "fake", "device": "cpu", "gang_size": 2, "max_failed": "1.0", **FAST}
    return GenerateConfig.model_validate({**base, **settings, "manifest": manifest, "output": str(output)})


def records(output: Path | str) -> dict[str, Record]:
    """The commit records by clip; fails if a clip has two of one generation (it cannot) or more than one in all."""
    found: dict[str, Record] = {}
    for record in Ledger(Storage(str(output))).records():
        assert record.id not in found, f"{record.id} ended twice"
        found[record.id] = record
    return found


def check_files(output: Path | str) -> None:
    """Every file of every ok clip is there and is what its record says."""
    storage = Storage(str(output))
    for record in records(output).values():
        if record.status != "ok":
            continue
        assert record.sidecar is not None
        for entry in (*record.files, record.sidecar):
            data = storage.read(entry.path)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size, entry.sha256), entry.path


def run_job(manifest: str, output: Path | str, **settings: Any) -> tuple[Summary, list[str]]:
    """A job in this process, on the Ray that the test has started; what it ended with and what it said."""
    said: list[str] = []
    return generate(fake_config(manifest, output, **settings), said.append), said


def actor_pids(class_name: str) -> list[int]:
    """Processes of the live actors of a class, on whatever node of this machine."""
    from ray._private.state import actors  # the public state API needs a dashboard

    return [
        actor["Pid"]
        for actor in actors().values()
        if actor["ActorClassName"].endswith(class_name) and actor["State"] == "ALIVE"
    ]


def drain(address: str, node_id: str, notice_s: int) -> None:
    """What a preStop hook runs."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", f"--address={address}"]
    reason = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot notice"]
    where = [f"--node-id={node_id}", f"--deadline-remaining-seconds={notice_s}"]
    done = subprocess.run([*command, *where, *reason], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class BackgroundJob:
    """A job in a thread of this process, on the Ray that the test has started."""

    def __init__(self, manifest: str, output: Path | str, **settings: Any) -> None:
        self.said: list[str] = []
        self._ended: list[Summary | Exception] = []
        self._config = fake_config(manifest, output, **settings)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._ended.append(generate(self._config, self.said.append))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self._ended.append(error)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def result(self, timeout_s: float = 120) -> Summary:
        """How it ended; raises what it raised."""
        self._thread.join(timeout_s)
        assert self._ended, f"the job did not end: {self.said}"
        if isinstance(self._ended[0], Exception):
            raise self._ended[0]
        return self._ended[0]


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 120.0) -> Any:
    """The first true value of `condition`; fails with `what` if there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {timeout_s:.0f} s in vain for {what}")


def assert_no_actors_left() -> None:
    """No leader and no rank outlives its job."""
    wait_for(lambda: not actor_pids("GangLeader") and not actor_pids("Rank"), "all gang actors to be gone")


def identity(path: Path) -> tuple[int, int]:
    """Changes when a file is written again, in place or by replacement; not when it is read."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
