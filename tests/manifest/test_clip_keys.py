"""A clip's hash and its way through JSON, field by field: none is forgotten, and none that decides nothing counts."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from support.other_clip import OTHER_CLIP

from cosmos_ray.clip.family import FAMILIES, PREDICT2
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.manifest import rows
from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row

DECIDES_NOTHING = {"id", "row_id", "row_hash", "generation", "error", "warnings", "is_stacked", "redone"}
CLIP = Clip("a", "a", ("p",))
DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")


def test_every_field_has_another_value_here() -> None:
    assert {field.name for field in dataclasses.fields(Clip)} == set(OTHER_CLIP)
    assert all(getattr(CLIP, name) != value for name, value in OTHER_CLIP.items())


@pytest.mark.parametrize("name", OTHER_CLIP)
def test_a_clips_hash_changes_with_each_field_that_decides_its_video(name: str) -> None:
    usual = rows._hashed(CLIP).row_hash
    changed = rows._hashed(dataclasses.replace(CLIP, **{name: OTHER_CLIP[name]})).row_hash
    if name == "error":
        assert changed == CLIP.row_hash, "the row's own, as it stands"
    else:
        assert (changed == usual) is (name in DECIDES_NOTHING)


@pytest.mark.parametrize("name", OTHER_CLIP)
def test_each_field_survives_the_way_through_json(name: str) -> None:
    clip = dataclasses.replace(CLIP, **{name: OTHER_CLIP[name]})
    assert Clip.from_json(clip.to_json()) == clip
    assert isinstance(getattr(Clip.from_json(clip.to_json()), name), type(OTHER_CLIP[name]))
    newer = ("views", "frames", "warnings", "controls", "is_stacked", "control_weight", "num_chunks", "redone")
    if name in newer:  # which a clip of an earlier release lacks
        facts = json.loads(clip.to_json())
        del facts[name]
        assert Clip.from_json(json.dumps(facts)) == CLIP


def test_a_clip_that_is_made_again_has_a_seed_of_its_own_each_time() -> None:
    """Fixed for ever, as those of samples are, and none of them."""
    again = [dataclasses.replace(CLIP, seed=7)]
    for _ in range(3):
        again.append(again[-1].with_next_seed())
    assert [(clip.redone, clip.seed) for clip in again] == [(0, 7), (1, 3488241976), (2, 1733876537), (3, 1145706882)]
    assert not {clip.seed for clip in again[1:]} & {rows.sample_seed(7, sample) for sample in range(50)}
    assert {clip.id for clip in again} == {CLIP.id}


def test_a_clip_names_its_references_and_the_columns_that_they_stand_in() -> None:
    def named(**fields: Any) -> list[tuple[str, str]]:
        return list(Clip("a", "a", **fields).references)

    assert named(inputs=("a", "b"), n_views=2, controls=("c",), prompt_embedding="e") == [
        ("input_videos", "a"), ("input_videos", "b"), ("control_videos", "c"), ("prompt_embedding", "e"),
    ]  # fmt: skip
    assert named(frames=(("a", "b"), ("c",))) == [("input_frames", name) for name in "abc"]
    assert named(inputs=("a",), n_views=2) == [("input_video", "a")], "as clips of 0.1.0 have it"
    assert named(inputs=("a",), n_views=1) == [("input_videos", "a")]
    assert named(inputs=("a",), n_views=1, is_stacked=True) == [("input_video", "a")]
    assert named() == []


def test_what_a_row_may_leave_out_is_written_as_the_first_release_wrote_it() -> None:
    facts = {
        "n_views": 7, "num_steps": 35, "guidance": 7.0, "negative_prompt": "blurry", "seed": 0, "fps": 10,
    }  # fmt: skip
    assert DEFAULTS.to_json() == facts
    assert DEFAULTS.recipe is PREDICT2
    other = dataclasses.replace(DEFAULTS, family="predict2.5-multiview")
    assert other.to_json() == facts | {"family": "predict2.5-multiview"}
    assert other.recipe is FAMILIES["predict2.5-multiview"]


@pytest.mark.parametrize(
    ("family", "row", "found"),
    [
        ("predict2-video2world", {"input_video": "a.mp4"}, (("/d/a.mp4",), (), 1, ("video",))),
        ("predict2-video2world", {"input_video": "a.JPG"}, ((), (("/d/a.JPG",),), 1, ("video",))),
        ("predict2-video2world", {"input_videos": {"video": "a.webp"}}, ((), (("/d/a.webp",),), 1, ("video",))),
        ("predict2-video2world", {}, "expected an input (`input_video` or `input_frames`), and 1 (Image2World) or 5"),
        ("predict2-video2world", {"input_video": "a.mp4", "num_conditional_frames": 0}, "found 0, expected 1 (Image"),
        ("predict2-text2image", {}, ((), (), 0, ("picture",))),
        ("predict2-text2image", {"input_video": "a.mp4"}, "expected 0: the model takes no input"),
        ("predict2-text2image-distilled", {"num_steps": 5}, "`num_steps`: found 5, expected an integer from 1 to 4"),
        ("predict2-multiview", {"n_views": 1, "input_video": "a.jpg"}, (("/d/a.jpg",), (), 1, ())),
        ("predict2-multiview", {"num_chunks": 101}, "`num_chunks`: found 101, expected an integer from 1 to 100"),
        ("predict2-multiview", {"num_chunks": 0}, "`num_chunks`: found 0"),
        ("predict2-multiview", {"control_weight": 1.01}, "`control_weight`: found 1.01, expected a number from 0 to 1"),
        ("predict2-multiview", {"control_weight": -0.1}, "`control_weight`: found -0.1"),
        ("predict2-multiview", {"fps": 121}, "`fps`: found 121, expected an integer from 1 to 120"),
        ("predict2-multiview", {"guidance": 100.5}, "`guidance`: found 100.5, expected a number from 0 to 100"),
    ],
)
def test_what_a_row_may_ask_for_is_its_models_family_to_say(family: str, row: dict[str, Any], found: Any) -> None:
    """Inputs, pictures, conditional frames and views of the clip; or what is wrong."""
    defaults = dataclasses.replace(DEFAULTS, family=family)
    [clip] = clips_of_row({"id": "a", "prompt": "p", "n_views": 1, **row}, defaults, "/d")
    if isinstance(found, str):
        assert clip.error is not None
        assert found in clip.error
    else:
        assert clip.error is None
        assert (clip.inputs, clip.frames, clip.num_conditional_frames, clip.views) == found


@pytest.mark.parametrize(
    ("column", "value"),
    [("fps", 120), ("fps", 1), ("guidance", 100), ("guidance", 0), ("num_chunks", 100), ("control_weight", 0),
     ("control_weight", 1), ("num_steps", 1000), ("seed", 2**32 - 1), ("num_samples", 1), ("n_views", 7)],
)  # fmt: skip
def test_values_at_their_bounds_are_taken(column: str, value: float) -> None:
    [clip] = clips_of_row({"id": "a", "prompt": "p", column: value}, DEFAULTS, "/d")
    assert clip.error is None
    assert column == "num_samples" or getattr(clip, column) == value


def test_cameras_are_the_views_that_are_named_or_the_first_ones() -> None:
    assert Clip("a", "a", n_views=2).cameras == VIEWS[:2]
    assert Clip("a", "a", n_views=2, views=("rear", "front_tele")).cameras == ("rear", "front_tele")
