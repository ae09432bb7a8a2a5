"""A manifest's rows: what is a fault of one of them, and the clips that good ones ask for.

Every message names the column, what was found and what was expected.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.job_runs import write_manifest

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import RowError
from cosmos_ray.job.plan import manifest_clips
from cosmos_ray.manifest.captions import prompts_of
from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row, rows_of, sample_seed
from cosmos_ray.manifest.table import check_batch

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")
BASE = "/data/set"
CAMERAS = {view: f"{view}.mp4" for view in VIEWS}


def clip_of(**row: Any) -> Clip:
    """The one clip of a row with an id, a prompt and these columns."""
    clips = clips_of_row({"id": "row", "prompt": "a street", **row}, DEFAULTS, BASE)
    assert len(clips) == 1
    # Whole batches are checked as columns first; a row that those find right must be the same clip.
    checked = check_batch(pa.RecordBatch.from_pylist([{"id": "row", "prompt": "a street", **row}]), DEFAULTS, BASE)
    if checked.right[0]:
        assert clips[0].error is None
        assert checked.row_hashes(np.array([0]), np.array([0])) == [clips[0].row_hash]
    return clips[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": None}, "column `prompt`: found None, expected one caption or 7, one a view"),
        ({"prompt": " NaN "}, "column `prompt`: found ' NaN ', expected a caption, not a word that tables write"),
        ({"prompt": '["p", "q"]'}, "expected captions, not the text of a list (`cosmos-ray manifest from-table`"),
        ({"prompt": ["p", "{'rear': 'q'}"], "n_views": 2}, "expected captions, not the text of a list"),
        ({"prompt": ["p", "None", "p", "p", "p", "p", "p"]}, "expected a caption, not a word that tables write"),
        (
            {"negative_prompt": "none"},
            "column `negative_prompt`: found 'none', expected null for the model's own, or an",
        ),
        ({"prompt": "  \n"}, "column `prompt`: found '  \\n', expected a caption that is not empty"),
        ({"prompt": ["p"] * 6}, "column `prompt`: found ['p', 'p', 'p', 'p', 'p', 'p'], expected one caption or 7"),
        ({"prompt": ["p"] * 8}, "expected one caption or 7, one a view"),
        ({"prompt": []}, "column `prompt`: found [], expected one caption or 7"),
        ({"prompt": ["p", None, "p", "p", "p", "p", "p"]}, "expected one caption or 7, one a view"),
        ({"prompt": [""] * 7}, "expected a caption that is not empty"),
        ({"prompt": "p" * 20_001}, "expected at most 20000 characters a caption"),
        ({"prompt": "captions/a.txt"}, "found 'captions/a.txt', expected a caption: `cosmos-ray manifest` reads .txt"),
        ({"prompt": "s3://bucket/a.PT\n"}, "`prompt_embedding` takes embeddings"),
        ({"prompt": ["p"] * 6 + ["a.safetensors"]}, "`prompt_embedding` takes embeddings"),
        ({"negative_prompt": "p" * 20_001}, "column `negative_prompt`: found"),
        ({"prompt_embedding": "e.npy"}, "column `prompt`: found 'a street', expected null"),
        ({"prompt": None, "prompt_embedding": "http://h/e.npy"}, "column `prompt_embedding`: found 'http://h/e.npy'"),
        ({"input_video": "a.mp4", "input_videos": CAMERAS}, "expected null, because the row has an `input_video`"),
        ({"input_video": "http://host/a.mp4"}, "column `input_video`: found 'http://host/a.mp4', expected a URI"),
        ({"input_video": "../a.mp4"}, "not a relative path with '..'"),
        ({"input_video": "zip://a.mp4::a.zip"}, "not a chained URI"),
        ({"input_video": ""}, "column `input_video`: found '', expected a URI that may be read"),
        ({"input_videos": {**CAMERAS, "roof": "r.mp4"}}, "expected the cameras front_wide, cross_right"),
        ({"input_videos": {"rear": "r.mp4"}}, "column `input_videos`: found ['rear'], expected the cameras front_wide"),
        ({"input_videos": {**CAMERAS, "rear": None}}, "expected the cameras front_wide, cross_right"),
        ({"input_videos": {**CAMERAS, "rear": "ftp://h/r.mp4"}}, "column `input_videos`: found 'ftp://h/r.mp4'"),
        ({"input_videos": ["a.mp4"] * 6}, "expected 7 URIs, one a view"),
        ({"input_videos": ["a.mp4"] * 6 + [None]}, "expected 7 URIs, one a view"),
        ({"input_videos": []}, "column `input_videos`: found [], expected 7 URIs, one a view"),
        ({"input_videos": {"rear": "r.mp4"}}, "cross_left, front_tele; `views` of the row names fewer"),
        ({"input_videos": ["a.mp4"] * 6}, "one a view; `views` of the row names fewer"),
        ({"num_conditional_frames": 1}, "column `num_conditional_frames`: found 1, expected 0, because the row has no"),
        ({"num_conditional_frames": 5}, "expected 0, because the row has no input video"),
        ({"num_conditional_frames": 2, "input_video": "a.mp4"}, "found 2, expected 0 (Text2World), 1 (Image2World)"),
        ({"num_conditional_frames": 6, "input_video": "a.mp4"}, "found 6, expected an integer from 0 to 5"),
        ({"num_conditional_frames": -1}, "found -1, expected an integer from 0 to 5"),
        ({"seed": -1}, "column `seed`: found -1, expected an integer from 0 to 4294967295"),
        ({"seed": 2**32}, "column `seed`: found 4294967296, expected an integer from 0 to 4294967295"),
        ({"seed": 1.5}, "column `seed`: found 1.5, expected an integer"),
        ({"num_steps": 0}, "column `num_steps`: found 0, expected an integer from 1 to 1000"),
        ({"num_steps": 35.5}, "column `num_steps`: found 35.5, expected an integer from 1 to 1000"),
        ({"num_steps": math.inf}, "column `num_steps`: found inf, expected an integer from 1 to 1000"),
        ({"guidance": -0.5}, "column `guidance`: found -0.5, expected a number from 0 to 100"),
        ({"guidance": math.inf}, "column `guidance`: found inf, expected a number from 0 to 100"),
        ({"n_views": 8}, "column `n_views`: found 8, expected an integer from 1 to 7"),
        ({"n_views": 0}, "column `n_views`: found 0, expected an integer from 1 to 7"),
        ({"fps": 0}, "column `fps`: found 0, expected an integer from 1 to 120"),
        ({"num_samples": 0}, "column `num_samples`: found 0, expected an integer from 1 to 1000"),
        ({"num_samples": 1001}, "column `num_samples`: found 1001, expected an integer from 1 to 1000"),
    ],
    ids=lambda value: re.sub(r"\W+", "-", str(value))[:40] if isinstance(value, dict) else "",
)
def test_a_faulty_row_is_a_clip_with_an_error(row: dict[str, Any], message: str) -> None:
    """It does not stop the job: the clip ends as a `failed` record with this text."""
    clip = clip_of(**row)
    assert clip.error is not None
    assert message in clip.error
    assert clip.row_hash


def test_a_local_file_in_a_manifest_of_an_object_store_is_a_fault() -> None:
    """It would be read on whatever node gets the clip."""
    row = {"id": "row", "prompt": "p", "input_video": "/etc/passwd"}
    [clip] = clips_of_row(row, DEFAULTS, "s3://bucket/set")
    assert clip.error is not None
    assert "column `input_video`: found '/etc/passwd'" in clip.error
    assert "a local path in a manifest that is not on a local disk" in clip.error


def test_a_long_value_is_cut_in_the_message() -> None:
    error = clip_of(prompt="p" * 50_000).error
    assert error is not None
    assert len(error) < 400


def test_a_faulty_row_with_two_samples_is_two_failing_clips() -> None:
    """So that the number of clips does not depend on whether a row is right."""
    clips = clips_of_row({"id": "row", "prompt": "p", "seed": -1, "num_samples": 2}, DEFAULTS, BASE)
    assert [clip.id for clip in clips] == ["row.s000", "row.s001"]
    assert all(clip.error is not None and "column `seed`" in clip.error for clip in clips)
    assert len({clip.row_hash for clip in clips}) == 1, "of the row as it stands"


@pytest.mark.parametrize("column", ["seed", "num_steps", "guidance", "fps", "control_weight"])
def test_yes_and_no_are_no_numbers(column: str) -> None:
    """From Python: a column of a manifest has one type."""
    for value in (True, False):
        [clip] = clips_of_row({"id": "row", "prompt": "p", column: value}, DEFAULTS, BASE)
        assert clip.error is not None
        assert f"column `{column}`: found {value}, expected a" in clip.error


@pytest.mark.parametrize("n_views", [1, 2, 4])
def test_as_many_views_as_are_named(n_views: int) -> None:
    [clip] = clips_of_row({"id": "row", "prompt": "p", "views": VIEWS[2:5], "n_views": n_views}, DEFAULTS, BASE)
    assert clip.error == f"column `n_views`: found {n_views}, expected 3, as many as `views` names"


def test_one_file_of_several_views_is_one_video_and_a_file_a_view_is_a_list() -> None:
    """Also of clips of an earlier release, which do not say."""
    one = Clip("a", "a", inputs=("a.mp4",), n_views=1)
    assert one.input_column == "input_videos"
    assert replace(one, is_stacked=True).input_column == "input_video"
    assert replace(one, n_views=2).input_column == "input_video"
    assert replace(one, n_views=2, inputs=("a.mp4", "b.mp4")).input_column == "input_videos"
    assert replace(one, frames=(("a.png",),)).input_column == "input_frames"


def test_a_row_that_says_nothing_gets_the_models_defaults() -> None:
    clip = clip_of()
    assert clip.error is None
    assert (clip.num_steps, clip.guidance, clip.negative_prompt) == (35, 7.0, "blurry")
    assert (clip.n_views, clip.seed, clip.fps, clip.num_conditional_frames) == (7, 0, 10, 0)
    assert (clip.prompts, clip.inputs, clip.prompt_embedding) == (("a street",), (), None)


@pytest.mark.parametrize("gap", [None, math.nan], ids=["null", "NaN"])
def test_a_gap_in_a_column_is_the_default(gap: float | None) -> None:
    """pandas writes an integer column with gaps as floats, with NaN in them."""
    columns = ("seed", "num_steps", "guidance", "n_views", "fps", "num_samples", "num_conditional_frames")
    assert clip_of(**dict.fromkeys(columns, gap), negative_prompt=None) == clip_of()


def test_whole_numbers_in_a_float_column_are_integers() -> None:
    clip = clip_of(seed=5.0, num_steps=10.0, guidance=3, fps=30.0)
    assert (clip.seed, clip.num_steps, clip.guidance, clip.fps) == (5, 10, 3.0, 30)
    assert all(type(value) is int for value in (clip.seed, clip.num_steps, clip.fps))
    assert clip.row_hash == clip_of(seed=5, num_steps=10, guidance=3.0, fps=30).row_hash


@pytest.mark.parametrize("captions", [1, 7])
def test_a_list_of_captions(captions: int) -> None:
    """One for view 0, or one a view; some views may have none."""
    prompts = ["front"] + [""] * (captions - 1)
    assert clip_of(prompt=prompts).prompts == tuple(prompts)


def test_fewer_views_take_fewer_captions_and_cameras() -> None:
    clip = clip_of(n_views=2, prompt=["a", "b"], input_videos={view: CAMERAS[view] for view in VIEWS[:2]})
    assert (clip.error, clip.prompts, len(clip.inputs)) == (None, ("a", "b"), 2)


def test_an_embedding_stands_for_the_prompt() -> None:
    clip = clip_of(prompt=None, prompt_embedding="e/row.npy")
    assert (clip.error, clip.prompts, clip.prompt_embedding) == (None, (), f"{BASE}/e/row.npy")


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_conditioning_frames_that_the_model_knows(frames: int) -> None:
    assert clip_of(input_video="a.mp4", num_conditional_frames=frames).num_conditional_frames == frames


def test_a_row_with_input_is_conditioned_on_one_frame_unless_it_says_otherwise() -> None:
    assert clip_of(input_video="a.mp4").num_conditional_frames == 1
    assert clip_of(input_videos=CAMERAS).num_conditional_frames == 1


_SHUFFLED = dict(sorted(CAMERAS.items()))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([_SHUFFLED], pa.struct([(view, pa.string()) for view in _SHUFFLED])),
        pa.array([list(_SHUFFLED.items())], pa.map_(pa.string(), pa.string())),
        pa.array([[CAMERAS[view] for view in VIEWS]], pa.list_(pa.string())),
        pa.array([[CAMERAS[view] for view in VIEWS]], pa.list_(pa.string(), 7)),
    ],
    ids=["struct", "map", "list", "fixed-size-list"],
)
def test_cameras_come_in_the_models_order(tmp_path: Path, column: pa.Array) -> None:
    """Named ones are put in order, a list is in order."""
    table = pa.table({"id": ["a"], "prompt": ["p"], "input_videos": column})
    pq.write_table(table, tmp_path / "m.parquet")
    [clip] = manifest_clips(str(tmp_path / "m.parquet"), DEFAULTS)
    assert clip.error is None
    assert clip.inputs == tuple(f"{tmp_path}/{view}.mp4" for view in VIEWS)


@pytest.mark.parametrize("column", ["input_videos", "input_frames", "control_videos"])
def test_a_map_that_names_a_camera_twice_is_a_fault_of_its_row(column: str) -> None:
    """Neither of the two is taken. A map is the one type in which a name can come again."""
    value: Any = ["a.jpg"] if column == "input_frames" else "a.mp4"
    kind = pa.map_(pa.string(), pa.list_(pa.string()) if column == "input_frames" else pa.string())
    once = [(view, value) for view in VIEWS]
    rows = pa.RecordBatch.from_pydict(
        {"id": ["a", "b"], "prompt": ["p", "p"], column: pa.array([once, [*once, ("rear", value)]], kind)}
    )
    [good], [bad] = (clips_of_row(row, DEFAULTS, BASE) for row in rows_of(rows))
    assert (good.error, bad.error) == (None, f"column `{column}`: found ['rear'], expected each camera once")
    assert not check_batch(rows, DEFAULTS, BASE).right[1]


def test_a_struct_of_nulls_is_no_input(tmp_path: Path) -> None:
    """What a struct column gives for a row that has no cameras."""
    rows = [{"id": "a", "prompt": "p", "input_videos": CAMERAS}, {"id": "b", "prompt": "p", "input_videos": None}]
    first, second = manifest_clips(write_manifest(tmp_path / "m.parquet", rows), DEFAULTS)
    assert (len(first.inputs), second.inputs, second.error) == (7, (), None)
    assert clip_of(input_videos=dict.fromkeys(VIEWS)).inputs == ()


def test_references_are_resolved_against_the_manifests_folder(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "p", "input_video": "in/a.mp4"},
        {"id": "b", "prompt": "p", "input_video": "s3://b/c"},
    ]
    first, second = manifest_clips(write_manifest(tmp_path / "m.parquet", rows), DEFAULTS)
    assert (first.inputs, second.inputs) == ((f"{tmp_path}/in/a.mp4",), ("s3://b/c",))


def test_a_clip_survives_the_way_through_json() -> None:
    clip = replace(clip_of(prompt=["a"] * 7, input_videos=CAMERAS, seed=3), generation=2)
    assert Clip.from_json(clip.to_json()) == clip


def test_samples_have_ids_of_their_own_and_seeds_of_their_own() -> None:
    """Sample 0 keeps the row's seed: its video is that of the row without samples."""
    clips = clips_of_row({"id": "row", "prompt": "a street", "seed": 9, "num_samples": 3}, DEFAULTS, BASE)
    assert [clip.id for clip in clips] == ["row.s000", "row.s001", "row.s002"]
    assert {clip.row_id for clip in clips} == {"row"}
    assert clips[0].seed == 9
    assert len({clip.seed for clip in clips}) == 3
    assert all(0 <= clip.seed < 2**32 for clip in clips)
    assert clips[0].row_hash == clip_of(seed=9).row_hash
    assert len({clip.row_hash for clip in clips}) == 3


def test_seeds_of_samples_follow_from_the_rows_seed() -> None:
    """Fixed for ever: they decide videos that exist already."""
    assert [sample_seed(7, sample) for sample in range(3)] == [7, 3617640167, 2374935413]
    assert len({sample_seed(seed, sample) for seed in range(50) for sample in range(50)}) == 2500


def test_one_sample_is_the_row_itself() -> None:
    assert [clip.id for clip in clips_of_row({"id": "row", "prompt": "p", "num_samples": 1}, DEFAULTS, BASE)] == ["row"]


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "another street"},
        {"prompt": ["a street"] + [""] * 6},
        {"prompt": None, "prompt_embedding": "e.npy"},
        {"input_video": "other.mp4"},
        {"input_video": None, "input_videos": CAMERAS},
        {"num_conditional_frames": 5},
        {"negative_prompt": "sharp"},
        {"guidance": 3.0},
        {"seed": 1},
        {"num_steps": 10},
        {"n_views": 6},
        {"fps": 30},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_rows_hash_changes_with_what_decides_the_video(change: dict[str, Any]) -> None:
    before = clip_of(input_video="a.mp4")
    after = clip_of(**{"input_video": "a.mp4", **change})
    assert after.error is None
    assert after.row_hash != before.row_hash


@pytest.mark.parametrize("change", [{"id": "other"}, {"weather": "rain"}, {"split": 3}, {"seed": 0}, {"num_steps": 35}])
def test_the_rows_hash_does_not_change_with_anything_else(change: dict[str, Any]) -> None:
    """Not with the id, columns that are only carried along, nor a default that is spelt out."""
    assert clip_of(**change).row_hash == clip_of().row_hash


@pytest.mark.parametrize("nothing", [None, "", []])
def test_an_empty_prompt_beside_an_embedding_says_nothing(nothing: object) -> None:
    assert prompts_of({"prompt": nothing, "prompt_embedding": "e.pt"}, 7) == ()
    with pytest.raises(RowError, match="null, because the row has a `prompt_embedding`"):
        prompts_of({"prompt": nothing or [""], "prompt_embedding": "e.pt"}, 7)
