"""The model on GPUs against itself: precisions, attention kernels, prefixes, gang sizes. Run by hand on a GPU machine.

    python tests/gpu_parity.py [attention precision vae gangs]     # all if none is named

Prints a line `CASE error tolerance ok|FAIL|SKIP` each, like `parity.py`, and exits with 1 if any fails. The network has
the published dimensions (2B) and random weights; errors are ||a - b|| / ||b|| unless the case says otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from networks import random_network
from ranks import run_ranks
from sampled import distance, psnr, sample
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from cosmos_ray.models import attention as attention_module
from cosmos_ray.models.bundle import VaeDims
from cosmos_ray.models.dit import DiTConfig, Grid, MultiviewDiT
from cosmos_ray.models.vae import WanVAE
from cosmos_ray.parallel import ContextParallel
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


def clip(parallel: ContextParallel, dtype: torch.dtype) -> np.ndarray:
    """Whole latents [V, L, 64] after 35 steps, on the current GPU."""
    return sample(network_2b(f"cuda:{torch.cuda.current_device()}", dtype), MIDDLE_GRID, 35, parallel)


def gang_cases() -> Iterator[Result]:
    """The same seed on one rank, on one again, and on two GPUs. `benchmarks/gang_sizes.py` does it at full size."""
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 5e-2)):
        name = str(dtype).removeprefix("torch.")
        one, again = (run_ranks(1, clip, dtype, backend="nccl")[0] for _ in range(2))
        yield Result(f"same_seed_again_{name}", float(np.abs(one - again).max()), 0.0, note="largest difference")
        if torch.cuda.device_count() < 2:
            yield Result(f"gang_of_2_{name}", 0.0, tolerance, skipped="one GPU")
            continue
        two, _ = run_ranks(2, clip, dtype, backend="nccl")
        note = f"max {np.abs(two - one).max():.3g}, PSNR {psnr(two, one):.1f} dB"
        yield Result(f"gang_of_2_{name}_35_steps", distance(two, one), tolerance, note=note)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help="of cases; all of them if none is named")
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
    }
    for name in arguments.groups or groups:
        for result in groups[name]():
            print(result.line(), flush=True)
            failed |= result.failed
        torch.cuda.empty_cache()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
