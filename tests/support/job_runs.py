"""What tests of whole jobs share: manifests, runs with the fake generator, and what must hold afterwards."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.config import GenerateConfig
from cosmos_ray.job.job import Summary, generate
from cosmos_ray.ledger.layout import LEASE
from cosmos_ray.ledger.lease import read_owner
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.store.storage import Storage
from support.waiting import PATIENCE_S, wait_for

#: Nobody waits long for a sign of life, and no owner is taken for dead because its machine is busy. A test of takeovers
#: says a shorter life itself.
FAST = {"lease": {"beat_s": 0.5, "life_s": 60.0}, "breaker": {"max_pause_s": 0.2}}


#: For rows of which nothing but their fate is of interest: two of the seven videos, one a rank.
SMALL = {"n_views": 2}


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
    """Every file of every ok clip is there and is what its record says, its preview too."""
    storage = Storage(str(output))
    for record in records(output).values():
        if record.status != "ok":
            continue
        assert record.sidecar is not None
        assert len(record.previews) == 2, record.id
        for entry in (*record.files, *record.previews, record.sidecar):
            data = storage.read(entry.path)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (entry.size, entry.sha256), entry.path


def run_job(manifest: str, output: Path | str, **settings: Any) -> tuple[Summary, list[str]]:
    """A job in this process, on the Ray that the test has started; what it ended with and what it said."""
    said: list[str] = []
    return generate(fake_config(manifest, output, **settings), said.append), said


def actor_pids(class_name: str, name: str = "") -> list[int]:
    """Processes of the live actors of a class, on whatever node of this machine. name: how their names begin; a rank's
    does with its gang's."""
    from ray._private.state import actors  # the public state API needs a dashboard

    return [
        actor["Pid"]
        for actor in actors().values()
        if actor["ActorClassName"].endswith(class_name) and actor["State"] == "ALIVE" and actor["Name"].startswith(name)
    ]


def drain(address: str, node_id: str, notice_s: int) -> None:
    """What `cluster/drain_node.py` and `ray drain-node` ask the head for, without a process that starts meanwhile."""
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    ends_ms = int((time.time() + notice_s) * 1000)
    accepted, refusal = GcsClient(address=address).drain_node(node_id, reason, "spot notice", ends_ms)
    assert accepted, refusal


class BackgroundJob:
    """A job in a thread of this process, on the Ray that the test has started."""

    def __init__(self, manifest: str, output: Path | str, **settings: Any) -> None:
        self.said: list[str] = []
        self._ended: list[Summary | Exception] = []
        self._config = fake_config(manifest, output, **settings)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        _STARTED.add(self)

    def _run(self) -> None:
        try:
            self._ended.append(generate(self._config, self.said.append))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self._ended.append(error)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> Summary:
        """How it ended; raises what it raised."""
        self._thread.join(PATIENCE_S)
        assert self._ended, f"the job did not end: {self.said}"
        _STARTED.discard(self)
        if isinstance(self._ended[0], Exception):
            raise self._ended[0]
        return self._ended[0]

    def end(self) -> None:
        """As another job would that takes its output over: for tests that failed before their job had ended."""
        storage = Storage(self._config.output)
        while self.is_running:
            if owner := read_owner(storage):
                storage.write_if_absent(f"{LEASE}/{owner.epoch + 1:08d}.json", b"{}")
            self._thread.join(1)


_STARTED: set[BackgroundJob] = set()


def end_background_jobs() -> None:
    """Those whose result nobody has asked for; a job must not be there when its cluster goes."""
    while _STARTED:
        _STARTED.pop().end()


def assert_no_actors_left() -> None:
    """No leader and no rank outlives its job."""
    wait_for(lambda: not actor_pids("GangLeader") and not actor_pids("Rank"), "all gang actors to be gone")


def identity(path: Path) -> tuple[int, int]:
    """Changes when a file is written again, in place or by replacement; not when it is read."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
