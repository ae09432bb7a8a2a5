"""Text2World on tiny networks: a picture of the caption, then a video that begins with it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.ranks import run_ranks

from cosmos_ray.clip.request import PICTURE, VIDEO, ClipRequest
from cosmos_ray.clip.resize import resize_crop
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle, parse_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.parallel import ContextParallel, gather_all
from cosmos_ray.models.picture_first import WithPicture
from cosmos_ray.models.sampler import SamplerState

NAMES = ("cosmos-predict2-2b-text2world", "cosmos-predict2-14b-text2world-480p-10fps-distilled3-9x16")


def small(width: int = 64, **picture: Any) -> Bundle:
    """Networks of two blocks, three latent frames; the picture's width decides which gangs make it together."""
    bundle = load_bundle("tiny-text2world")
    said = bundle.model_dump(mode="json")
    said["network"]["num_blocks"] = said["picture"]["network"]["num_blocks"] = 2
    said["picture"] |= {"height": 32, "width": width, "num_steps": 2, **picture}
    return parse_bundle(json.dumps(said | {"state_t": 3, "height": 32, "width": 32}), bundle.root)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator.load(small())


def request(**changes: Any) -> ClipRequest:
    return replace(ClipRequest("a", ("A cup.",), "ugly", 1, 0, 5, 7.0, 2, chosen_views=(VIDEO,)), **changes)


def test_the_video_is_that_of_the_picture(generator: Generator) -> None:
    made = generator.generate(request())
    assert {view: found.shape for view, found in made.items()} == {VIDEO: (9, 32, 32, 3), PICTURE: (1, 32, 64, 3)}
    assert generator.picture is not None
    alone = replace(generator.picture, text_encoder=generator.text_encoder, bundle=generator.picture.bundle).generate(
        request(chosen_views=(PICTURE,), guidance=generator.picture.bundle.sampling.guidance)
    )
    assert np.array_equal(alone[PICTURE], made[PICTURE]), "guided in its own way, whatever the video is guided by"
    said = generator.bundle.model_dump(mode="json") | {
        "picture": None,
        "family": load_bundle("tiny-video2world").family,
    }
    said["files"]["picture_dit"] = None
    video = Generator.load(parse_bundle(json.dumps(said), generator.bundle.root))
    frames = resize_crop(made[PICTURE], (32, 32))[None]
    assert np.array_equal(video.generate(request(num_conditional_frames=1, frames=frames))[VIDEO], made[VIDEO])


def test_a_clip_is_gone_on_with_from_every_state_with_its_picture(generator: Generator) -> None:
    states: list[SamplerState] = []
    steps: list[tuple[int, int]] = []
    whole = generator.denoise(request(), on_step=lambda *at: steps.append(at), on_state=states.append)
    assert isinstance(whole, WithPicture)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for state in states:
        again = generator.denoise(request(), resume=generator.unpack_state(generator.pack_state(state)))
        assert isinstance(again, WithPicture)
        assert torch.equal(again.video_VlP, whole.video_VlP)
        assert torch.equal(again.picture_VlP, whole.picture_VlP)


def test_without_a_negative_prompt_the_picture_is_guided_and_the_video_is_not(generator: Generator) -> None:
    asked = request(negative_prompt="")
    made = generator.generate(asked)
    assert np.array_equal(made[VIDEO], generator.generate(replace(asked, guidance=1.0))[VIDEO])


def test_names_say_the_sizes_of_both_and_the_pictures_steps() -> None:
    usual, other = map(load_bundle, NAMES)
    assert usual.picture is not None
    assert other.picture is not None
    assert (usual.width, usual.height, usual.picture.width, usual.picture.num_steps) == (1280, 704, 1360, 35)
    assert (other.width, other.height, other.picture.height, other.picture.num_steps) == (432, 768, 1360, 3)
    assert (usual.name, other.name) == NAMES
    assert usual.kinds == ("dit", "picture_dit", "vae", "text_encoder", "tokenizer")
    assert load_bundle("tiny").kinds == ("dit", "vae", "text_encoder", "tokenizer")


def test_each_file_of_a_clip_has_its_own_shape() -> None:
    _, other = map(load_bundle, NAMES)
    assert other.shape_of(PICTURE) == (1, 1360, 768, 3)
    assert other.shape_of(VIDEO) == (61, 768, 432, 3)
    assert other.shape_of(VIDEO, 3, 5) == (61 + 2 * 56, 768, 432, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"picture": None}, "picture: expected the model of picture"),
        ({"family": "predict2-video2world"}, "picture: expected no picture"),
        ({"picture": {"family": "predict2-multiview"}}, "picture.family: found 'predict2-multiview', expected one of"),
        ({"picture": {"width": 63}}, "picture: height x width 64x63"),
        ({"files": {"picture_dit": None}}, "files.picture_dit: expected just where"),
    ],
)
def test_a_bundle_without_its_picture_is_refused(changes: dict[str, Any], words: str) -> None:
    said = load_bundle("tiny-text2world").model_dump(mode="json")
    for name, value in changes.items():
        said[name] = {**said[name], **value} if isinstance(value, dict) else value
    with pytest.raises(UsageError, match=words):
        parse_bundle(json.dumps(said), "")


def made_on_rank(parallel: ContextParallel, asked: ClipRequest, bundle: Bundle) -> tuple[np.ndarray, list[str]]:
    generator = Generator.load(bundle, parallel=parallel)
    latents = generator.denoise(asked)
    assert isinstance(latents, WithPicture)
    return gather_all(latents.video_VlP, parallel).numpy(), sorted(generator.collect(latents, (VIDEO,)))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("width", [64, 48])
def test_any_gang_makes_the_clip_of_one_rank(width: int) -> None:
    """To rounding, of which the picture may make the next byte. 48: a width whose tokens two ranks do not divide. Its
    short sibling is of golden videos: `tests/models/test_parity.py`, two ranks."""
    generator = Generator.load(small(width if width == 64 else 48, height=16))
    asked = generator.embed(request())
    (found, first), (_, second) = run_ranks(2, made_on_rank, asked, generator.bundle)
    expected = generator.denoise(asked)
    assert isinstance(expected, WithPicture)
    np.testing.assert_allclose(found, expected.video_VlP.numpy(), rtol=0, atol=2e-2)
    assert (first, second) == ([PICTURE, VIDEO], [])
