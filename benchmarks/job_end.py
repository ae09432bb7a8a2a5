"""How long is a job there after its last clip? From the last commit record on, until its process has ended.

    python benchmarks/job_end.py [--clips 60] [--runs 5]

A gang of two CPU ranks of the fake model, a Ray of the job's own, clips of seven views with their previews; the output
is on a local disk. What is left to a job then is index, failures and report, and Ray's own end.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from reporting import machine, report, spread

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.store.storage import Storage

_WRITTEN = ("index.parquet", "report.html")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    report(measure="machine", **machine("ray", "pyarrow"))
    found: dict[str, list[float]] = {}
    for run in range(arguments.runs):
        with tempfile.TemporaryDirectory() as name:
            seconds = _run(Path(name), arguments.clips)
        report(measure="run", run=run, load=round(os.getloadavg()[0], 1), **seconds)
        for what, value in seconds.items():
            found.setdefault(what, []).append(value)
    for what, values in found.items():
        report(measure=what, **spread(values, 2))


def _run(folder: Path, clips: int) -> dict[str, float]:
    """Seconds: of all of it, and after the last commit record."""
    rows = [{"id": f"r{n:04d}", "prompt": f"Street {n}.", "seed": n} for n in range(clips)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "m.parquet")
    command = [
        *(sys.executable, "-m", "cosmos_ray", "generate", "--manifest", str(folder / "m.parquet")),
        *("--output", str(folder / "out"), "--model", "fake", "--gang-size", "2"),
    ]
    began = time.time()
    with open(folder / "log", "wb") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    ended = time.time()
    if done.returncode:
        sys.exit((folder / "log").read_text())
    output = Storage(str(folder / "out"))
    settled = Ledger(output).state().settled_table
    if (len(settled), len(list(output.list("previews")))) != (clips, 2 * clips):
        sys.exit("found clips, or previews of clips, that are missing")
    last = max(datetime.datetime.fromisoformat(one) for one in settled["finished"].to_pylist()).timestamp()
    written = {path: (folder / "out" / path).stat().st_mtime for path in _WRITTEN}
    after = {f"{path} after": at - last for path, at in written.items()} | {"ended after": ended - last}
    return {name: round(value, 2) for name, value in {"whole job": ended - began, **after}.items()}


if __name__ == "__main__":
    main()
