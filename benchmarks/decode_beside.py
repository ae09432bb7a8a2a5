"""What does decoding one clip cost the clip that is denoised beside it? One device, no Ray.

    python benchmarks/make_published.py /tmp/blocks-4 --size full --blocks 4
    python benchmarks/decode_beside.py --model /tmp/blocks-4 --device cuda [--steps 6] [--ways alone after own priority]

A rank decodes clip n in one thread while another denoises clip n + 1. Ways:

    alone      a clip is denoised, nothing is decoded
    after      its views are decoded, nothing is denoised: the cost of not overlapping
    shared     both threads launch into the default stream, so their kernels take turns
    own        the decoding thread has a stream of its own
    priority   the same, and the denoising thread's stream has the higher priority

Denoising is to outlast decoding (`--steps`): `left_s` is what of the decoding came afterwards. In `shared` a view waits
for all that the other thread has launched ahead, up to a thousand kernels: with few steps some views are left.

Prints a line of JSON a way, median over `--runs`: `denoise_s`, `decode_s`, `cost_s` (how much longer the denoising took
than alone, and what of the decoding was left; `after`: the decoding), peak memory. A clip pays `cost_s` once, however
many steps it has.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from reporting import machine, report

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.noise import clip_noise

WAYS = ("alone", "after", "shared", "own", "priority")
#: A smaller number is a higher priority.
_HIGH = -1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=["alone", "after", "own", "priority"])
    arguments = parser.parse_args()
    generator = Generator.load(load_bundle(arguments.model), arguments.device)
    bundle = generator.bundle
    on_gpu = arguments.device == "cuda"
    report(blocks=bundle.network.num_blocks, arguments=vars(arguments), **machine("torch"))
    latents = {
        view: torch.randn(bundle.vae.z_dim, bundle.state_t, bundle.height // 8, bundle.width // 8).to(arguments.device)
        for view in VIEWS[: bundle.n_views]
    }
    warm_up = ClipRequest("warm-up", ("a street",), "blurry", 1, 0, seed=0, guidance=7.0, num_steps=1)
    generator.denoise(generator.embed(warm_up))
    generator.decode({VIEWS[0]: latents[VIEWS[0]]})
    request = replace(
        warm_up, n_views=bundle.n_views, num_steps=arguments.steps, noise=clip_noise(0, bundle, bundle.n_views)
    )
    request = generator.embed(request)
    alone: float | None = None
    for way in arguments.ways:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        found = [measure(way, generator, request, latents) for _ in range(arguments.runs)]
        denoise_s, decode_s, left_s = (statistics.median(column) for column in zip(*found, strict=True))
        alone = denoise_s if way == "alone" else alone
        figures = {
            "way": way,
            "denoise_s": round(denoise_s, 3),
            "decode_s": round(decode_s, 3),
            "left_s": round(left_s, 3),
            "spread_s": round(max(one[0] for one in found) - min(one[0] for one in found), 3),
            "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1) if on_gpu else None,
        }
        if way == "after":
            figures["cost_s"] = round(decode_s, 3)
        elif way != "alone" and alone is not None:
            figures["cost_s"] = round(denoise_s - alone + left_s, 3)
        report(**figures)


def measure(
    way: str, generator: Generator, request: ClipRequest, latents: dict[str, torch.Tensor]
) -> tuple[float, float, float]:
    """(denoise_s, decode_s, left_s); 0 for what this way does not do. Both return when the device is done."""
    device = generator.network.device
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.monotonic()
    ended: dict[str, float] = {}

    def denoise() -> None:
        with _stream(device, way == "priority", _HIGH):
            generator.denoise(request)
        ended["denoise"] = time.monotonic() - began

    def decode() -> None:
        with _stream(device, way in ("own", "priority"), 0):
            generator.decode(latents)
        ended["decode"] = time.monotonic() - began

    works = {"alone": [denoise], "after": [decode]}.get(way, [denoise, decode])
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(ended) != len(works):
        raise SystemExit(f"{way}: a thread failed")
    denoise_s, decode_s = ended.get("denoise", 0.0), ended.get("decode", 0.0)
    return denoise_s, decode_s, max(0.0, decode_s - denoise_s) if len(works) == 2 else 0.0


def _stream(device: torch.device, of_its_own: bool, priority: int) -> AbstractContextManager[object]:
    """For what this thread launches."""
    if device.type != "cuda" or not of_its_own:
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device, priority=priority))


if __name__ == "__main__":
    main()
