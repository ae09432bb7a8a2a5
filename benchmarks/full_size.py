"""A submitted job at full size: 2B multiview network, Wan 2.1 VAE, T5, 7 views of 720p, real mp4s.

    python benchmarks/full_size.py --gang-size 1 [--gangs 1] [--steps 1 --clips 3] [--bundle FOLDER] [--work FOLDER]
    python benchmarks/full_size.py --gang-size 8 --steps 1 35 3 --kill
    python benchmarks/full_size.py --size small --device cpu           # in miniature

Builds files like the published ones if `--bundle` has none (see make_published.py), submits `jobs/generate.py` with
`ray job submit`, to a Ray head of its own or to the one that `RAY_API_SERVER_ADDRESS` names, and prints a line of JSON
a clip and one for the job: seconds to load, of each phase, of a step, GPU idle time between clips, peak memory. Weights
are random, so the videos are noise; nothing else is different.

`--steps` are the clips' numbers of steps; the last one holds for those beyond. `--kill` kills one rank with SIGKILL in
the middle of the last clip (once the clip before it is committed, whose decoding it shares the GPUs with): the figures
then say how long it took until the clip was denoised again. Two clips are then in flight, not three: any of those that
a gang takes at once may be the first, and the last clip must be the last. SIGTERM stops the job and prints what is made
by then.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from reporting import machine, report

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from submitted_job import SubmittedJob  # noqa: E402
from with_head import ray_head  # noqa: E402

from cosmos_ray.clip.family import Family  # noqa: E402
from cosmos_ray.clip.frames import inspect_video  # noqa: E402
from cosmos_ray.ledger.ledger import Ledger  # noqa: E402
from cosmos_ray.ledger.record import Record  # noqa: E402
from cosmos_ray.models.bundle.bundle import load_bundle  # noqa: E402
from cosmos_ray.store.storage import Storage  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gang-size", type=int, default=1)
    parser.add_argument("--gangs", type=int, default=1)
    parser.add_argument("--bundle", type=Path, default=Path("/tmp/published-2b"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/full-size"))
    parser.add_argument("--steps", type=int, nargs="+", default=[1])
    parser.add_argument("--clips", type=int, default=3, help="at least; as many as there are numbers of steps")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="full", help="of the files to build: full or small")
    parser.add_argument("--model", default="cosmos-predict2-2b-multiview", help="of the files to build")
    arguments = parser.parse_args()
    if not (arguments.bundle / "bundle.json").exists():
        make = [sys.executable, ROOT / "benchmarks" / "make_published.py", arguments.bundle, "--size", arguments.size]
        make += ["--model", arguments.model]
        subprocess.run(make, check=True, stdout=sys.stderr)
    folder = arguments.work / secrets.token_hex(4)
    steps = arguments.steps + (arguments.clips - len(arguments.steps)) * arguments.steps[-1:]
    manifest = write_manifest(folder / "manifest.parquet", draw_sample(arguments.work / "sample"), steps)
    signal.signal(signal.SIGTERM, stop)
    report(**machine("torch"))
    began = time.monotonic()
    is_head_there = "RAY_API_SERVER_ADDRESS" in os.environ
    with nullcontext(dict(os.environ)) if is_head_there else ray_head() as environment:
        job = SubmittedJob(folder, environment)
        flags = ["--manifest", manifest, "--model", arguments.bundle, "--gang-size", arguments.gang_size]
        flags += ["--gangs", f"{arguments.gangs}:{arguments.gangs}", "--set", f"device={arguments.device}"]
        flags += ["--set", "gang.clips_in_flight=2"] if arguments.kill else []
        try:
            job.run([str(flag) for flag in flags], kill_after=len(steps) - 1 if arguments.kill else None)
        finally:
            report_job(job, arguments, time.monotonic() - began)
    return job.exit_code or 0


def stop(*_: object) -> None:
    """As an exception, once: what has been made is still reported, whoever else is told to hurry."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def draw_sample(folder: Path) -> Path:
    """A video of the sample drive, drawn small: the job resizes it."""
    video = folder / "clips" / "day" / "video.mp4"
    if not video.exists():
        size = ["--height", "128", "--width", "224"]
        draw = [sys.executable, ROOT / "datasets" / "make_sample.py", "--out", folder, *size]
        paths = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
        subprocess.run(draw, check=True, stdout=sys.stderr, env={**os.environ, "PYTHONPATH": paths})
    return video


def write_manifest(path: Path, video: Path, steps: list[int]) -> Path:
    """Goes round the three modes; a clip a number of steps."""
    rows = [
        {
            "id": f"clip-{number}",
            "prompt": "A clear day on a city street, blue sky.",
            "input_video": str(video.absolute()) if number % 3 else None,
            "num_conditional_frames": (0, 1, 5)[number % 3],
            "num_steps": clip_steps,
            "seed": number,
            "fps": 10,  # the video's own
        }
        for number, clip_steps in enumerate(steps)
    ]
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def report_job(job: SubmittedJob, arguments: argparse.Namespace, wall_s: float) -> None:
    records = sorted(Ledger(Storage(str(job.output))).records(), key=lambda record: record.finished or "")
    made = [record for record in records if record.status == "ok"]
    sidecars = [json.loads((job.output / record.sidecar.path).read_text()) for record in made if record.sidecar]
    recipe = load_bundle(str(arguments.bundle)).recipe
    clips = [clip_figures(record, sidecar, recipe) for record, sidecar in zip(made, sidecars, strict=True)]
    for clip in clips:
        report(gang_size=arguments.gang_size, **clip)
    warm = [clip for number, clip in enumerate(clips) if clip["gang"] in {one["gang"] for one in clips[:number]}]
    infos = [inspect_video(job.output / entry.path) for record in made for entry in record.files]
    report(
        gang_size=arguments.gang_size,
        gangs=arguments.gangs,
        exit_code=job.exit_code,
        is_cut=job.exit_code is None,
        made=len(made),
        failed=[record.error for record in records if record.status != "ok"],
        videos=sorted({(info.frames, info.height, info.width, info.fps) for info in infos}),
        load_s=[float(seconds) for seconds in re.findall(r" is up: .* loaded in ([\d.]+) s", job.log)],
        step_s=statistics.median(clip["step_s"] for clip in warm or clips) if clips else None,
        idle_s=max(clip["idle_s"] for clip in warm) if warm else None,
        recovery=recovery(job, records, recipe),
        wall_s=round(wall_s, 1),
        versions=sidecars[0]["versions"] if sidecars else {},
    )


def clip_figures(record: Record, sidecar: dict[str, Any], recipe: Family) -> dict[str, Any]:
    """step_s: the clip's denoising, encoding of its given frames and handing over its views included, by evaluation."""
    steps = sidecar["clip"]["num_steps"]
    phases = ("prepare", "denoise", "decode", "encode", "put", "idle")
    return {
        "clip": record.id,
        "gang": record.gang,
        "attempt": record.attempt,
        "steps": steps,
        "conditional_frames": sidecar["clip"]["num_conditional_frames"],
        "step_s": round(record.seconds["denoise"] / recipe.passes(steps), 3),
        **{f"{phase}_s": round(record.seconds[phase], 3) for phase in phases},
        "peak_memory_gib": round(sidecar["gang"]["peak_memory_bytes"] / 2**30, 1),
    }


def recovery(job: SubmittedJob, records: list[Record], recipe: Family) -> dict[str, Any] | None:
    """From the kill until another gang denoised the clip, and until it had made as much of it as one step."""
    again = [record for record in records if record.attempt > 1 and record.status == "ok"]
    if job.killed_at is None or not again:
        return None
    record = again[0]
    assert record.started is not None
    spent = record.seconds
    denoised_from = datetime.fromisoformat(record.started) + timedelta(seconds=spent["prepare"] + spent["wait"])
    seconds = (denoised_from - job.killed_at).total_seconds()
    steps = json.loads((job.output / record.sidecar.path).read_text())["clip"]["num_steps"] if record.sidecar else 0
    step_s = spent["denoise"] / recipe.passes(steps)
    return {"clip": record.id, "to_denoising_s": round(seconds, 1), "to_next_step_s": round(seconds + step_s, 1)}


if __name__ == "__main__":
    sys.exit(main())
