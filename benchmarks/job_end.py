"""How long is a job there after its last clip? From the last commit record on, until its process has ended.

    python benchmarks/job_end.py [--clips 60]

A gang of two CPU ranks of the fake model, a Ray of the job's own, clips of seven views with their previews; the output
is on a local disk. What is left to a job then is index, failures and report, and Ray's own end.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from reporting import machine, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.store.storage import Storage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    count = parser.parse_args().clips
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [{"id": f"r{n:04d}", "prompt": f"Street {n}.", "seed": n} for n in range(count)]
        pq.write_table(pa.Table.from_pylist(rows), folder / "m.parquet")
        command = [
            *(sys.executable, "-m", "cosmos_ray", "generate", "--manifest", str(folder / "m.parquet")),
            *("--output", str(folder / "out"), "--model", "fake", "--gang-size", "2"),
        ]
        began = time.time()
        with open(folder / "log", "wb") as log:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)
        ended = time.time()
        if done.returncode:
            sys.exit((folder / "log").read_text())
        output = Storage(str(folder / "out"))
        settled = Ledger(output).state().settled_table
        last = max(datetime.datetime.fromisoformat(one) for one in settled["finished"].to_pylist()).timestamp()
        written = {path: (folder / "out" / path).stat().st_mtime for path in ("index.parquet", "report.html")}
        report(
            measure="job",
            clips=len(settled),
            previews=len(list(output.list("previews"))) // 2,
            whole_s=round(ended - began, 1),
            after_its_last_clip_s=round(ended - last, 2),
            **{f"{path} after s": round(at - last, 2) for path, at in written.items()},
            **machine("ray", "pyarrow"),
        )


if __name__ == "__main__":
    main()
