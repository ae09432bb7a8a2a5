"""What a guided denoising step costs, its parts, and how fast the attention kernels run. On the GPUs of one machine.

    python benchmarks/denoise.py [--gang-sizes 1 2] [--seconds 60] [--modes baseline exact fp8] [--kernels 10]
    python benchmarks/denoise.py --size small --seconds 1        # the same in miniature, also on a CPU

A guided step is the network under the caption and under the negative prompt. Modes:

    baseline   one call a text, cuDNN attention, text in every view: the work that the published pipeline does
    exact      what `denoise` does: both texts in one call, the best exact kernel, text in view 0
    fp8        that with self-attention in 8 bits, in a step and in the blocks where `attention: fp8` has it by default

Weights are random: no time depends on them. Every mode runs for `--seconds` after a warm-up, in the same process, so
that ratios hold for one card in one state. Prints a line of JSON a mode and gang size: seconds a step (median, least,
most), TFLOP/s a GPU counted as the published pipeline's work whatever is saved of it, ratio to the baseline of the same
gang size, efficiency against a gang of 1, kernel time by kind in one step, peak memory. Then one a kernel, if
`--kernels` says how many seconds each.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from networks import random_network  # type: ignore[import-not-found]  # noqa: E402
from ranks import run_ranks  # type: ignore[import-not-found]  # noqa: E402

from cosmos_ray.approximations import Approximations  # noqa: E402
from cosmos_ray.models import attention as kernels  # noqa: E402
from cosmos_ray.models.dit import DiTConfig, Grid, MultiviewDiT, Share  # noqa: E402
from cosmos_ray.models.fp8 import check_fp8, fp8_attention  # noqa: E402
from cosmos_ray.parallel import ContextParallel  # noqa: E402
from cosmos_ray.request import TEXT_TOKENS  # noqa: E402


@dataclass(frozen=True)
class Size:
    config: DiTConfig
    grid: Grid


SIZES = {
    "2b": Size(
        DiTConfig(
            model_channels=2048, num_blocks=28, num_heads=16, adaln_lora_dim=256, crossattn_emb_channels=1024, state_t=8
        ),
        Grid(views=7, frames=8, height=44, width=80),
    ),
    "small": Size(
        DiTConfig(
            model_channels=256, num_blocks=3, num_heads=2, adaln_lora_dim=8, crossattn_emb_channels=16, state_t=2
        ),
        Grid(views=3, frames=2, height=2, width=4),
    ),
}
MODES = ("baseline", "exact", "fp8")


def published_flop(size: Size) -> float:
    """Of one network call: projections, attention over all tokens, every view's text."""
    config, grid = size.config, size.grid
    width = config.model_channels
    tokens = grid.views * grid.tokens_per_view
    text = 4 * tokens * TEXT_TOKENS * width + 4 * grid.views * TEXT_TOKENS * config.crossattn_emb_channels * width
    return config.num_blocks * (4 * tokens**2 * width + 28 * tokens * width**2 + text)


def step_of(
    mode: str, network: MultiviewDiT, size: Size, share: Share, parallel: ContextParallel
) -> Callable[[], None]:
    """One guided step on this rank's tokens."""
    grid, device, dtype = size.grid, network.device, network.dtype
    generator = torch.Generator().manual_seed(1)
    tokens = grid.tokens_per_view // parallel.world_size
    x_1VlP = torch.randn(1, grid.views, tokens, 64, generator=generator).to(device)
    mask_1Vlm = torch.zeros(1, grid.views, tokens, size.config.patch_spatial**2, device=device)
    timesteps_1VT = torch.full((1, grid.views, grid.frames), 0.7, device=device)
    texts_RVMC = torch.randn(2, grid.views, TEXT_TOKENS, size.config.crossattn_emb_channels, generator=generator)
    if mode != "baseline":
        texts_RVMC[:, 1:] = 0
    texts_RVMC = texts_RVMC.to(device, dtype)
    calls = texts_RVMC.split(1 if mode == "baseline" else 2)
    in_the_middle = Approximations(attention="fp8" if mode == "fp8" else "exact")
    fp8_blocks = in_the_middle.fp8_blocks(1, 2, size.config.num_blocks)

    @torch.no_grad()
    def step() -> None:
        for texts in calls:
            network.forward_tokens(x_1VlP, mask_1Vlm, timesteps_1VT, texts, share, fp8_blocks=fp8_blocks)

    return step


def measure(parallel: ContextParallel, size_name: str, modes: list[str], seconds: float, device: str) -> list[dict]:
    """Figures of each mode, as this rank sees them."""
    size, on_gpu = SIZES[size_name], device == "cuda"
    network = random_network(size.config, device, torch.bfloat16 if on_gpu else torch.float32)
    share = network.share(size.grid, 30.0, parallel)
    if "fp8" in modes:
        check_fp8(network.device, network.dtype, size.config.head_dim)
    return [measure_mode(mode, network, size, share, parallel, seconds) for mode in modes]


def measure_mode(
    mode: str, network: MultiviewDiT, size: Size, share: Share, parallel: ContextParallel, seconds: float
) -> dict:
    on_gpu = network.device.type == "cuda"
    kernel = "cudnn" if mode == "baseline" and on_gpu else None
    with mock.patch.object(kernels, "attention_kernel", return_value=kernel) if kernel else nullcontext():
        step = step_of(mode, network, size, share, parallel)
        timed(step, parallel, network.device)  # warm-up
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        times: list[float] = []
        while not agreed(parallel, len(times) >= 3 and sum(times) >= seconds):
            times.append(timed(step, parallel, network.device))
        parts = kernel_times(step) if on_gpu else {}
    median = statistics.median(times)
    return {
        "mode": mode,
        "gang_size": parallel.world_size,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="2b")
    parser.add_argument("--gang-sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--modes", choices=MODES, nargs="+", default=list(MODES))
    parser.add_argument("--seconds", type=float, default=60.0, help="of each mode")
    parser.add_argument("--kernels", type=float, default=0.0, metavar="SECONDS", help="of each attention kernel")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    print(json.dumps({"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", **versions}), flush=True)
    alone: dict[str, float] = {}
    for gang_size in arguments.gang_sizes:
        backend = "nccl" if device == "cuda" else "gloo"
        found = run_ranks(
            gang_size, measure, arguments.size, arguments.modes, arguments.seconds, device, backend=backend
        )[0]
        baseline = next((figures["step_s"] for figures in found if figures["mode"] == "baseline"), None)
        for figures in found:
            if gang_size == 1:
                alone[figures["mode"]] = figures["step_s"]
            if baseline:
                figures["ratio"] = round(figures["step_s"] / baseline, 4)
            if figures["mode"] in alone:
                figures["efficiency"] = round(alone[figures["mode"]] / figures["step_s"] / gang_size, 4)
            print(json.dumps(figures), flush=True)
    if arguments.kernels and device == "cuda":
        size = SIZES[arguments.size]
        best = kernels.attention_kernel(torch.device("cuda:0"), torch.bfloat16, size.config.head_dim)
        in_8_bits = ("fp8",) if "fp8" in arguments.modes else ()
        for kernel in dict.fromkeys(("cudnn", best, *in_8_bits)):
            print(json.dumps(measure_kernel(kernel, size, 2, arguments.kernels)), flush=True)


if __name__ == "__main__":
    main()
