"""What the two models of a clip that begins with a picture are asked for, by plain rules; a gang's picture."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.thread_ranks import run_threads

from cosmos_ray.clip.request import PICTURE, VIDEO, ClipRequest, ClipText
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle, parse_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.parallel import ContextParallel, gather_all, shard
from cosmos_ray.models.picture_first import (
    STATE,
    WithPicture,
    parallel_for,
    picture_request,
    split_state,
    video_request,
    with_picture,
)
from cosmos_ray.models.sampler import SamplerState

#: Text of three tokens.
ONE = np.ones((3, 8), np.float32)


def small(width: int = 64) -> Bundle:
    """Networks of a block, two latent frames; a picture of 2 x 4 tokens, or of 1 x 3, which no two ranks divide."""
    bundle = load_bundle("tiny-text2world")
    said = bundle.model_dump(mode="json")
    said["network"]["num_blocks"] = said["picture"]["network"]["num_blocks"] = 1
    said["picture"] |= {"height": 32 if width == 64 else 16, "width": width}
    return parse_bundle(json.dumps(said | {"state_t": 2, "height": 32, "width": 32}), bundle.root)


def request(**changes: Any) -> ClipRequest:
    asked = ClipRequest("a", ("A cup.",), "ugly", 1, 0, 5, 7.0, 9, chosen_views=(VIDEO,), text=ClipText((ONE,), None))
    return replace(asked, **changes)


def test_a_gang_makes_the_picture_together_only_where_its_tokens_divide() -> None:
    gang = ContextParallel(1, 2)
    assert parallel_for(small().picture_bundle(), gang) is gang
    assert parallel_for(small(48).picture_bundle(), gang) == ContextParallel()
    loaded = Generator.load(small(48), parallel=gang).picture
    assert loaded is not None
    assert loaded.parallel == ContextParallel()


def test_the_picture_has_its_own_steps_guidance_and_noise_and_is_one_chunk() -> None:
    model = small().picture_bundle()
    noise = np.zeros((1,), np.float32)
    asked = picture_request(request(noise=noise, num_chunks=3, guidance=1.5), model)
    assert (asked.views, asked.num_chunks, asked.noise, asked.seed) == ((PICTURE,), 1, None, 5)
    assert (asked.num_steps, asked.guidance) == (model.sampling.num_steps, model.sampling.guidance)
    assert (asked.num_steps, asked.guidance) != (9, 1.5)


def test_the_picture_is_weighed_against_the_rows_negative_prompt_or_against_no_text() -> None:
    model = small().picture_bundle()
    negative = (np.full((2, model.text_width), 3, np.float32),)
    told = picture_request(request(text=ClipText((ONE,), negative)), model)
    assert told.text is not None
    assert told.text.negative is negative
    plain = picture_request(request(negative_prompt=""), model).text
    assert plain is not None
    assert [one.shape for one in plain.negative or ()] == [(0, model.text_width)]
    distilled = load_bundle("tiny-text2world-distilled2").picture_bundle()
    alone = picture_request(request(text=ClipText((ONE,), negative)), distilled)
    assert alone.text is not None
    assert alone.text.negative is None, "a distilled model weighs nothing"


def test_the_video_begins_with_the_centre_of_the_picture() -> None:
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, 2:6] = 200
    asked = video_request(request(), picture, (4, 4))
    assert (asked.num_conditional_frames, asked.chosen_views, asked.num_steps) == (1, (VIDEO,), 9)
    assert asked.frames is not None
    assert (asked.frames == np.full((1, 1, 4, 4, 3), 200)).all()
    wide = video_request(request(), picture, (4, 8)).frames
    assert wide is not None
    assert np.array_equal(wide[0, 0], picture), "height, then width"
    elsewhere = video_request(request(), None, (4, 6)).frames
    assert elsewhere is not None
    assert (elsewhere == np.zeros((1, 1, 4, 6, 3))).all()


def test_a_state_has_the_picture_beside_the_video() -> None:
    picture, sample = torch.ones(1, 2, 3), torch.zeros(1, 2, 3)
    said: list[SamplerState] = []
    keep = with_picture(said.append, picture)
    assert keep is not None
    keep(SamplerState(4, {"sample": sample}))
    assert said[0].tensors.keys() == {"sample", STATE}
    video, kept = split_state(said[0])
    assert video is not None
    assert (video.step, video.tensors.keys(), kept is picture) == (4, {"sample"}, True)
    assert said[0].tensors.keys() == {"sample", STATE}, "which stays as it was"
    assert split_state(None) == (None, None)
    assert with_picture(None, picture) is None


@pytest.mark.parametrize("width", [64, 48])
def test_a_gangs_picture_is_the_first_ranks_and_its_state_is_whole(width: int) -> None:
    """Whether the ranks have shares of it or all of it each."""
    alone = Generator.load(small(width))
    assert alone.picture is not None
    sizes = [one.bundle.tokens_per_view for one in (alone.picture, alone)]
    whole = [torch.arange(64.0 * tokens).reshape(1, tokens, 64) for tokens in sizes]
    picture, video = whole

    def be_rank(parallel: ContextParallel) -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray], torch.Tensor]:
        assert alone.picture is not None
        of_picture = replace(alone.picture, parallel=parallel_for(alone.picture.bundle, parallel))
        generator = replace(alone, parallel=parallel, picture=of_picture)
        mine = WithPicture(shard(picture, of_picture.parallel), shard(video, parallel))
        state = SamplerState(1, {"sample": mine.video_VlP, STATE: mine.picture_VlP})
        packed = generator.pack_state(state)
        unpacked = generator.unpack_state({"step": np.array(1), "sample": video.numpy(), STATE: picture.numpy()})
        assert torch.equal(unpacked.tensors["sample"], mine.video_VlP)
        assert torch.equal(unpacked.tensors[STATE], mine.picture_VlP)
        return generator.collect(mine, (VIDEO,)), packed, gather_all(mine.video_VlP, parallel)

    (first, packed, gathered), (second, nothing, _) = run_threads(2, be_rank)
    assert (sorted(first), sorted(second), nothing) == ([PICTURE, VIDEO], [], {})
    expected = alone.collect(WithPicture(picture, video), (VIDEO,))
    assert all(torch.equal(first[name], expected[name]) for name in expected)
    assert np.array_equal(packed["sample"], video.numpy())
    assert np.array_equal(packed[STATE], picture.numpy())
    assert torch.equal(gathered, video)
