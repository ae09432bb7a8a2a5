"""A run that is gone on with computes what is left of it, and nothing twice: the clip would be the same, and late."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cosmos_ray.clip.request import VIDEO, ClipRequest
from cosmos_ray.models.bundle.bundle import load_bundle, parse_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.network.dit import MultiviewDiT
from cosmos_ray.models.sampler import SamplerState


@pytest.fixture(scope="module")
def generator() -> Generator:
    """A picture and a video of two latent frames, each by a network of one block."""
    bundle = load_bundle("tiny-text2world")
    said = bundle.model_dump(mode="json")
    said["network"]["num_blocks"] = said["picture"]["network"]["num_blocks"] = 1
    said["picture"] |= {"height": 32, "width": 32, "num_steps": 3}
    return Generator.load(parse_bundle(json.dumps(said | {"state_t": 2, "height": 32, "width": 32}), bundle.root))


@pytest.mark.parametrize("chunks", [1, 3])
def test_passes_that_are_done_are_not_made_again(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    made: list[MultiviewDiT] = []
    forward = MultiviewDiT.forward_tokens

    def counted(network: MultiviewDiT, *args: Any, **more: Any) -> Any:
        made.append(network)
        return forward(network, *args, **more)

    monkeypatch.setattr(MultiviewDiT, "forward_tokens", counted)
    asked = generator.embed(
        ClipRequest("a", ("A cup.",), "ugly", 1, 0, 5, 7.0, 2, chosen_views=(VIDEO,), num_chunks=chunks)
    )
    assert generator.picture is not None
    of_picture = generator.picture.bundle.recipe.passes(3)
    total = generator.bundle.recipe.passes(2) * chunks
    states: list[SamplerState] = []
    generator.denoise(asked, on_state=states.append)
    assert [made.count(one.network) for one in (generator.picture, generator)] == [of_picture, total]
    # At the start, after each pass, and at the start of each chunk, which is where the one before it ended.
    assert sorted({state.step for state in states}) == list(range(total))
    for state in states:
        made.clear()
        steps: list[tuple[int, int]] = []
        again: list[SamplerState] = []
        generator.denoise(asked, resume=state, on_step=lambda *at, said=steps: said.append(at), on_state=again.append)
        assert made == [generator.network] * (total - state.step), "the picture is not drawn again, nor a chunk"
        assert steps == [(done, total) for done in range(state.step + 1, total + 1)]
        assert sorted({one.step for one in again}) == list(range(state.step, total)), "it can be gone on with at once"
