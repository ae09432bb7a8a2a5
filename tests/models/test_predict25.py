"""Predict2.5 whole, on the tiny model of its recipe: a clip, its texts, resumption, longer videos, any gang size."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.ranks import run_ranks

from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, Bundle, load_bundle, parse_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.parallel import ContextParallel, gather_all
from cosmos_ray.models.sampler import SamplerState


def tiny25(**changes: Any) -> Bundle:
    """The built-in model, cut to two blocks and two latent frames."""
    folder = BUILT_IN_FOLDER / "tiny25"
    said = json.loads((folder / "bundle.json").read_text()) | {"state_t": 2, "height": 32, "width": 64}
    network = said["network"] | {"num_blocks": 2} | changes.pop("network", {})
    sampling = said["sampling"] | changes.pop("sampling", {})
    return parse_bundle(json.dumps(said | {"network": network, "sampling": sampling} | changes), str(folder))


def transfer(**changes: Any) -> Bundle:
    return tiny25(family="transfer2.5-multiview", network={"vace_block_every_n": 1}, **changes)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator.load(tiny25())


@pytest.fixture(scope="module")
def steered() -> Generator:
    return Generator.load(transfer())


def frames(count: int, views: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (views, count, 32, 64, 3)).astype(np.uint8)


def request(**changes: Any) -> ClipRequest:
    plain = ClipRequest("a", ("A street.",), "ugly", 3, 1, seed=5, guidance=3.0, num_steps=3, frames=frames(1))
    return replace(plain, **changes)


def test_the_published_models_are_as_large_as_published() -> None:
    from cosmos_ray.models.bundle.memory import parameters
    from cosmos_ray.models.bundle.shapes import dit_shapes

    names = ("cosmos-predict2.5-2b-multiview", "cosmos-transfer2.5-2b-multiview")
    found = [parameters(dit_shapes(load_bundle(name).network)) for name in names]
    assert found == [2_059_232_305, 2_387_995_697]
    bundle = load_bundle(names[0])
    assert (bundle.height, bundle.width, bundle.tokens_per_view) == (720, 1280, 28_800)


def test_a_clip_is_gone_on_with_from_every_state_bit_for_bit(generator: Generator) -> None:
    states: list[SamplerState] = []
    whole = generator.denoise(request(), on_state=states.append)
    assert [state.step for state in states] == [0, 1, 2]
    assert [len(state.tensors) for state in states] == [1, 3, 4], "four tensors in the middle of a run"
    for state in states:
        packed = generator.pack_state(state)
        again = generator.denoise(request(), resume=generator.unpack_state(packed))
        assert torch.equal(again, whole)


def test_a_longer_video_begins_each_chunk_with_the_last_frame_of_the_one_before(generator: Generator) -> None:
    steps: list[tuple[int, int]] = []
    states: list[SamplerState] = []
    asked = request(num_chunks=3, num_steps=2)
    latents = generator.denoise(asked, on_step=lambda *at: steps.append(at), on_state=states.append)
    video = generator.decode(generator.collect(latents, asked.views))
    assert {found.shape for found in video.values()} == {(1 + 3 * 4, 32, 64, 3)}
    assert steps == [(done, 6) for done in range(1, 7)]
    one = request(num_steps=2)
    first = generator.generate(one)
    assert all(np.array_equal(video[view][:5], first[view]) for view in first)
    last = np.stack([first[view][-1:] for view in asked.views])
    second = generator.generate(replace(one, frames=last))
    assert all(np.array_equal(video[view][5:9], second[view][1:]) for view in second), "same seed, same noise"
    state = next(state for state in states if state.step == 3)  # in the middle of the second chunk
    again = generator.denoise(asked, resume=generator.unpack_state(generator.pack_state(state)))
    assert torch.equal(again, latents)


def test_an_empty_view_has_a_text_and_the_negative_prompt_is_the_front_cameras(generator: Generator) -> None:
    text = generator.embed(request()).text
    assert text is not None
    assert text.negative is not None
    assert generator.text_encoder is not None
    caption, empty, negative = generator.text_encoder.encode(["A street.", " ", "ugly"])
    assert [len(one) for one in text.positive] == [512] * 3
    for found, expected in ((text.positive, [caption, empty, empty]), (text.negative, [negative, empty, empty])):
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_with_a_caption_a_view_the_negative_prompt_is_every_views(generator: Generator) -> None:
    text = generator.embed(request(prompts=("One.", "Two.", ""))).text
    assert text is not None
    assert text.negative is not None
    assert generator.text_encoder is not None
    one, two, empty, negative = generator.text_encoder.encode(["One.", "Two.", " ", "ugly"])
    assert all(np.array_equal(a, b) for a, b in zip(text.positive, (one, two, empty), strict=True))
    assert all(np.array_equal(a, negative) for a in text.negative)


def test_guidance_of_1_is_none_and_of_0_is_the_negative_prompt_alone(generator: Generator) -> None:
    alone = generator.denoise(request(negative_prompt=""))
    torch.testing.assert_close(generator.denoise(request(guidance=1.0)), alone, rtol=0, atol=1e-4)
    negative = generator.denoise(request(prompts=("ugly",), negative_prompt=""))
    torch.testing.assert_close(generator.denoise(request(guidance=0.0)), negative, rtol=0, atol=1e-4)


def test_the_model_of_october_2025_weighs_against_text_of_zeros() -> None:
    generator = Generator.load(tiny25(family="predict2.5-multiview-2025-10"))
    text = generator.embed(request(negative_prompt="")).text
    assert text is not None
    assert text.negative is not None
    rows = {row.tobytes() for one in text.negative for row in one}
    assert len(rows) == 1, "one vector everywhere"
    assert any(text.negative[0][0]), "which is not zero: the layer has a bias"


def test_views_are_told_where_their_cameras_look() -> None:
    generator = Generator.load(tiny25(sampling={"camera_prefix": True}))
    text = generator.embed(request()).text
    assert text is not None
    assert text.negative is not None
    assert generator.text_encoder is not None
    lead = "The video is captured from a camera mounted on a car. The camera is facing "
    said = [f"{lead}forward. A street.", f"{lead}to the right. ", f"{lead}the rear right side. ", "ugly"]
    *expected, negative = generator.text_encoder.encode(said)
    assert all(np.array_equal(a, b) for a, b in zip(text.positive, expected, strict=True))
    assert all(np.array_equal(a, negative) for a in text.negative)
    with pytest.raises(UsageError, match="camera_prefix"):
        load_bundle("tiny").with_camera_prefix(True)


def test_what_the_control_videos_show_counts_as_much_as_their_weight(steered: Generator) -> None:
    controls = frames(5, seed=1)
    plain = steered.denoise(request(controls=controls))
    assert torch.equal(plain, steered.denoise(request(controls=controls)))
    assert not torch.equal(plain, steered.denoise(request(controls=frames(5, seed=2))))
    without = steered.denoise(request(controls=controls, control_weight=0.0))
    assert torch.equal(without, steered.denoise(request(controls=frames(5, seed=2), control_weight=0.0)))
    with pytest.raises(RowError, match="column `control_videos`: found None, expected uint8 frames"):
        steered.denoise(request())


def test_a_longer_steered_video_takes_the_next_seed_and_the_next_control_frames(steered: Generator) -> None:
    controls = frames(9, seed=1)
    asked = request(num_chunks=2, num_steps=2, controls=controls)
    video = steered.generate(asked)
    first = steered.generate(replace(asked, num_chunks=1, controls=controls[:, :5]))
    last = np.stack([first[view][-1:] for view in asked.views])
    second = steered.generate(replace(asked, num_chunks=1, controls=controls[:, 4:], frames=last, seed=6))
    for view in asked.views:
        assert np.array_equal(video[view], np.concatenate([first[view], second[view][1:]]))


def test_a_model_without_control_refuses_control_videos(generator: Generator) -> None:
    with pytest.raises(RowError, match=r"column `control_videos`: .* expected null: the model has no control branch"):
        generator.denoise(request(controls=frames(5)))
    with pytest.raises(RowError, match="column `num_chunks`: found 0, expected at least 1"):
        generator.denoise(request(num_chunks=0))
    with pytest.raises(RowError, match="column `num_chunks`: found 2, expected 1"):
        Generator.load(load_bundle("tiny")).denoise(request(num_chunks=2))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": "predict2-multiview"}, "crossattn_proj_in_channels 128: expected nothing"),
        ({"family": "transfer2.5-multiview"}, "vace_block_every_n None: expected a number"),
        ({"network": {"crossattn_proj_in_channels": 64}}, "crossattn_proj_in_channels 64: expected 128"),
        ({"family": "predict2-multiview", "sampling": {"camera_prefix": True}}, "was not trained with it"),
    ],
)
def test_a_bundle_that_contradicts_its_family_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tiny25(**changes)


def clip_on_rank(parallel: ContextParallel, asked: ClipRequest, bundle: Bundle) -> np.ndarray:
    share_VlP = Generator.load(bundle, parallel=parallel).denoise(asked)
    return gather_all(share_VlP, parallel).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.long), pytest.param(8, marks=pytest.mark.long)])
def test_any_gang_makes_the_clip_of_one_rank(ranks: int, steered: Generator) -> None:
    """To rounding; a later chunk begins with bytes, of which rounding may make the next level."""
    asked = steered.embed(request(num_chunks=2, num_steps=2, controls=frames(9, seed=1)))
    (found, *_) = run_ranks(ranks, clip_on_rank, asked, steered.bundle)
    expected = steered.denoise(asked).numpy()
    np.testing.assert_allclose(found[..., :64], expected[..., :64], rtol=0, atol=5e-5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-2)
