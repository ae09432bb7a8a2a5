"""Predict2's models of one view: which there are, and on tiny ones a clip or picture from text to bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.ranks import run_ranks

from cosmos_ray.clip.request import PICTURE, VIDEO, ClipRequest
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.models.bundle.bundle import Bundle, fitting_world_sizes, load_bundle, parse_bundle
from cosmos_ray.models.bundle.memory import parameters
from cosmos_ray.models.bundle.shapes import dit_shapes
from cosmos_ray.models.bundle.single import video_name, world_name
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.noise import clip_noise
from cosmos_ray.models.parallel import ContextParallel, gather_all
from cosmos_ray.models.sampler import SamplerState


def small(name: str, **changes: Any) -> Bundle:
    """The tiny model of that name, cut to two blocks, and a video to three latent frames."""
    bundle = load_bundle(name)
    said = bundle.model_dump(mode="json")
    said["network"]["num_blocks"] = 2
    if said["state_t"] > 1:
        said |= {"state_t": 3}
    return parse_bundle(json.dumps(said | {"height": 32, "width": 64} | changes), bundle.root)


@pytest.fixture(scope="module")
def video() -> Generator:
    return Generator.load(small("tiny-video2world"))


@pytest.fixture(scope="module")
def picture() -> Generator:
    return Generator.load(small("tiny-text2image"))


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (1, count, 32, 64, 3)).astype(np.uint8)


def request(**changes: Any) -> ClipRequest:
    asked = ClipRequest("a", ("A robot.",), "ugly", 1, 1, 5, 7.0, 3, frames=frames(1), chosen_views=(VIDEO,))
    return replace(asked, **changes)


def picture_request(**changes: Any) -> ClipRequest:
    return replace(request(frames=None, num_conditional_frames=0, guidance=4.0, chosen_views=(PICTURE,)), **changes)


@pytest.mark.parametrize(
    ("name", "count", "size", "heads", "tokens"),
    [
        ("cosmos-predict2-2b-video2world", 1_956_413_440, (1280, 704), 16, 84_480),
        ("cosmos-predict2-14b-video2world", 14_265_285_632, (1280, 704), 40, 84_480),
        ("cosmos-predict2-2b-video2world-480p-10fps", 1_956_413_440, (768, 432), 16, 20_736),
        ("cosmos-predict2-2b-video2world-480p-16fps-9x16", 1_956_413_440, (432, 768), 16, 31_104),
        ("cosmos-predict2-14b-video2world-720p-10fps-1x1", 14_265_285_632, (960, 960), 40, 57_600),
        ("cosmos-predict2-0.6b-text2image", 597_536_000, (1360, 768), 20, 4_080),
        ("cosmos-predict2-2b-text2image-4x3", 1_956_405_248, (1168, 880), 16, 4_015),
        ("cosmos-predict2-14b-text2image-distilled", 14_265_265_152, (1360, 768), 40, 4_080),
        ("cosmos-predict2-14b-sample-gr00t-dreams-droid", 14_265_285_632, (768, 432), 40, 31_104),
    ],
)
def test_the_published_models_are_as_published(
    name: str, count: int, size: tuple[int, int], heads: int, tokens: int
) -> None:
    bundle = load_bundle(name)
    assert bundle.name == name
    assert parameters(dit_shapes(bundle.network)) == count
    assert (bundle.width, bundle.height) == size
    assert (bundle.network.num_heads, bundle.tokens_per_view) == (heads, tokens)


@pytest.mark.parametrize(("resolution", "fps"), [("720", 16), ("720", 10), ("480", 16), ("480", 10)])
def test_a_name_that_is_made_of_its_parts_is_of_a_model_of_these_parts(resolution: str, fps: int) -> None:
    for name in (video_name("14B", resolution, fps, "1:1"), world_name("2B", resolution, fps, 3, "1:1")):
        bundle = load_bundle(name)
        assert (bundle.name, bundle.file_fps, bundle.width) == (name, fps, 960 if resolution == "720" else 480)


def test_positions_are_stretched_as_published() -> None:
    """In height, width and time."""
    expected = {
        "2b-video2world": (3.0, 3.0, 1.0), "14b-video2world": (2.0, 2.0, 20 / 24), "2b-text2image": (4.0, 4.0, 1.0),
        "14b-text2image": (4.0, 4.0, 1.0),
    }  # fmt: skip
    found = {name: load_bundle(f"cosmos-predict2-{name}").network for name in expected}
    ratios = {
        name: (one.rope_h_extrapolation_ratio, one.rope_w_extrapolation_ratio, one.rope_t_extrapolation_ratio)
        for name, one in found.items()
    }
    assert ratios == expected


def test_a_name_that_says_what_is_usual_anyway_is_the_same_model() -> None:
    usual = load_bundle("cosmos-predict2-2b-video2world")
    for name in ("cosmos-predict2-2b-video2world-720p-16fps-16x9", "nvidia/Cosmos-Predict2-2B-Video2World"):
        assert load_bundle(name).fingerprint == usual.fingerprint
    with pytest.raises(UsageError, match="cosmos-predict2-2b-video2world"):
        load_bundle("cosmos-predict2-2b-video2world-1080p-16fps")


def test_gangs_of_up_to_16_share_a_video() -> None:
    for name in ("tiny-video2world", "cosmos-predict2-2b-video2world", "cosmos-predict2-2b-video2world-480p-10fps"):
        bundle = load_bundle(name)
        assert fitting_world_sizes(bundle.network.num_heads, bundle.tokens_per_view, 16) == [1, 2, 4, 8, 16]


def test_files_are_those_of_the_published_table() -> None:
    def uri(name: str) -> str:
        reference = load_bundle(name).file("dit")
        return getattr(reference, "uri", "")

    at = "hf://nvidia/Cosmos-Predict2-14B-Video2World@03b03a377fede782647afac998f674d9f358e319"
    assert uri("cosmos-predict2-14b-video2world-480p-10fps-1x1") == f"{at}/model-480p-10fps.pt"
    at = "hf://nvidia/Cosmos-Predict2-0.6B-Text2Image@80e9f1599778499e9b5435179861871b5a3561d4"
    assert uri("cosmos-predict2-0.6b-text2image-distilled") == f"{at}/model_distilled.pt"
    at = "hf://nvidia/Cosmos-Predict2-14B-Sample-GR00T-Dreams-GR1@926f34dd83860c5406ab4b400e156c3fd6fe6c0d"
    assert uri("cosmos-predict2-14b-sample-gr00t-dreams-gr1") == f"{at}/model-480p-16fps.pt"


def test_files_are_written_at_the_rate_that_the_model_makes() -> None:
    names = ("cosmos-predict2-2b-video2world", "cosmos-predict2-2b-video2world-480p-10fps")
    assert [(load_bundle(name).file_fps, load_bundle(name).num_frames) for name in names] == [(16, 93), (10, 61)]


def test_a_video_begins_with_its_frame_and_is_gone_on_with_bit_for_bit(video: Generator) -> None:
    states: list[SamplerState] = []
    whole = video.denoise(request(), on_state=states.append)
    made = video.decode(video.collect(whole, (VIDEO,)))
    assert {view: found.shape for view, found in made.items()} == {VIDEO: (9, 32, 64, 3)}
    given = video._encode(request().frames, 1)[:, : 2 * 4]
    assert torch.equal(whole[:, : 2 * 4], given), "the given frame's latents are the clip's"
    assert [state.step for state in states] == [0, 1, 2, 3], "one pass more than steps"
    for state in states:
        again = video.denoise(request(), resume=video.unpack_state(video.pack_state(state)))
        assert torch.equal(again, whole)


def test_five_frames_fill_two_latent_frames(video: Generator) -> None:
    asked = request(num_conditional_frames=5, frames=frames(5))
    given = video._encode(asked.frames, 2)[:, : 2 * 8]
    assert torch.equal(video.denoise(asked)[:, : 2 * 8], given)
    with pytest.raises(RowError, match=r"num_conditional_frames`: found 0, expected one of 1, 5"):
        video.denoise(request(num_conditional_frames=0, frames=None))


def test_a_longer_video_begins_each_chunk_with_as_many_frames_of_the_one_before(video: Generator) -> None:
    """And with the noise of the next seed; what two chunks have in common is shown once."""
    asked = request(num_conditional_frames=5, frames=frames(5), num_chunks=3, num_steps=1)
    whole = video.generate(asked)[VIDEO]
    assert len(whole) == 9 + 2 * (9 - 5)
    first = video.generate(replace(asked, num_chunks=1))[VIDEO]
    second = video.generate(replace(asked, num_chunks=1, frames=first[None, -5:], seed=6))[VIDEO]
    assert np.array_equal(whole[:13], np.concatenate([first, second[5:]]))


def test_without_a_negative_prompt_a_video_is_not_guided_and_a_picture_is(video: Generator, picture: Generator) -> None:
    alone = video.denoise(request(negative_prompt=""))
    assert torch.equal(alone, video.denoise(request(negative_prompt="", guidance=0.0)))
    asked = picture_request(negative_prompt="")
    text = picture.embed(asked).text
    assert text is not None
    assert text.negative is not None
    assert not np.any(text.negative[0]), "no text at all"
    assert not torch.equal(picture.denoise(asked), picture.denoise(replace(asked, guidance=0.0)))
    told = picture.embed(picture_request(negative_prompt="ugly")).text
    assert told is not None
    assert told.negative is not None
    assert np.any(told.negative[0]), "that of the row, where there is one"


def test_embeddings_of_a_row_lack_only_what_a_picture_is_weighed_against(picture: Generator) -> None:
    asked = picture_request(negative_prompt="")
    text = picture.embed(asked).text
    assert text is not None
    alone = replace(asked, prompts=(), text=replace(text, negative=None))
    assert torch.equal(picture.denoise(alone), picture.denoise(asked))


def test_a_picture_is_one_frame(picture: Generator) -> None:
    made = picture.generate(picture_request())
    assert {view: found.shape for view, found in made.items()} == {PICTURE: (1, 32, 64, 3)}
    with pytest.raises(RowError, match=r"num_conditional_frames`: found 1, expected one of 0"):
        picture.denoise(picture_request(num_conditional_frames=1, frames=frames(1)))


def test_a_distilled_picture_takes_as_many_evaluations_as_steps_and_no_negative_prompt() -> None:
    generator = Generator.load(small("tiny-text2image-distilled"))
    steps: list[tuple[int, int]] = []
    states: list[SamplerState] = []
    asked = picture_request(num_steps=3)
    made = generator.denoise(asked, on_step=lambda *at: steps.append(at), on_state=states.append)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for negative in ("", "other"):
        assert torch.equal(made, generator.denoise(replace(asked, negative_prompt=negative, guidance=1.0)))
    again = generator.denoise(asked, resume=generator.unpack_state(generator.pack_state(states[1])))
    assert torch.equal(again, made), "later noise is the seed's too"
    ahead = replace(asked, noise=clip_noise(asked.seed, generator.bundle, 1))
    assert torch.equal(generator.denoise(ahead), made), "also where the first was drawn ahead"
    with pytest.raises(RowError, match=r"column `num_steps`: found 5, expected 1 to 4"):
        generator.denoise(picture_request(num_steps=5))


@pytest.mark.parametrize(
    ("name", "network", "words"),
    [
        ("tiny-video2world", {"n_cameras_emb": 7, "view_condition_dim": 7}, r"view_condition_dim \(7, 7\): expected 0"),
        ("tiny-text2image", {"has_condition_mask": True}, "has_condition_mask: expected false"),
        ("tiny", {"has_condition_mask": False}, "has_condition_mask: expected true"),
        ("tiny", {"n_cameras_emb": 0, "view_condition_dim": 0}, "expected more than 0"),
    ],
)
def test_a_bundle_that_contradicts_its_family_is_refused(name: str, network: dict[str, Any], words: str) -> None:
    said = load_bundle(name).model_dump(mode="json")
    with pytest.raises(UsageError, match=words):
        parse_bundle(json.dumps(said | {"network": said["network"] | network}), "")


def latents_on_rank(parallel: ContextParallel, asked: ClipRequest, bundle: Bundle) -> np.ndarray:
    return gather_all(Generator.load(bundle, parallel=parallel).denoise(asked), parallel).numpy()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_any_gang_makes_the_video_of_one_rank(ranks: int, video: Generator) -> None:
    """To rounding, times 8 by guidance: as near as golden videos must come. Its short sibling is of those, by two ranks
    (`tests/models/test_parity.py`)."""
    asked = video.embed(request())
    (found, *_) = run_ranks(ranks, latents_on_rank, asked, video.bundle)
    np.testing.assert_allclose(found, video.denoise(asked).numpy(), rtol=0, atol=2e-4)


def test_noise_that_was_drawn_ahead_is_the_first_chunks_alone(video: Generator) -> None:
    """Each later chunk has that of the next seed."""
    asked = request(num_chunks=2, num_steps=1)
    ahead = replace(asked, noise=clip_noise(asked.seed, video.bundle, 1))
    assert torch.equal(video.denoise(ahead), video.denoise(asked))
