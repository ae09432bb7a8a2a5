"""A gang makes the clip that one rank makes: each part of it, on ranks that are threads.

`test_parallel.py` and `test_predict25.py` have the same with processes, longer runs and larger gangs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.thread_ranks import run_on_copies, run_threads

from cosmos_ray.clip.request import ClipRequest, ClipText
from cosmos_ray.errors import RowError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, Bundle, load_bundle, parse_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.parallel import ContextParallel, gather_all
from cosmos_ray.models.sampler import SamplerState

RANKS, VIEWS = 2, 3
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module")
def tiny() -> Generator:
    return Generator.load(load_bundle("tiny").model_copy(update={"state_t": 2}))


@pytest.fixture(scope="module")
def steered() -> Generator:
    return Generator.load(transfer())


def transfer() -> Bundle:
    """The tiny model of Transfer2.5's recipe, two blocks and two latent frames."""
    folder = BUILT_IN_FOLDER / "tiny25"
    said = json.loads((folder / "bundle.json").read_text()) | {"state_t": 2, "height": 32, "width": 64}
    network = said["network"] | {"num_blocks": 2, "vace_block_every_n": 1}
    return parse_bundle(json.dumps(said | {"family": "transfer2.5-multiview", "network": network}), str(folder))


def frames(generator: Generator, count: int, seed: int = 0) -> np.ndarray:
    size = (VIEWS, count, generator.bundle.height, generator.bundle.width, 3)
    return np.random.RandomState(seed).randint(0, 256, size).astype(np.uint8)


def request(**changes: Any) -> ClipRequest:
    plain = ClipRequest("clip", ("a red car",), "blurry", VIEWS, 0, seed=1, guidance=3.0, num_steps=2)
    return replace(plain, **changes)


def on_ranks(generator: Generator, function: Callable[[Generator], Any]) -> list[Any]:
    return run_on_copies(RANKS, generator, function)


def whole(parts: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(parts, dim=1)


def test_each_view_is_encoded_by_its_owner_and_all_have_it(tiny: Generator) -> None:
    """Three views on two ranks: the second has one, and an empty slot. Each gets its share of every view."""
    given = frames(tiny, 5)
    encoded: list[int] = []

    def encode(generator: Generator) -> torch.Tensor:
        own, encode = generator.vae, generator.vae.encode
        own.encode = lambda video: (encoded.append(generator.parallel.rank), encode(video))[1]  # type: ignore[method-assign]
        return generator._encode(given, 2)

    parts = on_ranks(tiny, encode)
    assert sorted(encoded) == [0, 0, 1]
    torch.testing.assert_close(whole(parts), tiny._encode(given, 2), **CLOSE)


@pytest.mark.parametrize("given", [0, 5])
def test_two_ranks_make_the_clip_that_one_makes(tiny: Generator, given: int) -> None:
    asked = tiny.embed(
        request(num_steps=1, num_conditional_frames=given, frames=frames(tiny, given) if given else None,
                chosen_views=("front_tele", "rear", "cross_right"))
    )  # fmt: skip
    alone = tiny.denoise(asked)
    parts = on_ranks(tiny, lambda generator: _with_views(generator, asked))
    torch.testing.assert_close(whole([share for share, _ in parts]), alone, **CLOSE)
    assert [tuple(views) for _, views in parts] == [("front_tele", "cross_right"), ("rear",)]
    clip = tiny.decode(tiny.collect(alone, asked.views))
    for view, video in {**parts[0][1], **parts[1][1]}.items():
        assert np.abs(video.astype(int) - clip[view]).max() <= 1, view


def _with_views(generator: Generator, asked: ClipRequest) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    share = generator.denoise(asked)
    return share, generator.decode(generator.collect(share, asked.views))


def test_a_state_of_a_gang_is_whole_on_rank_0_and_goes_on_on_one_rank(tiny: Generator) -> None:
    asked = tiny.embed(request(num_steps=3))
    expected = tiny.denoise(asked)

    def cut_off(generator: Generator) -> dict[str, np.ndarray]:
        states: list[SamplerState] = []
        generator.denoise(asked, on_state=states.append)
        return generator.pack_state(states[2])

    packed, others = on_ranks(tiny, cut_off)
    assert others == {}
    assert packed["step"] == 2
    assert packed["sample"].shape == (VIEWS, tiny.bundle.tokens_per_view, 64)
    torch.testing.assert_close(tiny.denoise(asked, resume=tiny.unpack_state(packed)), expected, **CLOSE)
    shares = on_ranks(tiny, lambda generator: generator.denoise(asked, resume=generator.unpack_state(packed)))
    torch.testing.assert_close(whole(shares), expected, **CLOSE)


def test_a_gang_steers_and_makes_longer_videos_as_one_rank_does(steered: Generator) -> None:
    """A later chunk begins with bytes, of which rounding may make the next level."""
    asked = steered.embed(
        request(num_chunks=2, num_conditional_frames=1, frames=frames(steered, 1), controls=frames(steered, 9, seed=1))
    )
    alone = steered.denoise(asked)
    found = whole(on_ranks(steered, lambda generator: generator.denoise(asked)))
    torch.testing.assert_close(found[..., :64], alone[..., :64], rtol=0, atol=5e-5)
    torch.testing.assert_close(found, alone, rtol=0, atol=2e-2)


@pytest.mark.parametrize("given", ["nothing", "captions alone"])
def test_a_gang_whose_rank_0_did_not_embed_fails_on_every_rank(tiny: Generator, given: str) -> None:
    """Alike, before anything is exchanged, rank 0 too: it could embed, and would wait for the others for ever. Captions
    that came as embeddings leave the negative prompt to it: without, the clip would not be guided."""
    captions = ClipText((np.ones((2, tiny.bundle.text_width), np.float32),) * VIEWS, None)
    asked = request(text=None if given == "nothing" else captions)

    def refused(generator: Generator) -> str:
        with pytest.raises(Exception, match="rank 0 must embed it first") as error:
            generator.denoise(asked)
        return type(error.value).__name__

    assert on_ranks(tiny, refused) == ["UsageError"] * RANKS


@pytest.mark.parametrize("bad_rank", range(RANKS))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_anywhere_is_a_fault_everywhere(tiny: Generator, bad_rank: int, value: float) -> None:
    def check(generator: Generator) -> str:
        latents = torch.zeros(VIEWS, 4, 64)
        if generator.parallel.rank == bad_rank:
            latents[-1, -1, -1] = value
        try:
            generator._check_finite(latents)
        except RowError as error:
            return error.failure_class
        return "no error"

    assert on_ranks(tiny, check) == ["model"] * RANKS


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_all_shares_put_together_are_the_clip(ranks: int) -> None:
    clip = torch.arange(3 * 8 * 2).view(3, 8, 2)

    def gathered(parallel: ContextParallel) -> torch.Tensor:
        size = 8 // ranks
        return gather_all(clip[:, parallel.rank * size : (parallel.rank + 1) * size], parallel)

    if ranks == 1:
        assert torch.equal(gathered(ContextParallel()), clip)
    else:
        assert all(torch.equal(found, clip) for found in run_threads(ranks, gathered))
