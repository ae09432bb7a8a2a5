"""A model of any published dimensions with weights drawn where they are used: no file is made, read or checked.

For what takes as long with any weights; `make_published.py` makes files, for what begins with reading them.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from support.networks import random_network  # noqa: E402

from cosmos_ray.clip.request import ClipRequest, ClipText  # noqa: E402
from cosmos_ray.models.bundle.bundle import Bundle  # noqa: E402
from cosmos_ray.models.generator import Generator  # noqa: E402
from cosmos_ray.models.network.dit import NUMERICS_DTYPE, DiTConfig  # noqa: E402
from cosmos_ray.models.parallel import ContextParallel  # noqa: E402
from cosmos_ray.models.vae.vae import WanVAE  # noqa: E402

_WORDS = 40


def drawn_generator(bundle: Bundle, device: str, parallel: ContextParallel | None = None) -> Generator:
    """Of a bundle with one network; the same numbers on every rank. It has no text encoder: `with_drawn_text`."""
    config = DiTConfig(state_t=bundle.state_t, **bundle.network.model_dump(), **bundle.recipe.network)
    dtype = NUMERICS_DTYPE[bundle.numerics]
    vae = WanVAE.random(bundle.vae, seed=2).to(device, dtype)
    return Generator(bundle, parallel or ContextParallel(), random_network(config, device, dtype), vae, None)


def drawn_request(bundle: Bundle, passes: int) -> ClipRequest:
    """The same on every rank: a guided clip of `passes` passes, or of the next possible number. It has one frame where
    its model takes frames, control videos where it takes those, and no text: `with_drawn_text`, or an encoder's."""
    recipe, draw = bundle.recipe, np.random.RandomState(0)
    views, size = bundle.n_views, (bundle.height, bundle.width, 3)
    given = 1 if recipe.has_condition_mask else 0
    return ClipRequest(
        id="timed",
        prompts=("A clear day on a city street.",),
        negative_prompt="Blurred.",
        n_views=views,
        num_conditional_frames=given,
        seed=0,
        guidance=bundle.sampling.guidance,
        num_steps=steps_of(bundle, passes),
        chosen_views=recipe.views[:views],
        frames=draw.randint(0, 256, (views, given, *size), np.uint8) if given else None,
        controls=draw.randint(0, 256, (views, bundle.num_frames, *size), np.uint8) if recipe.has_control else None,
    )


def steps_of(bundle: Bundle, passes: int) -> int:
    """With which a clip has so many passes, or the next possible number of them."""
    steps = 1
    while bundle.recipe.passes(steps) < passes:
        steps += 1
    return steps


def with_drawn_text(asked: ClipRequest, bundle: Bundle) -> ClipRequest:
    """Text of the first view, and of all where the model's empty views have some too."""

    def text(which: int) -> tuple[np.ndarray, ...]:
        words = np.random.default_rng(which).standard_normal((_WORDS, bundle.text_width)).astype(np.float32)
        others = words[:0] if bundle.recipe.empty_text is None else words
        return (words, *[others] * (asked.n_views - 1))

    return replace(asked, text=ClipText(text(1), text(2)))
