"""Is a step that reuses what the blocks said before nearer to the converged clip than a schedule with fewer steps?

    python benchmarks/step_cache.py [--model tiny] [--device cpu] [--guidance 3] [--clips 2] [--views 3]
        [--evaluations 36] [--every 2 3] [--first 5] [--last 2]

Of `--evaluations` of a clip solved by `unipc` on `karras9`, the first and last ones and every so-many-th between are
computed; at the others the network's embedding and its last layer are computed, and in place of the blocks stands what
they added before:

    velocity     not even that: the whole answer of before
    residual     the last sum of what the blocks added
    magnitude    the same, longer or shorter by a table by step, measured on another clip (MagCache's kind)
    line         continued from the last two in the logarithm of the noise level (TaylorSeer's kind, first order)

Beside each stands the plain solver with as many evaluations as were computed, which is what a cache has to beat. Prints
a line of JSON for each: relative error of latents to the clip of `--converged` evaluations, mean over clips.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
from reporting import machine, report
from solvers import CAPTIONS
from torch import Tensor, nn

from cosmos_ray import Generator
from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.models.ab2 import sigma_schedule
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.network.dit import MultiviewDiT

KINDS = ("velocity", "residual", "magnitude", "line")
UNIPC = Approximations(solver="unipc", schedule="karras9")


def computed(evaluations: int, every: int, first: int, last: int) -> list[bool]:
    """Of each evaluation, whether the blocks are run."""
    ends = [number < first or number >= evaluations - last for number in range(evaluations)]
    return [at_end or (number - first) % every == every - 1 for number, at_end in enumerate(ends)]


@dataclass
class Cache:
    """What the blocks added, by evaluation, and how an evaluation without them is answered."""

    kind: str
    runs: list[bool]
    levels: np.ndarray
    growth: list[float] = field(default_factory=list)
    number: int = 0
    answer: Tensor | None = None
    residuals: list[tuple[int, Tensor]] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)

    def added(self) -> Tensor:
        number, residual = self.residuals[-1]
        if self.kind == "magnitude":
            return residual * float(np.prod(self.growth[number + 1 : self.number + 1]))
        if self.kind == "line" and len(self.residuals) > 1:
            before, earlier = self.residuals[-2]
            logs = np.log(self.levels)
            step = (logs[self.number] - logs[number]) / (logs[number] - logs[before])
            return residual + float(step) * (residual - earlier)
        return residual


class Reused(nn.Module):
    """In the blocks' place."""

    def __init__(self, cache: Cache) -> None:
        super().__init__()
        self.cache = cache

    def forward(self, x_BVSsD: Tensor, *_: Any) -> Tensor:
        return x_BVSsD + self.cache.added().to(x_BVSsD.dtype)


@contextmanager
def cached(network: MultiviewDiT, cache: Cache) -> Iterator[None]:
    """The network answers by the cache where the blocks are not to be run."""
    real, blocks = network.forward_tokens, network.blocks
    ends: dict[str, Tensor] = {}
    hooks = [
        blocks[0].register_forward_pre_hook(lambda _, inputs: ends.update(first=inputs[0])),
        blocks[-1].register_forward_hook(lambda _, __, made: ends.update(last=made)),
    ]

    def forward_tokens(*arguments: Any, **named: Any) -> Tensor:
        if cache.runs[cache.number]:
            cache.answer = real(*arguments, **named)
            residual = ends["last"] - ends["first"]
            cache.residuals.append((cache.number, residual))
            cache.norms.append(float(residual.norm()))
            del cache.residuals[:-2]
        elif cache.kind != "velocity":
            network.blocks = nn.ModuleList([Reused(cache)])
            cache.answer = real(*arguments, **named)
            network.blocks = blocks
        cache.number += 1
        assert cache.answer is not None
        return cache.answer

    with mock.patch.object(network, "forward_tokens", forward_tokens):
        yield
    for hook in hooks:
        hook.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="name, folder or URI of a bundle")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=36)
    parser.add_argument("--every", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--first", type=int, default=5)
    parser.add_argument("--last", type=int, default=2)
    parser.add_argument("--converged", type=int, default=100)
    arguments = parser.parse_args()
    report(**machine("torch"), **{name: getattr(arguments, name) for name in ("model", "guidance", "clips", "views")})

    generator = Generator.load(load_bundle(arguments.model), arguments.device, numerics="float32", approximations=UNIPC)
    levels = sigma_schedule(arguments.evaluations, order=9.0)

    def make(seed: int, evaluations: int, cache: Cache | None = None) -> Tensor:
        asked = ClipRequest(
            id=str(seed), prompts=(CAPTIONS[seed % len(CAPTIONS)],), n_views=arguments.views, num_conditional_frames=0,
            negative_prompt=generator.bundle.sampling.negative_prompt, seed=seed,
            guidance=arguments.guidance, num_steps=evaluations,
        )  # fmt: skip
        request = generator.embed(asked)
        whole = Cache("none", [True] * evaluations, levels)
        with cached(generator.network, cache or whole):
            return generator.denoise(request)

    seeds = range(arguments.clips)
    best = [make(seed, arguments.converged) for seed in seeds]
    measured = Cache("none", [True] * arguments.evaluations, levels)
    make(arguments.clips, arguments.evaluations, measured)
    growth = [1.0, *(after / before for before, after in zip(measured.norms[:-1], measured.norms[1:], strict=True))]

    def tell(name: str, evaluations: int, made: list[Tensor], **more: Any) -> None:
        errors = [float((one - exact).norm() / exact.norm()) for one, exact in zip(made, best, strict=True)]
        report(
            how=name, computed=evaluations, error=round(float(np.mean(errors)), 4), most=round(max(errors), 4), **more
        )

    for every in arguments.every:
        runs = computed(arguments.evaluations, every, arguments.first, arguments.last)
        for kind in KINDS:
            made = [make(seed, len(runs), Cache(kind, runs, levels, growth)) for seed in seeds]
            tell(kind, sum(runs), made, every=every)
        tell("fewer steps", sum(runs), [make(seed, sum(runs)) for seed in seeds])


if __name__ == "__main__":
    main()
