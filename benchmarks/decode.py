"""How long a GPU decodes one 720p view, in ways that compute the same: what the product does, and what else was tried.

    python benchmarks/decode.py [--repeats 5] [--frames 8] [--height 88] [--width 160] [--dim 96]

Wan 2.1's decoder with random weights in bfloat16 (float32 on a CPU). Prints a line of JSON a way: seconds (median,
least, most), those of the first call, peak memory beyond the weights, largest and mean difference of the video in
[-1, 1] to the product's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cosmos_ray.models.bundle import VaeDims
from cosmos_ray.models.vae import WanVAE


def channels_last(vae: WanVAE) -> None:
    """Convolutions on Tensor Cores want the channels together; cuDNN transposes what comes otherwise."""
    for module in vae.model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.dim() in (4, 5):
                order = torch.channels_last if parameter.dim() == 4 else torch.channels_last_3d
                parameter.data = parameter.data.contiguous(memory_format=order)


def searched(vae: WanVAE) -> None:
    torch.backends.cudnn.benchmark = True


def compiled(vae: WanVAE) -> None:
    for block in vae.model.decoder.up_blocks:
        block.compile()


WAYS: dict[str, tuple[Callable[[WanVAE], None], ...]] = {
    "product": (),
    "channels last": (channels_last,),
    "kernels searched": (searched,),
    "channels last, kernels searched": (channels_last, searched),
    "channels last, compiled": (channels_last, compiled),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8, help="latent frames")
    parser.add_argument("--height", type=int, default=88, help="of the latents")
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--dim", type=int, default=96)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    arguments = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if on_gpu else ("cpu", torch.float32)
    print(json.dumps({"device": torch.cuda.get_device_name() if on_gpu else "cpu", "torch": torch.__version__}))
    generator = torch.Generator().manual_seed(0)
    shape = (1, 16, arguments.frames, arguments.height, arguments.width)
    latent = torch.randn(shape, generator=generator).to(device, dtype)
    expected: Tensor | None = None
    for name in arguments.ways:
        torch.backends.cudnn.benchmark = False
        vae = WanVAE.random(VaeDims(dim=arguments.dim), seed=0).to(device, dtype)
        for change in WAYS[name]:
            change(vae)
        figures, video = measure(vae.decode, latent, arguments.repeats, on_gpu)
        expected = video if expected is None else expected
        difference = (video.float() - expected.float()).abs()
        print(
            json.dumps({"way": name, **figures, "largest": difference.max().item(), "mean": difference.mean().item()})
        )
        sys.stdout.flush()


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
