"""Work that a preemption costs, with and without the clip in flight being stored (`gang.step_checkpoint`).

    python benchmarks/preemption.py [--kills 5] [--every 4]

A gang of two CPU ranks works on a clip of 40 steps of 0.25 s (the fake generator: what survives is measured, not
how fast). One rank is killed at a random moment; the next gang makes the clip. Lost are the steps made before the kill
that were made again. Prints a line of JSON without stored states (`stored_every` 0) and one with them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import ray
from reporting import machine, report, spread

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from support.job_runs import actor_pids, records, run_job, wait_for, write_manifest

STEPS = 40
STEP_S = 0.25


def lost_steps(kill_after_steps: int, every: int) -> float:
    """Steps made again after a kill in mid-clip."""
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as name:
        folder, output = Path(name), Path(name) / "out"
        row = {"id": "clip", "prompt": f"a road [seconds={STEP_S * (STEPS + 1)}]", "num_steps": STEPS}
        manifest = write_manifest(folder / "m.parquet", [row])
        settings = {"gang": {"step_checkpoint": every}}
        job = threading.Thread(target=run_job, args=(manifest, output), kwargs=settings)
        job.start()
        wait_for((output / "_cosmos_ray" / "attempts" / "clip.1").exists, "the clip to begin")
        time.sleep(STEP_S * kill_after_steps)
        os.kill(actor_pids("Rank")[0], signal.SIGKILL)
        job.join()
        record = records(output)["clip"]
        assert record.sidecar is not None
        first_step = json.loads((output / record.sidecar.path).read_bytes())["first_step"]
    return kill_after_steps - first_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--every", type=int, default=4, help="steps between stored states")
    arguments = parser.parse_args()
    report(**machine("ray"))
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    moments = [random.Random(number).randrange(4, STEPS - 2) for number in range(arguments.kills)]
    for every in (0, arguments.every):
        lost = [lost_steps(moment, every) for moment in moments]
        report(stored_every=every, steps=STEPS, killed_after=moments, lost=lost, **spread(lost, 0))


if __name__ == "__main__":
    main()
