"""A job is killed and started again on the same machine: how long until its next clip?

    python benchmarks/rerun.py                # the owner's process is named in the lease
    python benchmarks/rerun.py --unnamed      # as by releases whose lease does not say: a dead owner is watched

A gang of two CPU ranks of the fake model, a Ray of the job's own, clips of two seconds; the driver gets SIGKILL once
two clips are committed, and the same command runs at once. Prints when, from the kill on, each thing had come.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from reporting import machine, report

#: What the second run says when something has come.
_SAID = {
    "the output is its own": r"^\S+ run 2 of",
    "Ray is up": r"gangs of 2 on cpu",
    "the gang is up": r"gang-0001 is up",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unnamed", action="store_true", help="the lease does not name its owner's process")
    unnamed = parser.parse_args().unnamed
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [{"id": f"r{n}", "prompt": "a road [seconds=2]", "n_views": 2} for n in range(8)]
        pq.write_table(pa.Table.from_pylist(rows), folder / "m.parquet")
        first = _start(folder, "first.log")
        while len(_records(folder)) < 2:
            assert first.poll() is None, (folder / "first.log").read_text()
            time.sleep(0.05)
        first.kill()
        killed, before = time.monotonic(), len(_records(folder))
        first.wait()
        if unnamed:
            _forget_process(folder / "out/_cosmos_ray/lease/00000001.json")
        second = _start(folder, "second.log")
        came: dict[str, float] = {}
        while len(_records(folder)) <= before:
            assert second.poll() is None, (folder / "second.log").read_text()
            said = (folder / "second.log").read_text()
            for what, pattern in _SAID.items():
                if what not in came and re.search(pattern, said, re.MULTILINE):
                    came[what] = round(time.monotonic() - killed, 1)
            time.sleep(0.05)
        came["its first clip is committed"] = round(time.monotonic() - killed, 1)
        second.wait()
    report(process_named=not unnamed, seconds_after_the_kill=came, **machine("ray"))


def _start(folder: Path, log: str) -> subprocess.Popen[bytes]:
    names = ["--manifest", str(folder / "m.parquet"), "--output", str(folder / "out"), "--model", "fake"]
    command = [sys.executable, "-m", "cosmos_ray", "generate", *names, "--gang-size", "2", "--set", "device=cpu"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with (folder / log).open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def _records(folder: Path) -> list[Path]:
    return list(folder.glob("out/_cosmos_ray/ledger/*/*.json"))


def _forget_process(lease: Path) -> None:
    claim = json.loads(lease.read_text())
    lease.write_text(json.dumps({**claim, "process": None}))


if __name__ == "__main__":
    main()
