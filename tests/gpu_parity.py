"""The model on GPUs against itself: precisions, attention kernels, prefixes, gang sizes. Run by hand on a GPU machine.

    python tests/gpu_parity.py [attention precision vae gangs fp8 full-size]     # all but full-size if none is named

Prints a line `CASE error tolerance ok|FAIL|SKIP` each, like `parity.py`, and exits with 1 if any fails. The network has
the published dimensions (2B) and random weights; errors are ||a - b|| / ||b|| unless the case says otherwise.
`full-size` makes two solver steps of a whole 720p clip on one GPU and on two. So few steps multiply rounding. How much
is measured by making the clip once more on one GPU with another attention kernel; the gang may differ twice as much.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import torch
from networks import random_network
from ranks import run_ranks
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from cosmos_ray.errors import UsageError
from cosmos_ray.models import attention as attention_module
from cosmos_ray.models import fp8, layers
from cosmos_ray.models.bundle import VaeDims
from cosmos_ray.models.dit import DiTConfig, Grid, MultiviewDiT, patchify
from cosmos_ray.models.sampler import denoise
from cosmos_ray.models.vae import WanVAE
from cosmos_ray.parallel import ContextParallel, gather_all, shard
from cosmos_ray.request import TEXT_TOKENS

CONFIG_2B = DiTConfig(
    model_channels=2048, num_blocks=28, num_heads=16, adaln_lora_dim=256, crossattn_emb_channels=1024, state_t=8
)
SMALL_GRID = Grid(views=7, frames=8, height=2, width=4)
MIDDLE_GRID = Grid(views=7, frames=8, height=4, width=8)
FULL_GRID = Grid(views=7, frames=8, height=44, width=80)


@dataclass(frozen=True)
class Result:
    case: str
    error: float
    tolerance: float
    skipped: str = ""
    note: str = ""

    @property
    def failed(self) -> bool:
        return not self.skipped and not self.error <= self.tolerance

    def line(self) -> str:
        verdict = f"SKIP ({self.skipped})" if self.skipped else "FAIL" if self.failed else "ok"
        return f"{self.case} {self.error:.3g} {self.tolerance:.3g} {verdict}{'  ' + self.note if self.note else ''}"


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.double(), expected.to(found.device).double()
    return ((found - expected).norm() / expected.norm()).item()


def network_2b(device: str, dtype: torch.dtype) -> MultiviewDiT:
    return random_network(CONFIG_2B, device, dtype)


def inputs(grid: Grid, seed: int = 1) -> list[Tensor]:
    """A network call's latents [B, C, V*T, H, W], timesteps, text (view 0 only) and mask, in the published layout."""
    generator = torch.Generator().manual_seed(seed)
    frames = grid.views * grid.frames
    text = torch.zeros(1, grid.views * TEXT_TOKENS, CONFIG_2B.crossattn_emb_channels)
    text[:, :40] = torch.randn(1, 40, CONFIG_2B.crossattn_emb_channels, generator=generator)
    return [
        torch.randn(1, 16, frames, 2 * grid.height, 2 * grid.width, generator=generator),
        torch.full((1, frames), 0.7),
        text,
        torch.zeros(1, 1, frames, 2 * grid.height, 2 * grid.width),
    ]


def run_network(network: MultiviewDiT, grid: Grid) -> Tensor:
    device, dtype = next(network.parameters()).device, network.dtype
    moved = [tensor.to(device, dtype) for tensor in inputs(grid)]
    with torch.no_grad():
        return network(*moved, 30.0).float().cpu()


def precision_cases() -> Iterator[Result]:
    """The same weights on CPU and GPU, in float32 and in the published bfloat16."""
    cpu = network_2b("cpu", torch.float32)
    exact = run_network(cpu, SMALL_GRID)
    rounded = run_network(cpu.bfloat16(), SMALL_GRID)
    del cpu
    gpu = network_2b("cuda", torch.float32)
    on_gpu = run_network(gpu, SMALL_GRID)
    yield Result("dit_2b_float32_gpu_against_cpu", relative(on_gpu, exact), 1e-4)
    gpu_rounded = run_network(gpu.bfloat16(), SMALL_GRID)
    yield Result("dit_2b_bf16_gpu_against_cpu", relative(gpu_rounded, rounded), 5e-2)
    note = "rounding, rope tables and timesteps included"
    yield Result("dit_2b_bf16_against_float32", relative(gpu_rounded, exact), 0.5, note=note)


def attention_cases() -> Iterator[Result]:
    """Each kernel against float64, then the fastest against cuDNN at a clip's own length."""
    q, k, v = (torch.randn(1, 4096, 2, 128, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    heads = [x.transpose(1, 2) for x in (q, k, v)]
    expected = scaled_dot_product_attention(*[x.double() for x in heads]).transpose(1, 2)
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
        with sdpa_kernel([backend]):
            found = scaled_dot_product_attention(*heads).transpose(1, 2)
        yield Result(f"attention_{backend.name.lower()}", relative(found, expected), 1e-2)
    chosen = attention_module.attention_kernel(q.device, q.dtype, 128)
    yield Result(f"attention_chosen_{chosen}", relative(attention_module.attention(q, k, v), expected), 1e-2)
    tokens = FULL_GRID.views * FULL_GRID.tokens_per_view
    q, k, v = (torch.randn(1, tokens, 1, 128, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
        cudnn = scaled_dot_product_attention(*[x.transpose(1, 2) for x in (q, k, v)]).transpose(1, 2)
    yield Result(
        f"attention_{chosen}_against_cudnn_{tokens}", relative(attention_module.attention(q, k, v), cudnn), 1e-2
    )


def fp8_cases() -> Iterator[Result]:
    """8-bit attention at a clip's own length, 2 heads: against float32 attention of the same inputs, and against the
    imitation, from which only the order and the width of its sums make it differ. Every 97th query is compared."""
    device = torch.device("cuda")
    try:
        fp8.check_fp8(device, torch.bfloat16, 128)
    except UsageError as error:
        yield Result("fp8", 0.0, 0.0, skipped=str(error))
        return
    generator = torch.Generator(device).manual_seed(0)
    tokens, queries = FULL_GRID.views * FULL_GRID.tokens_per_view, slice(None, None, 97)

    def drawn(large: float = 1.0, key_mean: float = 0.0, value_mean: float = 0.0) -> list[Tensor]:
        """Normal numbers; channel 5 of queries and keys `large` times as large, that of keys with a mean."""
        q, k, v = (torch.randn(1, tokens, 2, 128, device=device, generator=generator) for _ in range(3))
        is_5 = (torch.arange(128, device=device) == 5).float()
        factors = 1 + (large - 1) * is_5
        return [x.bfloat16() for x in (q * factors, k * factors + key_mean * is_5, v + value_mean)]

    inputs = {
        "even": drawn(),
        "large_channel": drawn(large=4.0),
        "key_mean": drawn(key_mean=16.0),
        "value_mean": drawn(value_mean=3.0),
    }
    for name, (q, k, v) in inputs.items():
        some = q[:, queries].contiguous()
        exact = scaled_dot_product_attention(*[x.float().transpose(1, 2) for x in (some, k, v)]).transpose(1, 2)
        x = fp8.quantise(q, k, v)
        imitated = fp8.imitated(replace(x, q=x.q[:, queries].contiguous()))
        yield Result(f"fp8_imitated_{name}_against_float32", relative(imitated, exact), 0.1)
        found = fp8.fp8_attention(q, k, v)[:, queries]
        yield Result(f"fp8_kernel_{name}_against_float32", relative(found, exact), 0.1)
        # Without the values' mean, which hides the error of a sum.
        centred = [part.float() - x.v_mean.float() for part in (found, imitated)]
        yield Result(f"fp8_kernel_{name}_against_imitated", relative(*centred), 0.05)
        for splits in (1, 2, 4, 7, 16):
            torch.cuda.synchronize()
            began = time.monotonic()
            found = fp8.attend_in_8_bits(x, splits)[:, queries]
            torch.cuda.synchronize()
            note = f"{1000 * (time.monotonic() - began):.1f} ms, of one call"
            error = relative(found.float() - x.v_mean.float(), centred[1])
            yield Result(f"fp8_kernel_{name}_in_{splits}_parts_against_imitated", error, math.inf, note=note)


def vae_cases() -> Iterator[Result]:
    """Latents of the first 1 and 5 frames against those of all 29, one 720p view."""
    video = torch.rand(1, 3, 29, 704, 1280, device="cuda") * 2 - 1
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 2e-2)):
        vae = WanVAE.random(VaeDims(dim=96), seed=0).to("cuda", dtype)
        whole = vae.encode(video)
        for frames, latents in ((1, 1), (5, 2)):
            prefix = vae.encode(video[:, :, :frames])
            name = f"vae_encode_{frames}_of_29_{str(dtype).removeprefix('torch.')}"
            yield Result(name, relative(prefix, whole[:, :, :latents]), tolerance)
        decoded = vae.decode(whole)
        yield Result(f"vae_decode_is_finite_{dtype}".replace("torch.", ""), float(not decoded.isfinite().all()), 0.0)
        del vae, whole, decoded
        torch.cuda.empty_cache()


def flash_attention(q_BLNK: Tensor, k_BMNK: Tensor, v_BMNK: Tensor) -> Tensor:
    """torch's FlashAttention-2, which `attention` chooses on no GPU that has cuDNN's kernel."""
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        heads = (x.transpose(1, 2) for x in (q_BLNK, k_BMNK, v_BMNK))
        return scaled_dot_product_attention(*heads).transpose(1, 2)


def sample_alone(parallel: ContextParallel, grid: Grid, steps: int, dtype: torch.dtype) -> tuple[np.ndarray, float]:
    """The whole clip on each rank's own GPU: with the kernel chosen here on rank 0, with flash attention on others."""
    kernel = flash_attention if parallel.rank else attention_module.attention
    with mock.patch.object(layers, "attention", kernel):
        return sample(ContextParallel(), grid, steps, dtype)


def sample(parallel: ContextParallel, grid: Grid, steps: int, dtype: torch.dtype) -> tuple[np.ndarray, float]:
    """Whole latents [V, L, 64] after `steps` steps, and seconds they took. On the current GPU."""
    device = f"cuda:{torch.cuda.current_device()}"
    network = network_2b(device, dtype)
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(grid.views, 16, grid.frames, 2 * grid.height, 2 * grid.width, generator=generator)
    text = torch.zeros(grid.views, TEXT_TOKENS, CONFIG_2B.crossattn_emb_channels)
    text[0, :40] = torch.randn(40, CONFIG_2B.crossattn_emb_channels, generator=generator)
    torch.cuda.synchronize()
    began = time.monotonic()
    share = denoise(
        network,
        grid=grid,
        condition_VlP=shard(patchify(latents), parallel).to(device),
        num_condition_latents=1,
        positive_VMC=text,
        negative_VMC=text.roll(1, dims=1),
        guidance=7.0,
        num_steps=steps,
        seed=5,
        model_fps=30.0,
        parallel=parallel,
    )
    torch.cuda.synchronize()
    seconds = time.monotonic() - began
    return gather_all(share, parallel).cpu().numpy(), seconds


def gang_cases() -> Iterator[Result]:
    """The same seed on one rank, on one again, and on two GPUs."""
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 5e-2)):
        name = str(dtype).removeprefix("torch.")
        (one, _), (again, _) = (run_ranks(1, sample, MIDDLE_GRID, 35, dtype, backend="nccl")[0] for _ in range(2))
        yield Result(f"same_seed_again_{name}", float(np.abs(one - again).max()), 0.0, note="largest difference")
        if torch.cuda.device_count() < 2:
            yield Result(f"gang_of_2_{name}", 0.0, tolerance, skipped="one GPU")
            continue
        (two, _), *_ = run_ranks(2, sample, MIDDLE_GRID, 35, dtype, backend="nccl")
        yield _gang_result(f"gang_of_2_{name}_35_steps", one, two, tolerance)


def full_size_cases() -> Iterator[Result]:
    """A whole 720p clip, two steps: one GPU, another attention kernel on one GPU, and two GPUs."""
    if torch.cuda.device_count() < 2:
        yield Result("gang_of_2_full_size_2_steps", 0.0, 0.0, skipped="one GPU")
        return
    calls = 6  # of the network: two steps and the last one to the clean sample, each with and without the caption
    (one, seconds), (other, flash_seconds) = run_ranks(2, sample_alone, FULL_GRID, 2, torch.bfloat16, backend="nccl")
    yield Result("full_size_is_finite", float(not np.isfinite(one).all()), 0.0, note=f"{seconds / calls:.2f} s a call")
    # What bfloat16 leaves open: two steps at guidance 7 multiply rounding by far more than 35 do.
    floor = _gang_result("full_size_flash_attention_on_one_gpu", one, other, math.inf)
    yield replace(floor, note=f"{floor.note}, {flash_seconds / calls:.2f} s a call")
    two, seconds = run_ranks(2, sample, FULL_GRID, 2, torch.bfloat16, backend="nccl")[0]
    result = _gang_result("gang_of_2_full_size_2_steps", one, two, 2 * floor.error)
    yield replace(result, note=f"{result.note}, {seconds / calls:.2f} s a call")


def _gang_result(case: str, one: np.ndarray, two: np.ndarray, tolerance: float) -> Result:
    largest = float(np.abs(two - one).max())
    mean_square = float(np.square(two - one, dtype=np.float64).mean())
    peak = float(one.max() - one.min())
    psnr = 10 * math.log10(peak**2 / mean_square) if mean_square else math.inf
    error = relative(torch.from_numpy(two), torch.from_numpy(one))
    return Result(case, error, tolerance, note=f"max {largest:.3g}, PSNR {psnr:.1f} dB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help="of cases; all of them but full-size if none is named")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here", file=sys.stderr)
        return 2
    # float32 means float32: by default cuDNN's convolutions would round their inputs to 10 bits.
    torch.backends.cudnn.allow_tf32 = False
    print(f"torch {torch.__version__}, {torch.cuda.device_count()} x {torch.cuda.get_device_name()}", flush=True)
    failed = False
    groups = {
        "attention": attention_cases,
        "precision": precision_cases,
        "vae": vae_cases,
        "gangs": gang_cases,
        "fp8": fp8_cases,
        "full-size": full_size_cases,
    }
    for name in arguments.groups or list(groups)[:-1]:
        for result in groups[name]():
            print(result.line(), flush=True)
            failed |= result.failed
        torch.cuda.empty_cache()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
