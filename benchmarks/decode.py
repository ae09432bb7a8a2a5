"""How long a GPU decodes one 720p view, in ways that compute the same: what the product does, and what else was tried.

    python benchmarks/decode.py [--repeats 3] [--ways chunks whole] [--frames 8] [--height 88] [--width 160] [--dim 96]

Wan 2.1's decoder with random weights in bfloat16 (float32 on a CPU). Ways:

    chunks       the library's: a latent frame at a time
    whole        `vae_whole`: a layer over all frames, norm and activation fused where Triton works
    + last       weights and latents with channels last in memory (`whole` has them so anyway)
    + search     cuDNN tries its kernels out on the first call
    + plain      without Triton
    + compile    torch.compile of the decoder's blocks; minutes for the first call, so only if named

Prints a line of JSON a way: seconds (median, least, most), those of the first call, peak memory beyond the weights,
largest and mean difference of the video in [-1, 1] to the library's in chunks. Before them, the difference of that to
its own in float32 with TF32 products (`rounding`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from reporting import machine, report
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cosmos_ray.models.bundle.dims import VaeDims
from cosmos_ray.models.network.passes import fused_kernels
from cosmos_ray.models.vae import vae_whole
from cosmos_ray.models.vae.vae import WanVAE


def channels_last(vae: WanVAE) -> None:
    """Convolutions on Tensor Cores want the channels together; cuDNN transposes what comes otherwise."""
    for module in vae.model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.dim() in (4, 5):
                order = torch.channels_last if parameter.dim() == 4 else torch.channels_last_3d
                parameter.data = parameter.data.contiguous(memory_format=order)


def compiled(vae: WanVAE) -> None:
    for block in vae.model.decoder.up_blocks:
        block.compile()


WAYS = (
    "chunks",
    "chunks + last",
    "chunks + search",
    "chunks + last + search",
    "whole",
    "whole + plain",
    "whole + search",
    "chunks + last + compile",
)


def decoder_of(way: str, vae: WanVAE) -> Callable[[Tensor], Tensor]:
    """Normalised latents to a video; changes `vae` and PyTorch's settings for it."""
    how, *changes = way.split(" + ")
    torch.backends.cudnn.benchmark = "search" in changes
    if "last" in changes:
        channels_last(vae)
    if "compile" in changes:
        compiled(vae)
    decide = None if "plain" in changes else fused_kernels

    def decode(latent_BCTHW: Tensor) -> Tensor:
        if "last" in changes:
            latent_BCTHW = latent_BCTHW.contiguous(memory_format=torch.channels_last_3d)
        with (
            mock.patch.object(WanVAE, "_decodes_whole", return_value=how == "whole"),
            mock.patch.object(vae_whole, "fused_kernels", decide or (lambda _: None)),
        ):
            return vae.decode(latent_BCTHW)

    return decode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=8, help="latent frames")
    parser.add_argument("--height", type=int, default=88, help="of the latents")
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--dim", type=int, default=96)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS[:-1])
    arguments = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if on_gpu else ("cpu", torch.float32)
    report(**machine("torch"))
    generator = torch.Generator().manual_seed(0)
    shape = (1, 16, arguments.frames, arguments.height, arguments.width)
    latent = torch.randn(shape, generator=generator).to(device, dtype)

    def drawn(dtype: torch.dtype = dtype) -> WanVAE:
        return WanVAE.random(VaeDims(dim=arguments.dim), seed=0).to(device, dtype)

    expected = decoder_of("chunks", drawn())(latent).cpu()
    if on_gpu:
        exact = decoder_of("chunks", drawn(torch.float32))(latent.float()).cpu()
        torch.cuda.empty_cache()
        report(rounding=difference(expected, exact))
    for way in arguments.ways:
        figures, video = measure(decoder_of(way, drawn()), latent, arguments.repeats, on_gpu)
        report(way=way, **figures, **difference(video.cpu(), expected))


def difference(video: Tensor, expected: Tensor) -> dict[str, float]:
    apart = (video.float() - expected.float()).abs()
    return {"largest": apart.max().item(), "mean": apart.mean().item()}


@torch.no_grad()
def measure(decode: Callable[[Tensor], Tensor], latent: Tensor, repeats: int, on_gpu: bool) -> tuple[dict, Tensor]:
    def timed() -> tuple[float, Tensor]:
        began = time.monotonic()
        video = decode(latent)
        if on_gpu:
            torch.cuda.synchronize()
        return time.monotonic() - began, video

    before = torch.cuda.memory_allocated() if on_gpu else 0
    first_s, video = timed()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    times = [timed()[0] for _ in range(repeats)]
    peak = (torch.cuda.max_memory_allocated() - before) / 2**30 if on_gpu else None
    figures = {
        "s": round(statistics.median(times), 4),
        "least_s": round(min(times), 4),
        "most_s": round(max(times), 4),
        "first_s": round(first_s, 2),
        "peak_gib": peak and round(peak, 1),
    }
    return figures, video


if __name__ == "__main__":
    main()
