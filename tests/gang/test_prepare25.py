"""Inputs as Predict2.5 and Transfer2.5 take them: first frames, stretched; control videos; longer videos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.videos import numbered, numbers, write

from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.errors import RowError
from cosmos_ray.gang.deadline import denoise_work
from cosmos_ray.gang.prepare import prepare
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, Bundle, load_bundle, parse_bundle

CLIP = Clip("a", "a", prompts=("A street.",), negative_prompt="ugly", guidance=3.0, num_steps=4, n_views=2, fps=10)
AS_IS = InputRules(rate="as_is")


def bundle(family: str = "predict2.5-multiview", **network: object) -> Bundle:
    said = json.loads((BUILT_IN_FOLDER / "tiny25" / "bundle.json").read_text())
    said |= {"family": family, "state_t": 2, "height": 32, "width": 32, "network": said["network"] | network}
    return parse_bundle(json.dumps(said), "")


PREDICT, TRANSFER = bundle(), bundle("transfer2.5-multiview", vace_block_every_n=3)


@pytest.fixture
def videos(tmp_path: Path) -> tuple[str, ...]:
    """Two cameras of 30 frames at 30 a second, whose frames have numbers."""
    return tuple(str(write(tmp_path / f"{n}.mp4", numbered(30, first=n), fps=30)) for n in range(2))


def with_input(videos: tuple[str, ...], count: int = 5, **changes: object) -> Clip:
    return replace(CLIP, inputs=videos, num_conditional_frames=count, **changes)


def test_frames_are_the_first_ones_at_the_rows_rate(videos: tuple[str, ...]) -> None:
    for rules in (InputRules(), AS_IS):
        found = prepare(with_input(videos), PREDICT, 1, rules)
        assert found.request.frames is not None
        assert numbers(found.request.frames) == [0, 3, 6, 9, 12, 1, 4, 7, 10, 13]
        assert found.inputs[0].taken == (0, 3, 6, 9, 12)
        assert found.warnings == ()


def test_october_took_frames_by_their_number_whatever_the_rate(videos: tuple[str, ...], tmp_path: Path) -> None:
    model = bundle("predict2.5-multiview-2025-10")
    slow = tuple(str(write(tmp_path / f"s{n}.mp4", numbered(30, first=n), fps=25)) for n in range(2))
    for inputs in (videos, slow):
        found = prepare(with_input(inputs, negative_prompt=""), model, 1, AS_IS)
        assert found.request.frames is not None
        assert numbers(found.request.frames) == [3, 6, 9, 12, 15, 4, 7, 10, 13, 16]
        assert found.inputs[0].taken == (3, 6, 9, 12, 15)
        assert found.warnings == ()
        assert any("frames 3, 6 and so on" in done for done in found.inputs[0].facts.conversions)
    by_rate = prepare(with_input(videos, negative_prompt=""), model, 1)
    assert by_rate.inputs[0].taken == (0, 3, 6, 9, 12)


def test_predict2_takes_the_last_ones_of_the_same_files(videos: tuple[str, ...]) -> None:
    tiny = load_bundle("tiny").model_copy(update={"height": 32, "width": 32})
    found = prepare(with_input(videos), tiny, 1, AS_IS).request.frames
    assert found is not None
    assert numbers(found) == [*range(25, 30), *range(26, 31)]


def test_a_rate_that_is_no_multiple_is_resampled_with_a_warning_or_refused_as_published(tmp_path: Path) -> None:
    videos = tuple(str(write(tmp_path / f"{n}.mp4", numbered(20), fps=25)) for n in range(2))
    found = prepare(with_input(videos), PREDICT, 1)
    assert found.request.frames is not None
    assert numbers(found.request.frames[0]) == [0, 2, 5, 7, 10]
    assert found.warnings == ("all views: 25 frames a second, taken at 10 (inputs.rate)",)
    with pytest.raises(
        RowError, match="view front_wide: found 25 frames a second, expected a multiple of the row's 10"
    ):
        prepare(with_input(videos), PREDICT, 1, AS_IS)


def test_too_short_a_video_is_refused(videos: tuple[str, ...]) -> None:
    for rules in (InputRules(), AS_IS):
        with pytest.raises(RowError, match=r"column `input_videos`: .*found 30 frames.*expected at least"):
            prepare(with_input(videos, fps=1), PREDICT, 1, rules)


def test_pictures_of_another_shape_are_stretched_unless_the_job_says_otherwise(tmp_path: Path) -> None:
    """A bright right edge is there still; cropped, it is gone."""
    picture = np.zeros((3, 32, 64, 3), np.uint8)
    picture[:, :, 48:] = 250
    videos = (str(write(tmp_path / "wide.mp4", picture, fps=10)),) * 2
    found = prepare(with_input(videos, 1), PREDICT, 1)
    assert found.request.frames is not None
    assert found.request.frames[0, 0, :, -4:].mean() > 200
    assert found.warnings == ("all views: stretched to 32x32, 2.00 times taller than it was (inputs.fit)",)
    cropped = prepare(with_input(videos, 1), PREDICT, 1, InputRules(fit="crop"))
    assert cropped.request.frames is not None
    assert cropped.request.frames[0, 0, :, -4:].mean() < 50
    clip = with_input(videos, 1)
    hashes = {one.request_hash(clip, "f") for one in (found, cropped)}
    said = prepare(clip, PREDICT, 1, InputRules(fit="stretch"))
    assert len(hashes) == 2
    assert said.rules.chosen == {}, "what the family does anyway"


def test_control_videos_give_every_frame_of_all_chunks(videos: tuple[str, ...]) -> None:
    found = prepare(replace(CLIP, controls=videos, control_weight=0.5, num_chunks=2), TRANSFER, 1)
    request = found.request
    assert request.controls is not None
    assert numbers(request.controls[0]) == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert (request.control_weight, request.num_chunks, request.frames) == (0.5, 2, None)
    assert [file.uri for file in found.inputs] == list(videos), "they decide the clip"
    shared = prepare(replace(CLIP, controls=videos, num_chunks=2, chunk_overlap=2), TRANSFER, 1).request
    assert shared.controls is not None
    assert numbers(shared.controls[0]) == [0, 3, 6, 9, 12, 15, 18, 21], "two chunks of five share two"
    assert shared.chunk_overlap == 2


def test_inputs_are_told_before_controls_and_what_is_doubtful_in_either_is_said(
    videos: tuple[str, ...], tmp_path: Path
) -> None:
    """In the order that is in the hashes of requests."""
    wide = tuple(str(write(tmp_path / f"wide{n}.mp4", np.zeros((9, 32, 64, 3), np.uint8), fps=10)) for n in range(2))
    np.save(tmp_path / "e.npy", np.ones((1, 2 * 512, TRANSFER.text_width), np.float32))
    embedding = str(tmp_path / "e.npy")
    clip = with_input(videos, 1, controls=wide, num_chunks=2, prompts=(), prompt_embedding=embedding)
    found = prepare(replace(clip, warnings=("of the row",)), TRANSFER, 1)
    assert [file.uri for file in found.inputs] == [*videos, *wide, embedding]
    stretched = "all views: stretched to 32x32, 2.00 times taller than it was (inputs.fit)"
    assert found.warnings == ("of the row", stretched)


def test_raw_text_that_is_too_large_to_be_read_is_refused_by_name(tmp_path: Path) -> None:
    network = PREDICT.network.model_copy(update={"crossattn_proj_in_channels": 100_352})
    np.save(tmp_path / "raw.npy", np.zeros((1, 2 * 512, 20 * PREDICT.text_width), np.float32))
    clip = replace(CLIP, prompts=(), prompt_embedding=str(tmp_path / "raw.npy"))
    with pytest.raises(RowError, match=r"100352 numbers a token are the text encoder's own, .*crossattn_proj"):
        prepare(clip, PREDICT.model_copy(update={"network": network}), 1)


def test_a_family_without_a_negative_prompt_takes_rows_that_have_none() -> None:
    model = bundle("predict2.5-multiview-2025-10")
    assert prepare(replace(CLIP, negative_prompt=""), model, 1).request.negative_prompt == ""


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        (TRANSFER, {}, "column `control_videos`: found None, expected a video a camera"),
        (PREDICT, {"controls": ("x.mp4", "y.mp4")}, "column `control_videos`: .*has no control branch"),
        (load_bundle("tiny"), {"num_chunks": 2}, "column `num_chunks`: found 2, expected 1"),
        (bundle("predict2.5-multiview-2025-10"), {}, "column `negative_prompt`: .*weighs the caption against no text"),
    ],
)
def test_what_a_family_cannot_do_with_a_row_is_refused(model: Bundle, changes: dict[str, object], words: str) -> None:
    with pytest.raises(RowError, match=words):
        prepare(replace(CLIP, **changes), model, 1)


def test_a_longer_clip_has_as_much_longer_a_deadline() -> None:
    assert denoise_work(replace(CLIP, num_chunks=3), PREDICT) == 3 * denoise_work(CLIP, PREDICT)
    assert (
        denoise_work(CLIP, PREDICT) / 4
        == denoise_work(CLIP, PREDICT.model_copy(update={"family": "predict2-multiview"})) / 5
    )
