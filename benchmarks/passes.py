"""What passes of published networks cost on the GPUs of one machine: seconds, efficiency of gangs, memory of a rank.

    python benchmarks/passes.py cosmos-predict2-14b-video2world cosmos-transfer2.5-2b-multiview --gang-sizes 1 2
    python benchmarks/passes.py cosmos-predict2-14b-video2world --drawn --passes 2               # in half the time
    python benchmarks/passes.py cosmos-predict2-2b-video2world --size small --gang-sizes 1 2     # in miniature, on CPUs

For each model, files of the published form are made with random weights, on which no time depends, and a text encoder
in miniature, which is in no pass; with `--drawn` there are no files, weights are drawn where they are used, as is text.
Every clip is given one frame where its model takes frames, and control videos where it takes those. A pass is one
evaluation under all texts of a step. Prints a line of JSON a model and gang:

    pass_s              of one pass, median over those after the first of a clip; `passes_s` are all of them, the first
                        with the encoding of what is given
    clip_of_35_steps_s  as many passes as such a clip has, and one view a rank decoded after the other; reckoned
    decode_s            of one view
    load_s              by part, with the files on this machine; of what is drawn, all together
    peak_memory_gib     rank 0's, while it denoised and after it decoded; beside it what `model check` plans for the
                        same parts, without the text encoder
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from drawn import drawn_generator, drawn_request, steps_of, with_drawn_text
from reporting import machine, report

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from make_published import make  # noqa: E402
from support.ranks import run_ranks  # type: ignore[import-not-found]  # noqa: E402

from cosmos_ray.clip.request import ClipRequest  # noqa: E402
from cosmos_ray.models.bundle.bundle import Bundle, check_world_size, load_bundle  # noqa: E402
from cosmos_ray.models.bundle.memory import memory_plan  # noqa: E402
from cosmos_ray.models.generator import Generator  # noqa: E402
from cosmos_ray.models.parallel import ContextParallel  # noqa: E402
from cosmos_ray.models.timing import timed  # noqa: E402

WHOLE_STEPS = 35


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="published names")
    parser.add_argument("--gang-sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--passes", type=int, default=3, help="of the clip that is timed")
    parser.add_argument("--size", choices=("full", "small"), default="full")
    parser.add_argument("--drawn", action="store_true", help="no files: weights of one network, at full size")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    report(**machine("torch"))
    for name in arguments.models:
        if arguments.drawn:
            measure(name, name, arguments, device)
            continue
        with TemporaryDirectory(prefix="passes-") as folder:
            made = make(Path(folder), arguments.size, "small", "reference", model=name).parent
            measure(name, str(made), arguments, device)


def measure(name: str, place: str, arguments: argparse.Namespace, device: str) -> None:
    """place: what the bundle is loaded as."""
    bundle, one_s = load_bundle(place), None
    for size in arguments.gang_sizes:
        check_world_size(bundle, size)
        backend = "nccl" if device == "cuda" else "gloo"
        found = run_ranks(size, on_rank, place, arguments.drawn, arguments.passes, device, backend=backend)[0]
        pass_s = statistics.median(found["passes_s"][1:])
        one_s = one_s or pass_s * size
        views = math.ceil(bundle.n_views / size)
        clip_s = pass_s * bundle.recipe.passes(WHOLE_STEPS) + views * found["decode_s"]
        report(
            model=name,
            gang_size=size,
            pass_s=round(pass_s, 3),
            efficiency=round(one_s / pass_s / size, 3),
            clip_of_35_steps_s=round(clip_s, 1),
            **found,
            planned_gib=planned(bundle, size),
        )


def on_rank(parallel: ContextParallel, place: str, is_drawn: bool, passes: int, device: str) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    bundle = load_bundle(place)
    asked = drawn_request(bundle, passes)
    if is_drawn:
        with timed(seconds, "drawing"):
            generator = drawn_generator(bundle, device, parallel)
        asked = with_drawn_text(asked, bundle)
    else:
        generator = Generator.load(bundle, device, parallel, seconds=seconds)
        asked = with_text(generator, asked)
    generator.denoise(replace(asked, num_steps=steps_of(bundle, 1)))  # libraries set themselves up
    reset_peak(device)
    marks = [now(device)]
    latents = generator.denoise(asked, on_step=lambda *_: marks.append(now(device)))
    denoised_gib = peak_gib(device)
    owned = generator.collect(latents, asked.views)
    began = now(device)
    generator.decode(dict(itertools.islice(owned.items(), 1)))
    return {
        "passes_s": [round(after - before, 3) for before, after in itertools.pairwise(marks)],
        "decode_s": round(now(device) - began, 3),
        "load_s": {part: round(took, 1) for part, took in seconds.items()},
        "peak_memory_gib": [denoised_gib, peak_gib(device)],
    }


def with_text(generator: Generator, asked: ClipRequest) -> ClipRequest:
    """The first rank has the text encoder."""
    embedded = [generator.embed(asked).text if generator.parallel.rank == 0 else None]
    if generator.parallel.world_size > 1:
        dist.broadcast_object_list(embedded)
    return replace(asked, text=embedded[0])


def now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.monotonic()


def reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: str) -> float | None:
    return round(torch.cuda.max_memory_allocated() / 2**30, 1) if device == "cuda" else None


def planned(bundle: Bundle, gang_size: int) -> list[float]:
    """While it denoises, and with the decoding of another clip beside it."""
    plan = memory_plan(bundle, gang_size)
    denoising = plan.network + plan.vae + plan.activations + plan.latents
    return [round(part / 2**30, 1) for part in (denoising, denoising + plan.decode)]


if __name__ == "__main__":
    main()
