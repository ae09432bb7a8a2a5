"""What a guided denoising step costs, its parts, and how fast the attention kernels run. On the GPUs of one machine.

    python benchmarks/denoise.py [--gang-sizes 1 2] [--seconds 60] [--modes baseline baseline-fa3 exact fp8]
    python benchmarks/denoise.py --blocks 4 --seconds 12 --without fused fa3 second-block given-frames views one-call
    python benchmarks/denoise.py --family predict2.5 --blocks 4 --without one-call given-frames one-timestep text-once
    python benchmarks/denoise.py --size small --seconds 1        # the same in miniature, also on a CPU

A guided step is the network under the caption and under the negative prompt. Modes:

    baseline      the work that the published pipeline does: one call a text, cuDNN attention, text in every view,
                  answers for every frame; of what is no matrix product only queries and keys are normalised and rotated
                  by a fused kernel (there it is TransformerEngine's), the rest is plain PyTorch
    baseline-fa3  that with FlashAttention-3, the published code's own first choice on Hopper
    exact         what `denoise` does for a clip with text in view 0 and one given latent frame
    fp8           that with self-attention in 8 bits, in a step and in the blocks where `attention: fp8` has it by
                  default

and for each word after --without, `exact` with that saving switched off:

    one-call       both texts go through the network in one call, and through the first self-attention once
    views          views without text have no cross-attention (off: every view has text, which rules second-block out)
    second-block   the second block's self-attention among views without text is computed once for both texts
    given-frames   the last block's self-attention has no queries of given frames
    fa3            FlashAttention-3 in place of cuDNN's kernel
    fused          Triton's kernels for norms, gated sums and rotations
    modulation     only those that `baseline` has not: modulated norms and gated sums

of Predict2.5, with text in every view and one timestep for all frames, without `views` and `second-block`, and

    one-timestep   modulations are computed once, not for every frame of every view
    text-once      text comes projected to the network's width (off: it is projected in every call, as published)

Blocks are alike but for the first, second and last: a network of four shows in seconds what each saving saves a block.

Weights are random: no time depends on them. Every mode runs for `--seconds` and at least `--steps` steps after a first
one, in the same process, so that ratios hold for one card in one state. A gang of 1 is measured on every GPU that the
largest gang has, beside each other, for cards are not alike. Prints a line of JSON a mode and gang: seconds a step
(median, least, most), TFLOP/s a GPU counted as the published pipeline's work whatever is saved of it, ratio to each
baseline of the same gang measured before it, efficiency against the mean of its GPUs alone and against the slowest of
them (a gang is never faster than its slowest rank), kernel time by kind in the first step, and peak memory. Then, if
`--kernels` says how many seconds each, one a kernel. Before all that, if `--all-to-all` says of how many MB a rank, one
a gang size for the exchange between ranks alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from reporting import machine, report
from step_modes import (
    MODES,
    PREDICT2_SAVINGS,
    PREDICT25_SAVINGS,
    SAVINGS,
    SIZES,
    WHOLE_MODES,
    Size,
    published_flop,
    size_of,
    step_of,
    switched_off,
)

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from support.networks import random_network  # type: ignore[import-not-found]  # noqa: E402
from support.ranks import run_ranks  # type: ignore[import-not-found]  # noqa: E402

from cosmos_ray.models.network import attention as kernels  # noqa: E402
from cosmos_ray.models.network.dit import MultiviewDiT  # noqa: E402
from cosmos_ray.models.network.fp8 import check_fp8, fp8_attention  # noqa: E402
from cosmos_ray.models.parallel import ContextParallel  # noqa: E402


def measure(
    parallel: ContextParallel, size: Size, modes: list[str], seconds: float, steps: int, alone: list[dict[str, float]]
) -> dict[str, float]:
    """Seconds a step of each mode; rank 0 prints its figures as soon as it has them. alone: those of each GPU."""
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    network = random_network(size.config, device, dtype)
    if "fp8" in modes:
        check_fp8(network.device, network.dtype, size.config.head_dim)
    found: dict[str, float] = {}
    for mode in modes:
        figures = measure_mode(mode, network, size, parallel, seconds, steps)
        found[mode] = figures["step_s"]
        for name, baseline in {"ratio": "baseline", "ratio_fa3": "baseline-fa3"}.items():
            if baseline in found:
                figures[name] = round(found[mode] / found[baseline], 4)
        if alone and parallel.world_size > 1:
            by_gpu = [gpu[mode] for gpu in alone[: parallel.world_size]]
            for name, one_gpu in {"efficiency": statistics.mean(by_gpu), "efficiency_slowest": max(by_gpu)}.items():
                figures[name] = round(one_gpu / found[mode] / parallel.world_size, 4)
        if parallel.rank == 0:
            report(**figures)
    return found


def measure_mode(
    mode: str, network: MultiviewDiT, size: Size, parallel: ContextParallel, seconds: float, steps: int
) -> dict:
    device = network.device
    on_gpu = device.type == "cuda"
    with switched_off(MODES[mode], device), torch.no_grad():
        step = step_of(mode, network, size, parallel)
        # The first step warms up: what is compiled and loaded in it shows in no kernel's time.
        parts: dict[str, float] = {}
        if on_gpu:
            parts = kernel_times(step)
            torch.cuda.reset_peak_memory_stats()
        else:
            step()
        times: list[float] = []
        while not agreed(parallel, len(times) >= steps and sum(times) >= seconds):
            times.append(timed(step, parallel, device))
        attention = kernels.attention_kernel(device, network.dtype, size.config.head_dim)
    median = statistics.median(times)
    return {
        "mode": mode,
        "gang_size": parallel.world_size,
        "first_gpu": torch.cuda.current_device() if on_gpu else None,
        "blocks": size.config.num_blocks,
        "attention": attention,
        "without": MODES[mode],
        "step_s": round(median, 4),
        "least_s": round(min(times), 4),
        "most_s": round(max(times), 4),
        "steps": len(times),
        "tflops_a_gpu": round(2 * published_flop(size) / median / parallel.world_size / 1e12, 1),
        "kernels_s": parts,
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1) if on_gpu else None,
    }


def timed(step: Callable[[], None], parallel: ContextParallel, device: torch.device) -> float:
    """Seconds from the moment all ranks begin until this rank's GPU is done."""
    if parallel.world_size > 1:
        dist.barrier(group=parallel.group)
    synchronise(device)
    began = time.monotonic()
    step()
    synchronise(device)
    return time.monotonic() - began


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def agreed(parallel: ContextParallel, done: bool) -> bool:
    """Rank 0's word: ranks that stop at different steps would wait for each other for ever."""
    if parallel.world_size == 1:
        return done
    word = torch.tensor(int(done), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.broadcast(word, 0)
    return bool(word)


def kernel_times(step: Callable[[], None]) -> dict[str, float]:
    """Seconds of kernel time in one step by kind. Kernels that overlap count twice."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    found: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        found[kind_of(event.key)] += event.self_device_time_total / 1e6
    return {kind: round(value, 4) for kind, value in sorted(found.items(), key=lambda item: -item[1])}


def kind_of(kernel: str) -> str:
    """By words of the kernel's name; attention first, for its kernels are built of matrix products."""
    name = kernel.lower()
    words = {
        "attention": ("flash", "fmha", "sdpa", "attention"),
        "communication": ("nccl",),
        "matrix products": ("gemm", "nvjet", "cutlass", "cublas"),
        "copies": ("memcpy", "memset", "copy", "catarray"),
    }
    return next((kind for kind, parts in words.items() if any(part in name for part in parts)), "elementwise")


def measure_kernel(kernel: str, size: Size, heads: int, seconds: float) -> dict:
    """One attention over all tokens of a clip, again and again; 8-bit attention with its preparation."""
    attend = fp8_attention if kernel == "fp8" else kernels.attention
    tokens = size.grid.views * size.grid.tokens_per_view
    width = size.config.head_dim
    q, k, v = (torch.randn(1, tokens, heads, width, device="cuda", dtype=torch.bfloat16) for _ in range(3))

    def run() -> None:
        attend(q, k, v)

    with mock.patch.object(kernels, "attention_kernel", return_value=kernel):
        alone = ContextParallel()
        timed(run, alone, q.device)
        times: list[float] = []
        while len(times) < 3 or sum(times) < seconds:
            times.append(timed(run, alone, q.device))
    last = statistics.median(times[len(times) // 2 :])  # the second half: the card is warm by then
    return {
        "kernel": kernel,
        "heads": heads,
        "tokens": tokens,
        "ms": round(1000 * last, 2),
        "tflops": round(4 * tokens**2 * heads * width / last / 1e12, 1),
    }


def measure_all_to_all(parallel: ContextParallel, megabytes: float, device: str) -> dict:
    """Every rank exchanges so much with all ranks; a P-th of it stays where it is and does not count as sent."""
    bytes_a_rank = round(megabytes * 1e6 / parallel.world_size) * parallel.world_size
    sent = torch.zeros(bytes_a_rank, dtype=torch.uint8, device=device)
    received = torch.empty_like(sent)

    def exchanges() -> None:
        for _ in range(10):  # ranks do not begin in the same microsecond
            dist.all_to_all_single(received, sent)

    times = [timed(exchanges, parallel, sent.device) / 10 for _ in range(12)][2:]  # the first ones warm up
    median = statistics.median(times)
    return {
        "gang_size": parallel.world_size,
        "all_to_all_mb": megabytes,
        "ms": round(1000 * median, 3),
        "least_ms": round(1000 * min(times), 3),
        "most_ms": round(1000 * max(times), 3),
        "gb_s_sent": round(bytes_a_rank * (1 - 1 / parallel.world_size) / median / 1e9, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="2b")
    parser.add_argument("--family", choices=("predict2", "predict2.5"), default="predict2")
    parser.add_argument("--gang-sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--blocks", type=int, help="of the network; as the size says if not given")
    parser.add_argument("--modes", choices=WHOLE_MODES, nargs="+", default=["baseline", "baseline-fa3", "exact"])
    parser.add_argument(
        "--without", choices=SAVINGS, nargs="+", default=[], help="exact again, one of these off at a time"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of each mode")
    parser.add_argument("--steps", type=int, default=3, help="of each mode, at least")
    parser.add_argument("--kernels", type=float, default=0.0, metavar="SECONDS", help="of each attention kernel")
    parser.add_argument("--all-to-all", type=float, default=0.0, metavar="MB", help="of a rank, to and from all others")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    report(**machine("torch"))
    others = PREDICT2_SAVINGS if arguments.family == "predict2.5" else PREDICT25_SAVINGS
    if not_there := [saving for saving in arguments.without if saving in others]:
        parser.error(f"{', '.join(not_there)}: no saving of {arguments.family}")
    size = size_of(arguments.size, arguments.family, arguments.blocks)
    modes = [*arguments.modes, *(f"without {saving}" for saving in arguments.without)]
    alone: list[dict[str, float]] = []
    backend = "nccl" if device == "cuda" else "gloo"
    for gang_size in arguments.gang_sizes if arguments.all_to_all else ():
        if gang_size > 1:
            figures = run_ranks(gang_size, measure_all_to_all, arguments.all_to_all, device, backend=backend)[0]
            report(**figures)
    for gang_size in arguments.gang_sizes:
        of_modes = (size, modes, arguments.seconds, arguments.steps, alone)
        gang = partial(run_ranks, gang_size, measure, *of_modes, backend=backend)
        if gang_size == 1:
            with ThreadPoolExecutor() as beside:
                gpus = range(max(arguments.gang_sizes) if device == "cuda" else 1)
                alone = [made.result()[0] for made in [beside.submit(gang, first_gpu=gpu) for gpu in gpus]]
        else:
            gang()
    if arguments.kernels and device == "cuda":
        best = kernels.attention_kernel(torch.device("cuda:0"), torch.bfloat16, size.config.head_dim)
        in_8_bits = ("fp8",) if "fp8" in arguments.modes else ()
        for kernel in dict.fromkeys(("cudnn", best, *in_8_bits)):
            report(**measure_kernel(kernel, size, 2, arguments.kernels))


if __name__ == "__main__":
    main()
