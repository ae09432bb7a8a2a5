"""The manifest: what makes it unusable, what is a fault of one row, and the clips that good rows ask for.

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
from job_runs import write_manifest

from cosmos_ray.errors import ManifestError
from cosmos_ray.ledger import LedgerState
from cosmos_ray.manifest import Clip, RowDefaults, clips_of_row, sample_seed
from cosmos_ray.manifest_files import open_manifest
from cosmos_ray.manifest_table import check_batch
from cosmos_ray.plan import Plan, make_plan, manifest_clips
from cosmos_ray.request import VIEWS
from cosmos_ray.storage import Storage

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


def plan_of(manifest: str) -> Plan:
    """What a job would do into an empty output."""
    return make_plan(manifest, DEFAULTS, LedgerState.empty())


def test_a_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=f"there is no manifest at {tmp_path}/none.parquet"):
        open_manifest(str(tmp_path / "none.parquet"))


@pytest.mark.parametrize("content", [b"", b"id,prompt\na,b\n", b"PAR1 but no more PAR1"], ids=["empty", "csv", "torn"])
def test_a_file_that_is_not_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.parquet").write_bytes(content)
    with pytest.raises(ManifestError, match=r"m\.parquet cannot be read as Parquet"):
        open_manifest(str(tmp_path / "m.parquet"))


def test_a_parquet_file_with_a_damaged_page(tmp_path: Path) -> None:
    """The footer is right, so the damage shows when the rows are read."""
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"id": [f"clip{n}" for n in range(1000)], "prompt": ["a street"] * 1000}), path)
    data = bytearray(path.read_bytes())
    data[4:2000] = b"\xff" * 1996
    path.write_bytes(data)
    with pytest.raises(ManifestError, match="cannot be read as Parquet"):
        plan_of(str(path))


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    latin = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"caf\xe9"))
    pq.write_table(pa.table({"id": ["a"], "prompt": latin}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"cannot be read as Parquet: .*UTF"):
        plan_of(str(tmp_path / "m.parquet"))


def test_an_empty_manifest(tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([], pa.string()), "prompt": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="is empty"):
        open_manifest(str(tmp_path / "m.parquet"))


def test_a_manifest_in_an_object_store(s3: str, tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "a street", "input_video": "in/a.mp4"}])
    Storage(s3).write("m.parquet", (tmp_path / "m.parquet").read_bytes())
    [clip] = manifest_clips(f"{s3}/m.parquet", DEFAULTS)
    assert clip.inputs == (f"{s3}/in/a.mp4",)
    with pytest.raises(ManifestError, match="there is no manifest"):
        open_manifest(f"{s3}/none.parquet")


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        ("id", pa.int64(), "string"),
        ("prompt", pa.int64(), "string or list<string>"),
        ("prompt", pa.list_(pa.int64()), "string or list<string>"),
        ("prompt_embedding", pa.list_(pa.float32()), "string (a URI)"),
        ("prompt_embedding", pa.binary(), "string (a URI)"),
        ("input_video", pa.binary(), "string (a URI)"),
        ("input_videos", pa.string(), "struct or map camera -> URI, or list<string>"),
        ("input_videos", pa.map_(pa.string(), pa.int64()), "struct or map camera -> URI, or list<string>"),
        ("input_videos", pa.struct([("rear", pa.int64())]), "struct or map camera -> URI, or list<string>"),
        ("num_conditional_frames", pa.string(), "an integer"),
        ("negative_prompt", pa.float64(), "string"),
        ("guidance", pa.string(), "a number"),
        ("seed", pa.string(), "an integer"),
        ("seed", pa.bool_(), "an integer"),
        ("num_steps", pa.timestamp("s"), "an integer"),
        ("n_views", pa.list_(pa.int64()), "an integer"),
        ("fps", pa.string(), "an integer"),
        ("num_samples", pa.string(), "an integer"),
    ],
)
def test_a_column_of_a_wrong_type(tmp_path: Path, column: str, kind: pa.DataType, expected: str) -> None:
    columns = {"id": pa.array(["a"]), "prompt": pa.array(["a street"]), column: pa.nulls(1, kind)}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    found = pq.read_schema(tmp_path / "m.parquet").field(column).type  # Parquet has names of its own for some
    with pytest.raises(ManifestError, match=re.escape(f"column `{column}`: found type {found}, expected {expected}")):
        open_manifest(str(tmp_path / "m.parquet"))


def test_all_problems_of_the_columns_are_said_at_once(tmp_path: Path) -> None:
    pq.write_table(pa.table({"seed": ["1"], "fps": ["10"]}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError) as caught:
        open_manifest(str(tmp_path / "m.parquet"))
    for part in ("column `id` is missing", "neither a column `prompt` nor", "column `seed`", "column `fps`"):
        assert part in str(caught.value)


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "prompt", "prompt"])
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"column `prompt`: found 2 of this name, expected one"):
        open_manifest(str(tmp_path / "m.parquet"))


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=["large-string", "dictionary"]
)
def test_text_columns_as_other_writers_make_them(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"id": pa.array(["a"], kind), "prompt": pa.array(["p"], kind)}), tmp_path / "m.parquet")
    [clip] = manifest_clips(str(tmp_path / "m.parquet"), DEFAULTS)
    assert (clip.id, clip.prompts) == ("a", ("p",))


@pytest.mark.parametrize(
    "found",
    [None, "", "a/b", "../a", ".hidden", "-a", "_a", "a b", "a\n", "ä", "a" * 129],
    ids=lambda found: repr(found)[:12],
)
def test_an_illegal_id(tmp_path: Path, found: str | None) -> None:
    """It would have to name a folder and an object."""
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "good", "prompt": "p"}, {"id": found, "prompt": "p"}])
    message = f"row 1: column `id`: found {found!r}, expected [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}"
    with pytest.raises(ManifestError, match=re.escape(message)):
        plan_of(manifest)


@pytest.mark.parametrize("found", ["a", "0", "A.b_c-d", "a..", "a" * 128], ids=lambda found: found[:8])
def test_a_legal_id(tmp_path: Path, found: str) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": found, "prompt": "p"}])
    assert [clip.id for clip in manifest_clips(manifest, DEFAULTS)] == [found]


def test_a_repeated_id(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "p"}, {"id": "b", "prompt": "p"}, {"id": "a", "prompt": "other"}]
    with pytest.raises(ManifestError, match=r"row 2: column `id`: found 'a', .* also asked for by row 0"):
        plan_of(write_manifest(tmp_path / "m.parquet", rows))


def test_an_id_that_collides_with_a_sample_of_another_row(tmp_path: Path) -> None:
    """Row `a` fans out to `a.s000` and `a.s001`; the other row has that name for itself."""
    rows = [{"id": "a", "prompt": "p", "num_samples": 2}, {"id": "a.s000", "prompt": "p", "num_samples": 1}]
    with pytest.raises(ManifestError, match=r"row 1: column `id`: found 'a\.s000', .* also asked for by row 0"):
        plan_of(write_manifest(tmp_path / "m.parquet", rows))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": None}, "column `prompt`: found None, expected one caption or 7, one a view"),
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
