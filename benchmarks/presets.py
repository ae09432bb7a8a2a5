"""What does a clip of each preset cost at full size, with exact attention and in 8 bits? On one GPU.

    python benchmarks/presets.py                        # 2B network, 7 views of 720p, random weights; four minutes
    python benchmarks/presets.py --size small --passes 2     # in miniature, also on a CPU (8 bits are imitated there)

Passes of the sampler are timed one by one, each kind `--passes` times after one that warms up: for both texts and for
the caption alone, with exact attention and in 8 bits where `attention: fp8` has it by default. Then a view is decoded.
A clip's time is reckoned: each of its passes by its kind, as the sampler decides it for a model of `--steps` steps, and
seven views. Prints a line of JSON a kind (median, least, most), then one a preset: passes of each kind, seconds a clip,
ratio to the exact clip, and the ratio that `plan` tells beside it.
"""

from __future__ import annotations

import argparse
import collections
import statistics
import time
from dataclasses import replace

import torch
from approximations import random_generator, request_of
from denoise import synchronise
from reporting import machine, report
from step_modes import SIZES

from cosmos_ray import Generator
from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.sampling import PRESETS, SamplingConfig
from cosmos_ray.job.cost import ClipGroup, exact_calls
from cosmos_ray.words import counted

#: (texts of a pass, attention of its blocks) of passes: what decides their time.
Kind = tuple[int, str]
#: Under these the first half of a clip's passes is guided, the second is not.
HALVES = {
    "exact": Approximations(guidance_interval=(0.0, 0.5)),
    "fp8": Approximations(guidance_interval=(0.0, 0.5), attention="fp8", fp8_interval=(0.0, 1.0)),
}


def kinds_of(approximations: Approximations, passes: int, blocks: int) -> list[Kind]:
    """Of each pass of a guided clip."""
    return [
        (
            2 if approximations.is_guided(number, passes) else 1,
            "fp8" if approximations.fp8_blocks(number, passes, blocks) else "exact",
        )
        for number in range(passes)
    ]


def pass_seconds(generator: Generator, attention: str, count: int) -> dict[Kind, list[float]]:
    """Of each kind with this attention, `count` times after a first one."""
    approximations = HALVES[attention]
    passes = 2 * (count + 1)
    asked = request_of(generator, passes - 1, guided=True, seed=0)  # the published solver has one pass more than steps
    ends = [0.0]

    def note(*_: object) -> None:
        synchronise(generator.network.device)
        ends.append(time.monotonic())

    ends[0] = time.monotonic()
    generator.sampled_by(generator.bundle, approximations).denoise(asked, on_step=note)
    seconds: dict[Kind, list[float]] = collections.defaultdict(list)
    kinds = kinds_of(approximations, passes, generator.network.config.num_blocks)
    for kind, began, ended in zip(kinds, ends, ends[1:], strict=False):
        seconds[kind].append(ended - began)
    return {kind: taken[1:] for kind, taken in seconds.items()}


def decode_seconds(generator: Generator) -> float:
    """Of one view, the second time."""
    bundle, device = generator.bundle, generator.network.device
    latents = torch.zeros(bundle.vae.z_dim, bundle.state_t, bundle.height // 8, bundle.width // 8, device=device)
    for _ in range(2):
        began = time.monotonic()
        generator.decode({"front_wide": latents})
        seconds = time.monotonic() - began
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="2b")
    parser.add_argument("--passes", type=int, default=1, help="of each kind, after a first one")
    parser.add_argument("--steps", type=int, default=35, help="the model's own")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    report(**machine("torch"), size=arguments.size, steps=arguments.steps)
    generator = random_generator(arguments.size, arguments.device)
    blocks = generator.network.config.num_blocks
    found: dict[Kind, float] = {}
    for attention in HALVES:
        for (texts, _), taken in pass_seconds(generator, attention, arguments.passes).items():
            found[texts, attention] = statistics.median(taken)
            span = {"least_s": round(min(taken), 4), "most_s": round(max(taken), 4)}
            report(texts=texts, attention=attention, pass_s=round(found[texts, attention], 4), **span)
    view_s = decode_seconds(generator)
    report(decode_view_s=round(view_s, 4))
    group = ClipGroup(generator.bundle.n_views, arguments.steps, True, 0, 1)
    as_published = exact_calls(group, HALVES["exact"].model_copy(update={"guidance_interval": (0.0, 1.0)}))
    exact_s = None
    for attention in HALVES:
        for preset in PRESETS:
            sampling = SamplingConfig.model_validate({"preset": preset, "attention": attention})
            chosen, steps = sampling.approximations, sampling.steps_of(arguments.steps)
            family = generator.bundle.solved_by(chosen).recipe
            kinds = collections.Counter(kinds_of(chosen, family.passes(steps), blocks))
            clip_s = sum(found[kind] * count for kind, count in kinds.items()) + generator.bundle.n_views * view_s
            exact_s = exact_s or clip_s
            planned = exact_calls(replace(group, num_steps=steps), chosen, family) / as_published
            counts = {f"{counted(texts, 'text')}, {which}": count for (texts, which), count in kinds.items()}
            report(
                preset=preset, attention=attention, steps=steps, passes=counts,
                clip_s=round(clip_s, 3), ratio=round(clip_s / exact_s, 3), planned=round(planned, 3),
            )  # fmt: skip


if __name__ == "__main__":
    main()
