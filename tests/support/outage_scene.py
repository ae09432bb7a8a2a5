"""A store that is out while a job publishes, for the table of faults (`tests/chaos.py`).

Twelve clips of two seconds on a gang of two; once the first is committed, a proxy refuses one step of publishing for a
while. No clip may be denoised twice, and a short outage may cost a second of the gang's time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from cosmos_ray.ledger.layout import CLIPS as CLIPS_FOLDER
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.tidy import clean, files_of
from cosmos_ray.store.storage import Storage
from support import s3 as s3_server
from support.cluster import head_of_its_own
from support.fault_proxy import UNAVAILABLE, FaultProxy, Meets, fault_proxy
from support.job_runs import SMALL, actor_pids, check_files, records, write_manifest
from support.waiting import PATIENCE_S, wait_for

STEPS = {
    "attempt mark": r"PUT .*/attempts/",
    "video": r"PUT .*/clips/.*\.mp4",
    "verify": r"HEAD .*/clips/.*\.mp4",
    "sidecar": r"PUT .*/clip\.json",
    "record": r"PUT .*/ledger/",
    "beat": r"PUT .*\.beat",
    "everything": r".*",
}
CLIPS = 12
#: What an outage of up to twenty seconds may cost a gang.
LOST_S = 1.0
#: From the store's return until it has the next record, whatever had failed there.
BACK_WITHIN_S = 2.0


@dataclass(frozen=True)
class Outage:
    """Of one step (`STEPS`), for so many seconds. meets: what its requests do. then: "", or what is killed meanwhile,
    once clips wait: the "driver", whose command is run again at once, or a "rank"."""

    step: str
    seconds: float
    meets: Meets = UNAVAILABLE
    then: str = ""

    @property
    def name(self) -> str:
        if self.meets == "late":
            return f"store answers {self.step} a second late"
        how = "" if self.meets == UNAVAILABLE else f", {self.meets}"
        outage = f"store out at {self.step}, {self.seconds:g} s{how}"
        return f"{self.then} killed while publishing: {outage}" if self.then else outage


@dataclass(frozen=True)
class Cost:
    """recovery_s: from the store's return to the next record; redone: clips denoised again; lost_s: of the gang's time,
    from its first clip to its last."""

    recovery_s: float
    redone: int
    lost_s: float


class _Fault:
    """What requests meet: nothing until a record is stored, then the outage from the first that it is about."""

    def __init__(self, outage: Outage) -> None:
        self._outage = outage
        self._is_armed = False
        self.began = self.ended = self.first_record_after = 0.0

    def __call__(self, method: str, path: str) -> Meets:
        request, now = f"{method} {path}", time.monotonic()
        is_record = re.match(STEPS["record"], request)
        if self._is_armed and re.match(STEPS[self._outage.step], request):
            self.began = self.began or now
            if now < self.began + self._outage.seconds:
                return self._outage.meets
        if self.began and now >= self.began + self._outage.seconds and is_record:
            self.first_record_after = self.first_record_after or now
        self._is_armed = self._is_armed or bool(is_record)
        return None


@contextmanager
def environment_of(proxy: FaultProxy, folder: Path) -> Iterator[dict[str, str]]:
    """Of a job on a Ray of its own, whose every request to the store passes the proxy."""
    environment = {"AWS_ENDPOINT_URL": proxy.url, "COSMOS_RAY_CACHE": str(folder / "cache")}
    with head_of_its_own(2, environment) as address:
        yield {**os.environ, **environment, "RAY_ADDRESS": address}


def run_outage(outage: Outage, folder: Path) -> Cost:
    """Raises AssertionError, with the job's log, if anything does not hold."""
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=2]"} for n in range(CLIPS)]
    manifest, log = write_manifest(folder / "m.parquet", rows), folder / "job.log"
    with pytest.MonkeyPatch.context() as patch:
        output = f"{_bucket(patch)}/out"
        with fault_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
            proxy.fault = fault = _Fault(outage)
            with environment_of(proxy, folder) as environment:
                job = _start(manifest, output, environment, log)
                try:
                    if outage.then:
                        wait_for(lambda: len(_waiting(folder)) >= 2 or job.poll() is not None, "clips that wait")
                        assert job.poll() is None, log.read_text()
                        waiting = _waiting(folder)
                    if outage.then == "driver":
                        job.kill()
                        job.wait()
                        job = _start(manifest, output, environment, log)
                    elif outage.then == "rank":
                        _kill_a_rank(environment["RAY_ADDRESS"])
                    code = job.wait(PATIENCE_S + outage.seconds)
                finally:
                    job.kill()
                    job.wait()
        assert code == 0, f"exit code {code}\n{log.read_text()[-6000:]}"
        assert fault.began, "nothing was refused"
        found = records(output)
        check_files(output)
    assert {one.status for one in found.values()} == {"ok"}, log.read_text()[-6000:]
    assert len(found) == CLIPS
    redone = {one.id for one in found.values() if one.attempt > 1}
    if outage.then:
        assert not redone & waiting, "a clip that waited was denoised again"
        assert outage.then == "driver" or " broke: " in log.read_text(), "no gang broke"
        return Cost(fault.first_record_after - fault.began - outage.seconds, len(redone), 0.0)
    assert not redone, "a clip was denoised again"
    others = sorted(found.values(), key=lambda one: str(one.started))[1:]  # the first one's waiting is the gang's start
    lost_s = sum(one.seconds["idle"] for one in others)
    assert lost_s <= LOST_S or outage.seconds > 20, f"the gang stood still for {lost_s:.2f} s"
    recovery_s = max(0.0, fault.first_record_after - fault.began - outage.seconds)
    assert recovery_s < BACK_WITHIN_S, f"the next record came {recovery_s:.1f} s after the store's return"
    return Cost(recovery_s, 0, lost_s)


def kill_again_and_again(folder: Path) -> Cost:
    """A job whose output is in a bucket is killed four times, each time a moment after a clip was committed."""
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=0.5]"} for n in range(CLIPS)]
    manifest, log = write_manifest(folder / "m.parquet", rows), folder / "job.log"
    with pytest.MonkeyPatch.context() as patch:
        output = f"{_bucket(patch)}/out"
        with fault_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy, environment_of(proxy, folder) as environment:
            for number in range(4):
                before = len(list(Ledger(Storage(output)).records()))
                job = _start(manifest, output, environment, log)
                wait_for(lambda: len(list(Ledger(Storage(output)).records())) > before or job.poll() is not None, "one")  # noqa: B023
                time.sleep(0.3 * number)
                job.kill()
                job.wait()
            began = time.monotonic()
            code = _start(manifest, output, environment, log).wait(PATIENCE_S)
            recovery_s = time.monotonic() - began
        said = log.read_text()[-6000:]
        assert code == 0, f"exit code {code}\n{said}"
        found = records(output)
        assert [one.status for one in found.values()] == ["ok"] * CLIPS, f"{found}\n{said}"
        clean(Storage(output))
        check_files(output)
        left = set(Storage(output).list(CLIPS_FOLDER)) - {path for one in found.values() for path in files_of(one)}
        assert not left, f"{left}\n{said}"
    return Cost(recovery_s, sum(one.attempt > 1 for one in found.values()), 0.0)


def _bucket(patch: pytest.MonkeyPatch) -> str:
    """A new one on a server that this process and its children reach while `patch` holds."""
    server = s3_server.server()
    for name, value in server.environment.items():
        patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
    return server.make_bucket()


def _start(manifest: str, output: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    flags = [part for name in ("device=cpu", "lease.beat_s=0.5", "lease.life_s=60") for part in ("--set", name)]
    names = ["--manifest", manifest, "--output", output, "--model", "fake", "--gang-size", "2"]
    command = [sys.executable, "-m", "cosmos_ray", "generate", *names, *flags]
    with log.open("ab") as file:
        return subprocess.Popen(command, env=environment, stderr=file, stdout=file)


def _kill_a_rank(address: str) -> None:
    ray.init(address=address, log_to_driver=False, logging_level="WARNING")  # which `head_of_its_own` ends
    os.kill(actor_pids("Rank")[-1], signal.SIGKILL)


def _waiting(folder: Path) -> set[str]:
    """Ids of clips that are made and wait on the node's disk."""
    return {path.parent.name.split(".")[0] for path in folder.glob("cache/waiting/*/*/clip.json")}
