"""How far do approximations take a clip from the exact one of the same seed? On latents and on frames.

    python benchmarks/approximations.py --clips 4 --cases "attention: fp8" "guidance_interval: [0, 0.6]"
    python benchmarks/approximations.py --size 2b --steps 2 --unguided --views-decoded 1     # an H100, random weights

A case is what a job would have under `sampling`, as YAML. Prints a line of JSON for each: over clips from text alone,
the mean relative error ||a - b|| / ||b|| of the latents, the PSNR of the frames, their largest difference in levels,
and the seconds of denoising; before them those of the exact clips. The second form takes the published dimensions and a
random network, whose attention is flatter than a trained one's. On a GPU "kernel: cudnn" is a case too: the exact clip
by another exact kernel, which tells what rounding alone does. Few steps multiply any error.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import yaml
from reporting import machine, report

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from step_modes import SIZES  # noqa: E402
from support.networks import random_network  # noqa: E402

from cosmos_ray import Generator  # noqa: E402
from cosmos_ray.clip.approximations import EXACT, Approximations  # noqa: E402
from cosmos_ray.clip.request import VIEWS, ClipRequest, ClipText  # noqa: E402
from cosmos_ray.models.bundle.bundle import load_bundle  # noqa: E402
from cosmos_ray.models.bundle.dims import VaeDims  # noqa: E402
from cosmos_ray.models.network import attention as kernels  # noqa: E402
from cosmos_ray.models.network.fp8 import check_fp8  # noqa: E402
from cosmos_ray.models.parallel import ContextParallel  # noqa: E402
from cosmos_ray.models.vae.vae import WanVAE  # noqa: E402

CUDNN = "kernel: cudnn"


@dataclass(frozen=True)
class Made:
    """latents: by view; frames: uint8 [T, H, W, 3] by view, of the first views only."""

    latents: dict[str, torch.Tensor]
    frames: dict[str, np.ndarray]
    seconds: float


def approximations_of(text: str) -> Approximations:
    """From YAML without its braces: "attention: fp8, fp8_interval: [0, 1]"."""
    return Approximations.model_validate(yaml.safe_load(f"{{{text}}}"))


def random_generator(size_name: str, device: str) -> Generator:
    """The published model's dimensions (or miniature ones), random weights, no text encoder."""
    size, on_gpu = SIZES[size_name], device.startswith("cuda")
    published = load_bundle("cosmos-predict2-2b-multiview")
    bundle = published.model_copy(
        update={
            "height": 16 * size.grid.height,
            "width": 16 * size.grid.width,
            "state_t": size.grid.frames,
            "n_views": size.grid.views,
            "network": size.config,
            "vae": published.vae if size_name == "2b" else VaeDims(dim=4, num_res_blocks=1),
        }
    )
    dtype = torch.bfloat16 if on_gpu else torch.float32
    network = random_network(size.config, device, dtype)
    vae = WanVAE.random(bundle.vae, seed=2).to(device, dtype)
    return Generator(bundle, ContextParallel(), network, vae, text_encoder=None)


def request_of(generator: Generator, steps: int | None, guided: bool, seed: int) -> ClipRequest:
    """A clip from text alone: words that the tiny model knows, or, without a text encoder, a random embedding."""
    bundle = generator.bundle
    sampling = bundle.sampling
    asked = ClipRequest(
        id=str(seed),
        prompts=("A clear day on a city street. A red car ahead.",),
        negative_prompt=sampling.negative_prompt if guided else "",
        n_views=bundle.n_views,
        num_conditional_frames=0,
        seed=seed,
        guidance=sampling.guidance,
        num_steps=steps or sampling.num_steps,
    )
    if generator.text_encoder is not None:
        return generator.embed(asked)

    def text(which: int) -> tuple[np.ndarray, ...]:
        words = np.random.default_rng(which).standard_normal((40, bundle.text_width)).astype(np.float32)
        return (words, *[words[:0]] * (bundle.n_views - 1))

    return replace(asked, text=ClipText(text(1), text(2) if guided else None))


def make(generator: Generator, asked: ClipRequest, case: str, views_decoded: int) -> Made:
    approximations = EXACT if case in ("", CUDNN) else approximations_of(case)
    cudnn = mock.patch.object(kernels, "attention_kernel", return_value="cudnn") if case == CUDNN else nullcontext()
    started = time.monotonic()
    with cudnn:
        sampled = generator.sampled_by(generator.bundle.solved_by(approximations), approximations)
        latents = generator.collect(sampled.denoise(asked))
    if generator.network.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.monotonic() - started
    return Made(
        latents, generator.decode({view: latents[view] for view in VIEWS[:views_decoded] if view in latents}), seconds
    )


def compare(found: Made, exact: Made) -> dict[str, float]:
    one, other = (torch.stack(list(made.latents.values())).double() for made in (found, exact))
    frames, expected = (np.stack(list(made.frames.values())).astype(np.float64) for made in (found, exact))
    mean_square = np.square(frames - expected).mean()
    return {
        "latents": float((one - other).norm() / other.norm()),
        "frames_psnr_db": 10 * math.log10(255**2 / mean_square) if mean_square else math.inf,
        "frames_max_levels": float(np.abs(frames - expected).max()),
        "seconds": found.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="name, folder or URI of a bundle")
    parser.add_argument("--size", choices=SIZES, help="a random network of these dimensions instead")
    parser.add_argument("--cases", nargs="+", default=["attention: fp8", "attention: fp8, fp8_interval: [0, 1]"])
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--steps", type=int, help="default: the bundle's")
    parser.add_argument("--unguided", action="store_true", help="without a negative prompt, at half the cost")
    parser.add_argument("--views-decoded", type=int, default=len(VIEWS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if arguments.size:
        generator = random_generator(arguments.size, arguments.device)
    else:
        generator = Generator.load(load_bundle(arguments.model), arguments.device)
    network = generator.network
    if any("fp8" in case for case in arguments.cases):
        check_fp8(network.device, network.dtype, network.config.head_dim)
    report(dtype=str(network.dtype), **machine("torch"))
    asked = [
        request_of(generator, arguments.steps, not arguments.unguided, seed=seed) for seed in range(arguments.clips)
    ]
    exact = [make(generator, one, "", arguments.views_decoded) for one in asked]
    report(case="exact", seconds=[round(made.seconds, 2) for made in exact])
    for case in arguments.cases:
        found = [make(generator, one, case, arguments.views_decoded) for one in asked]
        rows = [compare(one, other) for one, other in zip(found, exact, strict=True)]
        means = {column: round(float(np.mean([row[column] for row in rows])), 4) for column in rows[0]}
        report(case=case, **means)


if __name__ == "__main__":
    main()
