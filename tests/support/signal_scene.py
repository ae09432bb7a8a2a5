"""A job that is told to stop at any moment of its life, for the table of faults (`tests/chaos.py`).

One line, the lease released, exit 1, in under five seconds, and nothing of its own Ray left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.store.storage import Storage
from support.cluster import once_ray_has_started
from support.job_runs import SMALL, records, write_manifest
from support.waiting import PATIENCE_S, wait_for

#: Name of a moment -> what the job has said by then, or what is there.
MOMENTS = {
    "its first moment": "heard",
    "Ray starting": "run 1 of",
    "gangs waiting": "gangs of 2",
    "gangs loading": "a rank",
    "working": "_cosmos_ray/attempts",
    "publishing": "_cosmos_ray/ledger",
    "finishing": "is released: no clip is left",
}
_WAYS = [f"{name}{to}{often}" for name in ("TERM", "INT") for to in ("", " group") for often in ("", " twice")]
STOPS = (*_WAYS, "HUP")


@dataclass(frozen=True)
class Stop:
    moment: str
    stop: str

    @property
    def name(self) -> str:
        return f"SIG{self.stop}, {self.moment}"


def run_stop(case: Stop, folder: Path) -> float:
    """Seconds from the signal to the end. Raises AssertionError, with the job's log, if anything does not hold."""
    return once_ray_has_started(lambda attempt: _run(case, attempt), folder, case.name)


def _run(case: Stop, folder: Path) -> float:
    output, log = folder / "out", folder / "log"
    hangs = case.moment != "finishing"
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [hang]" if n == 3 and hangs else "a road"} for n in range(4)]
    command = _command(write_manifest(folder / "m.parquet", rows), output)
    alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with log.open("w") as file:
        job = subprocess.Popen(command, env=alone, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_for(lambda: job.poll() is not None or _has_come(case.moment, job.pid, output, log), case.moment)
        began = time.monotonic()
        _send(job, case.stop)
        code = job.wait(PATIENCE_S)
        took = time.monotonic() - began
        _check(case, code, log.read_text(), output)
        wait_for(lambda: not session(job.pid), "the processes of its Ray to be gone")
        return took
    finally:
        for pid in session(job.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        job.wait()


def _send(job: subprocess.Popen[bytes], stop: str) -> None:
    number, is_group = getattr(signal, f"SIG{stop.split()[0]}"), "group" in stop
    for _ in range(2 if "twice" in stop else 1):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, number) if is_group else job.send_signal(number)
        if "twice" in stop:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.wait(0.5)


def _check(case: Stop, code: int, said: str, output: Path) -> None:
    twice = "twice" in case.stop
    last = [line for line in said.splitlines() if line.startswith("cosmos-ray: ")]
    if code == 0 and case.moment == "finishing":  # it had ended before it heard
        assert not last, last
        assert len(records(output)) == 4
        return
    assert code == 1, f"exit code {code}"
    assert len(last) == 1, last
    assert f"stopped by SIG{case.stop.split()[0]}" in last[0] or (twice and "ended at once" in last[0]), last
    assert "Traceback" not in said
    if case.moment in ("working", "publishing"):
        assert "is stopped in the middle of" in said
    watched: list[str] = []
    acquire(Storage(str(output)), LeaseTimes(1.0, PATIENCE_S), say=watched.append).release()
    assert not watched or twice, "the lease was not released"


def _command(manifest: str, output: Path) -> list[str]:
    settings = ["device=cpu", "lease.beat_s=0.5", "lease.life_s=3"]
    flags = [part for setting in settings for part in ("--set", setting)]
    names = ["--manifest", manifest, "--output", str(output), "--model", "fake", "--gang-size", "2"]
    return [sys.executable, "-m", "cosmos_ray", "generate", *names, *flags]


def _has_come(moment: str, pid: int, output: Path, log: Path) -> bool:
    what = MOMENTS[moment]
    if what == "heard":
        return _hears(pid)
    if what == "a rank":
        return any(b"Rank" in title(one) for one in session(pid))
    return bool(list(output.glob(f"{what}/**/r0.*"))) if "/" in what else what in log.read_text()


def _hears(pid: int) -> bool:
    """Has it handlers of its own for what ends it? (proc(5), SigCgt)"""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        caught = int(next(line for line in lines if line.startswith("SigCgt:")).split()[1], 16)
        return all(caught >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    return False


def title(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def session(leader: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found
