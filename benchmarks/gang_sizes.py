"""One clip on gangs of several sizes: seconds a step, efficiency, and how far apart the latents are.

    python benchmarks/gang_sizes.py --gang-sizes 1 4 8                 # 720p, 7 views, on the GPUs of one machine
    python benchmarks/gang_sizes.py --gang-sizes 1 2 --attention fp8   # self-attention in 8 bits, as jobs ask for it
    python benchmarks/gang_sizes.py --size small --gang-sizes 1 2      # the same in miniature, also on a CPU

Random weights, guidance 7, the same seed everywhere; numbers are compared with the smallest gang's. The largest gang
makes the clip once more with another attention kernel. What that changes is what rounding in other places changes, so
splitting the clip may change no more than twice as much (few steps multiply rounding: one solver step at guidance 7
leaves far larger differences than 35 do). Gangs other than the largest run beside each other where there are GPUs.

Prints a line of JSON a gang. `step_s` is of the last network evaluation, the first being the warm-up. Exits with 1 if
latents are further apart than that.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import machine, report
from torch.nn.attention import SDPBackend

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from denoise import synchronise  # noqa: E402
from step_modes import SIZES, Size, published_flop  # noqa: E402
from support.networks import random_network  # type: ignore[import-not-found]  # noqa: E402
from support.ranks import run_ranks  # type: ignore[import-not-found]  # noqa: E402
from support.sampled import attention_by, distance, psnr, sample  # type: ignore[import-not-found]  # noqa: E402

from cosmos_ray.clip.approximations import Approximations  # noqa: E402
from cosmos_ray.models.network.attention import attention_kernel  # noqa: E402
from cosmos_ray.models.network.fp8 import check_fp8  # noqa: E402
from cosmos_ray.models.parallel import ContextParallel  # noqa: E402


@dataclass(frozen=True)
class Clip:
    """latents: whole, [V, L, 64]; seconds: of each network evaluation, both texts."""

    latents: np.ndarray
    seconds: list[float]
    kernel: str


@dataclass(frozen=True)
class Asked:
    """The clip that all gangs make. size: a name of SIZES."""

    size: str
    steps: int
    approximations: Approximations


def make_clip(parallel: ContextParallel, asked: Asked, other_kernel: bool) -> Clip | None:
    """On every rank; the clip comes back from rank 0."""
    size = SIZES[asked.size]
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    network = random_network(size.config, str(device), dtype)
    if asked.approximations.attention == "fp8":
        check_fp8(device, dtype, size.config.head_dim)
    kernel: str = attention_kernel(device, dtype, size.config.head_dim)
    attend: AbstractContextManager[None] = nullcontext()
    if other_kernel:
        backends = other_backends(kernel, device)
        kernel, attend = backends[0].name.lower(), attention_by(*backends)
    marks = []

    def mark(*_: int) -> None:
        synchronise(device)
        marks.append(time.monotonic())

    mark()
    with attend:
        latents = sample(network, size.grid, asked.steps, parallel, asked.approximations, on_step=mark)
    seconds = [end - begin for begin, end in pairwise(marks)]
    return Clip(latents, seconds, kernel) if parallel.rank == 0 else None


def other_backends(kernel: str, device: torch.device) -> list[SDPBackend]:
    """The fastest kernels of torch's that were not chosen."""
    if device.type == "cpu":
        return [SDPBackend.MATH]
    flash = [SDPBackend.FLASH_ATTENTION]
    return [SDPBackend.CUDNN_ATTENTION, *flash] if kernel == "flash-attention-3" else flash


def make_beside(sizes: list[int], asked: Asked) -> list[Clip]:
    """Gangs of these sizes at the same time, on GPUs of their own if there are enough; else one after the other."""
    places = [end - size for size, end in zip(sizes, accumulate(sizes), strict=True)]
    is_room = sum(sizes) <= torch.cuda.device_count()
    with ThreadPoolExecutor(max_workers=len(sizes) if is_room else 1) as pool:
        return list(pool.map(lambda size, place: run(size, asked, place if is_room else 0), sizes, places))


def run(gang_size: int, asked: Asked, first_gpu: int = 0, other_kernel: bool = False) -> Clip:
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    made = run_ranks(gang_size, make_clip, asked, other_kernel, backend=backend, first_gpu=first_gpu)
    return made[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gang-sizes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--size", choices=SIZES, default="2b")
    parser.add_argument("--attention", choices=("exact", "fp8"), default="exact")
    arguments = parser.parse_args()
    asked = Asked(arguments.size, arguments.steps, Approximations(attention=arguments.attention))
    report(**machine("torch"))
    *small, largest = sorted(set(arguments.gang_sizes))
    clips: dict[int, Clip] = {}
    for sizes in filter(None, (small, [largest])):
        clips |= zip(sizes, make_beside(sizes, asked), strict=True)
        for gang_size in sizes:
            report(attention=arguments.attention, **speed(gang_size, clips, SIZES[asked.size]))
    return compare(clips, asked) if small else 0


def speed(gang_size: int, clips: dict[int, Clip], size: Size) -> dict[str, Any]:
    step_s, least = clips[gang_size].seconds[-1], min(clips)
    return {
        "gang_size": gang_size,
        "kernel": clips[gang_size].kernel,
        "step_s": round(step_s, 3),
        "first_step_s": round(clips[gang_size].seconds[0], 3),
        "efficiency": round(least * clips[least].seconds[-1] / gang_size / step_s, 4),
        "tflops_a_gpu": round(2 * published_flop(size) / step_s / gang_size / 1e12, 1),
    }


def compare(clips: dict[int, Clip], asked: Asked) -> int:
    """Each gang's latents with the smallest one's; what another kernel changes says how much they may differ."""
    least, largest = min(clips), max(clips)
    other = run(largest, asked, other_kernel=True)
    floor = distance(other.latents, clips[largest].latents)
    report(gang_size=largest, kernel=other.kernel, step_s=round(other.seconds[-1], 3), rounding=floor)
    errors = {size: distance(clip.latents, clips[least].latents) for size, clip in clips.items() if size != least}
    for gang_size, error in errors.items():
        decibels = round(psnr(clips[gang_size].latents, clips[least].latents), 1)
        report(gang_size=gang_size, against=least, error=error, psnr_db=decibels, allowed=2 * floor)
    return int(not all(error <= 2 * floor for error in errors.values()))


if __name__ == "__main__":
    sys.exit(main())
