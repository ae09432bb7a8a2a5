"""The model on GPUs against itself: precisions, attention kernels, prefixes, gang sizes. Run by hand on a GPU machine.

    python tests/gpu_parity.py [attention fused shortcuts precision vae gangs fp8]     # all if none is named

Prints a line `CASE error tolerance ok|FAIL|SKIP` each, like `parity.py`, and exits with 1 if any fails. The network has
the published dimensions (2B) and random weights; errors are ||a - b|| / ||b|| unless the case says otherwise.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import torch
from support.networks import random_network
from support.ranks import run_ranks
from support.sampled import distance, psnr, sample
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.dims import VaeDims
from cosmos_ray.models.network import attention as attention_module
from cosmos_ray.models.network import fp8, passes
from cosmos_ray.models.network.dit import DiTConfig, Grid, MultiviewDiT
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.vae.vae import WanVAE

CONFIG_2B = DiTConfig(
    model_channels=2048, num_blocks=28, num_heads=16, adaln_lora_dim=256, crossattn_emb_channels=1024, state_t=8
)
SMALL_GRID = Grid(views=7, frames=8, height=2, width=4)
MIDDLE_GRID = Grid(views=7, frames=8, height=4, width=8)
FULL_GRID = Grid(views=7, frames=8, height=44, width=80)
DTYPES = (torch.float32, torch.bfloat16)


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


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def no_kernels(_: Tensor) -> None:
    """In place of `fused_kernels`. No `Mock`, which would keep every tensor that it is called with."""


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


def fused_cases() -> Iterator[Result]:
    """Each fused pass against the eager formula: the 2B network's width and one that is no power of two, few tokens and
    all of a clip's. Then the 2B network with and without them, under two texts."""
    sizes = [(2, 3, 4, 50, 2048), (2, 3, 4, 7, 1536), (1, 7, 8, 3520, 2048)]
    for size, dtype in itertools.product(sizes, DTYPES):
        width, tokens = size[-1], math.prod(size[2:4])
        x, y = (torch.randn(size, device="cuda", dtype=dtype) for _ in range(2))
        shift, scale, gate = torch.randn(1, *size[1:3], 1, 3 * width, device="cuda", dtype=dtype).chunk(3, dim=-1)
        angles_l1k = torch.randn(tokens, 1, 64, device="cuda")
        heads = x.view(*size[:2], tokens, -1, 128)
        calls = [
            (passes.modulated_norm, (x, shift, scale)),
            (passes.add_gated, (x, gate, y)),
            (
                passes.norm_and_rotate,
                (heads, torch.randn(128, device="cuda", dtype=dtype), angles_l1k.cos(), angles_l1k.sin()),
            ),
        ]
        for function, arguments in calls:
            with torch.no_grad():
                if passes.fused_kernels(x) is None:
                    yield Result("fused", math.inf, 0.0, note="Triton does not work here, see the warning")
                    return
                found = function(*arguments)
                with mock.patch.object(passes, "fused_kernels", no_kernels):
                    expected = function(*arguments)
            case = f"fused_{function.__name__}_{x.numel() // width}x{width}_{name_of(dtype)}"
            tolerance = 1e-6 if dtype == torch.float32 else 1e-3  # some bfloat16 numbers may round the other way
            note = f"{(found != expected).float().mean().item():.2%} of the numbers differ"
            yield Result(case, relative(found, expected), tolerance, note=note)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        network = network_2b("cuda", dtype)
        found = under_texts(network, MIDDLE_GRID)
        with mock.patch.object(passes, "fused_kernels", no_kernels):
            expected = under_texts(network, MIDDLE_GRID)
        yield Result(f"fused_dit_2b_{name_of(dtype)}", relative(found, expected), tolerance)


def shortcut_cases() -> Iterator[Result]:
    """Log-sum-exp of every kernel, and the network under two texts at once against each text alone."""
    best = attention_module.attention_kernel(torch.device("cuda"), torch.bfloat16, 128)
    for kernel, dtype in ((best, torch.bfloat16), ("cudnn", torch.bfloat16), ("sdpa", torch.float32)):
        q, k, v = (torch.randn(2, 1000, 2, 128, device="cuda", dtype=dtype) for _ in range(3))
        with mock.patch.object(attention_module, "attention_kernel", return_value=kernel):
            out, lse = attention_module.attention_with_lse(q, k, v)
            expected = attention_module.attention(q, k, v)
        yield Result(f"shortcuts_attention_{kernel}", relative(out, expected), 1e-5 if dtype == torch.float32 else 5e-3)
        scores = torch.einsum("blnk,bmnk->blnm", q.double(), k.double()) / 128**0.5
        yield Result(f"shortcuts_lse_{kernel}", relative(lse, scores.logsumexp(dim=-1)), 1e-4)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        network = network_2b("cuda", dtype)
        both = under_texts(network, MIDDLE_GRID, given_frames=1)
        alone = torch.cat([under_texts(network, MIDDLE_GRID, [seed]) for seed in (1, 2)])
        wanted = slice(MIDDLE_GRID.tokens_per_frame, None)
        yield Result(f"shortcuts_dit_2b_{name_of(dtype)}", relative(both[:, :, wanted], alone[:, :, wanted]), tolerance)


@torch.no_grad()
def under_texts(network: MultiviewDiT, grid: Grid, seeds: Sequence[int] = (1, 2), given_frames: int = 0) -> Tensor:
    """One call of the network [R, V, L, 64], a text in view 0 for each seed."""
    device = network.device
    share = network.share(grid, 30.0, ContextParallel(), given_frames)
    x = torch.randn(1, grid.views, grid.tokens_per_view, 64, generator=torch.Generator().manual_seed(1))
    texts = [inputs(grid, seed)[2].unflatten(1, (grid.views, -1)) for seed in seeds]
    return network.forward_tokens(
        x.to(device),
        torch.zeros(1, grid.views, grid.tokens_per_view, 4, device=device),
        torch.full((1, grid.views, grid.frames), 0.7, device=device),
        torch.cat(texts).to(device),
        share,
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
        if name != "value_mean":  # of its output, rounded to bfloat16, nothing is left without the mean
            centred = [part.float() - x.v_mean for part in (found, imitated)]
            yield Result(f"fp8_kernel_{name}_against_imitated", relative(*centred), 0.05)


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
        "fused": fused_cases,
        "shortcuts": shortcut_cases,
        "precision": precision_cases,
        "vae": vae_cases,
        "gangs": gang_cases,
        "fp8": fp8_cases,
    }
    for name in arguments.groups or groups:
        for result in groups[name]():
            print(result.line(), flush=True)
            failed |= result.failed
        torch.cuda.empty_cache()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
