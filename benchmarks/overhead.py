"""What a gang loses round its denoising: idle time between clips, and what a clip costs the driver, on this machine.

    python benchmarks/overhead.py [--clips 20] [--seconds 1.0] [--gang-size 2]

The fake generator sleeps for the denoising and makes real frames, real mp4s and real commits; no GPU is needed. The
first clip is left out: nothing can be prepared before it. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from reporting import machine, report

from cosmos_ray import GenerateConfig, generate
from cosmos_ray.ledger import Ledger
from cosmos_ray.storage import Storage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="denoising time of a clip")
    parser.add_argument("--gang-size", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.parquet"
        ids = [f"clip-{number:04d}" for number in range(arguments.clips)]
        pq.write_table(pa.table({"id": ids, "prompt": [f"[seconds={arguments.seconds}]"] * len(ids)}), manifest)
        began = time.monotonic()
        config = GenerateConfig(
            manifest=str(manifest), output=f"{folder}/out", model="fake", device="cpu", gang_size=arguments.gang_size
        )
        generate(config)
        wall_s = time.monotonic() - began
        records = sorted(Ledger(Storage(f"{folder}/out")).records(), key=lambda record: record.started or "")[1:]
    idle_ms = sorted(1000 * record.seconds["idle"] for record in records)
    busy = sum(record.seconds["denoise"] for record in records)
    report(
        clips=len(records),
        idle_ms_median=round(statistics.median(idle_ms), 2),
        idle_ms_max=round(idle_ms[-1], 2),
        busy_fraction=round(busy / (busy + sum(idle_ms) / 1000), 4),
        wall_s=round(wall_s, 1),
        arguments=vars(arguments),
        **machine("ray"),
    )


if __name__ == "__main__":
    main()
