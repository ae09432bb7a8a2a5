"""A comparison that is killed, or told to stop, within its jobs or between them, for the table of faults.

Two settings on gangs that outlive a job. Told to stop it ends as a job does; the same command then makes what is left,
each clip once, and a page of all.
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

import pyarrow.parquet as pq

from cosmos_ray.ledger.layout import CLIPS as CLIPS_FOLDER
from cosmos_ray.ledger.tidy import clean, files_of
from cosmos_ray.store.storage import Storage
from support.cluster import once_ray_has_started
from support.job_runs import SMALL, check_files, records, write_manifest
from support.signal_scene import session, title
from support.waiting import PATIENCE_S, wait_for

SETTINGS = {"exact": 2, "few": 3}  # name -> sampling.num_steps
CLIPS = 4
#: Name of a moment -> what the command has said by then, or what is there.
MOMENTS = {
    "in the first setting": "exact/_cosmos_ray/ledger",
    "between the settings": "setting few:",
    "a gang taken up": "it was kept, with its model loaded",
    "in the second setting": "few/_cosmos_ray/ledger",
    "while clips are compared": "comparing 4 clips",
}
#: What happens then: the command is killed, told to stop, or the leader of the gang that it keeps is.
FAULTS = ("killed", "SIGTERM", "leader killed")
#: There is no gang any more.
_NO_LEADER = "while clips are compared"


@dataclass(frozen=True)
class Broken:
    moment: str
    fault: str

    @property
    def name(self) -> str:
        return f"compare: {self.fault} {self.moment}"


#: Every moment and fault that can be.
CASES = tuple(
    Broken(moment, fault) for moment in MOMENTS for fault in FAULTS if (moment, fault) != (_NO_LEADER, "leader killed")
)


def run_broken(case: Broken, folder: Path) -> float:
    """Seconds from the fault to the command's end. Raises AssertionError, with the log, if anything does not hold."""
    return once_ray_has_started(lambda attempt: _run(case, attempt), folder, case.name)


def _run(case: Broken, folder: Path) -> float:
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=0.5]"} for n in range(CLIPS)]
    command = _command(write_manifest(folder / "m.parquet", rows), folder)
    job = _start(command, folder)
    try:
        wait_for(lambda: job.poll() is not None or _has_come(case.moment, folder), case.moment)
        assert job.poll() is None, "it ended before"
        began = time.monotonic()
        _break(case, job)
        code = job.wait(PATIENCE_S)
        took = time.monotonic() - began
        said = (folder / "log").read_text()
        last = [line for line in said.splitlines() if line.startswith("cosmos-ray: ")]
        if case.fault == "SIGTERM":
            assert code == 1, f"exit code {code}"
            assert len(last) == 1, last
            assert "stopped by SIGTERM" in last[0], last
            assert "Traceback" not in said
        elif case.fault == "leader killed":
            assert code == 0, f"exit code {code}"
        wait_for(lambda: not session(job.pid), "the processes of its Ray to be gone")
    finally:
        _end(job)
    again = _start(command, folder)
    try:
        assert again.wait(PATIENCE_S) == 0, "the same command did not go on"
    finally:
        _end(again)
    _check(folder / "compared")
    return took


def _break(case: Broken, job: subprocess.Popen[bytes]) -> None:
    if case.fault == "leader killed":
        leaders = [pid for pid in session(job.pid) if title(pid).startswith(b"ray::GangLeader")]
        os.kill(leaders[-1], signal.SIGKILL)
    else:
        job.send_signal(signal.SIGKILL if case.fault == "killed" else signal.SIGTERM)


def _check(home: Path) -> None:
    for name in SETTINGS:
        output = str(home / name)
        found = records(output)
        assert [one.status for one in found.values()] == ["ok"] * CLIPS, found
        check_files(output)
        clean(Storage(output))
        left = set(Storage(output).list(CLIPS_FOLDER)) - {path for one in found.values() for path in files_of(one)}
        assert not left, f"unreferenced objects are left: {left}"
    rows = pq.read_table(home / "compare.parquet").to_pylist()
    assert {(row["setting"], row["id"], row["status"]) for row in rows} == {
        (name, f"r{n}", "ok") for name in SETTINGS for n in range(CLIPS)
    }
    assert all(row["ssim"] is not None for row in rows if row["setting"] == "few")
    assert (home / "compare.html").exists()


def _command(manifest: str, folder: Path) -> list[str]:
    files = []
    for name, steps in SETTINGS.items():
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(f"sampling: {{num_steps: {steps}}}\n")
    settings = ["device=cpu", "lease.beat_s=0.5", "lease.life_s=3"]
    flags = [part for setting in settings for part in ("--set", setting)]
    names = ["--manifest", manifest, "--output", str(folder / "compared"), "--model", "fake", "--gang-size", "1"]
    return [sys.executable, "-m", "cosmos_ray", "compare", *names, "--settings", *map(str, files), *flags]


def _start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with (folder / "log").open("a") as file:
        return subprocess.Popen(command, env=alone, stdout=file, stderr=file, start_new_session=True)


def _end(job: subprocess.Popen[bytes]) -> None:
    for pid in session(job.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    job.wait()


def _has_come(moment: str, folder: Path) -> bool:
    what = MOMENTS[moment]
    if "/" in what:
        return bool(list((folder / "compared").glob(f"{what}/**/*.json")))
    return what in (folder / "log").read_text()
