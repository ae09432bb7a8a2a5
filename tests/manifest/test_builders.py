"""What the manifest builders promise: every item a row that the manifest's reader takes, or an error that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest import builders
from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row, rows_of

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="")
CAPTIONS = [f"what camera {k} sees" for k in range(7)]


def read(manifest: Path) -> list[dict[str, Any]]:
    return rows_of(pq.read_table(manifest))


def clips(manifest: Path) -> list[Clip]:
    """As a job would read them."""
    found = [clip for row in read(manifest) for clip in clips_of_row(row, DEFAULTS, str(manifest.parent))]
    assert [clip.error for clip in found] == [None] * len(found)
    return found


def put(path: Path, content: Any = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def batch(tmp_path: Path) -> Callable[..., int]:
    """Writes items to batch.json and builds out.parquet beside it."""

    def build(*items: Any, **options: Any) -> int:
        source = put(tmp_path / "batch.json", list(items))
        return builders.from_batch_json(str(source), str(tmp_path / "out.parquet"), **options)

    return build


# --- from_batch_json ---


def test_batch_items_become_rows_in_order(tmp_path: Path, batch: Callable[..., int]) -> None:
    count = batch(
        {"input_video": "in/a.mp4", "prompt": "a street", "output_video": "output/rainy_street.mp4"},
        {"input_video": "/elsewhere/b.mp4", "prompt": "a road", "seed": 7, "scene_tag": "urban"},
    )
    assert count == 2
    first, second = clips(tmp_path / "out.parquet")
    assert (first.id, first.prompts, first.inputs) == ("rainy_street", ("a street",), (f"{tmp_path}/in/a.mp4",))
    assert (second.id, second.seed, second.inputs) == ("output_1", 7, ("/elsewhere/b.mp4",))
    assert first.num_conditional_frames == 1
    rows = read(tmp_path / "out.parquet")
    assert [row["input_video"] for row in rows] == ["in/a.mp4", "/elsewhere/b.mp4"]
    assert [row["scene_tag"] for row in rows] == [None, "urban"]
    assert "output_video" not in rows[0]


def test_names_of_other_releases_are_understood(tmp_path: Path, batch: Callable[..., int]) -> None:
    put(tmp_path / "caption.txt", "a street\n")
    batch({"name": "n1", "input_path": "a.mp4", "prompt_path": "caption.txt"})
    assert read(tmp_path / "out.parquet") == [{"id": "n1", "prompt": "a street", "input_video": "a.mp4"}]


def test_two_names_for_one_thing_are_refused(batch: Callable[..., int]) -> None:
    with pytest.raises(ManifestError, match=r"item 0 of .* has both `input_video` and `input_path`"):
        batch({"input_video": "a.mp4", "input_path": "b.mp4", "prompt": "x"})


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        ({"prompt": "x"}, "item 1 of .* has no `input_video`$"),
        ({"input_video": "a.mp4"}, "item 1 of .* has no `prompt`$"),
        ({"input_video": "", "prompt": None}, "item 1 of .* has no `input_video` and no `prompt`$"),
        ("a.mp4", "item 1 of .*: found str, expected an object"),
        ({"input_video": 5, "prompt": "x"}, "item 1 of .*: found 5, expected a path or URI"),
        ({"input_video": "a.mp4", "prompt": 5}, "item 1 of .*: `prompt` is 5"),
        ({"input_video": "http://x/a.mp4", "prompt": "x"}, "item 1 of .*scheme 'http'"),
        ({"input_video": "a.mp4", "prompt": "x", "output_video": "out/a clip.mp4"}, "found 'a clip', expected"),
        ({"input_video": "a.mp4", "prompt": "x", "output_video": "other/good.mp4"}, "rows 0 and 1 both .* 'good'"),
        ({"input_video": "a.mp4", "prompt": "x", "seed": "seven"}, "column `seed` has values of different types"),
    ],
)
def test_a_bad_item_is_named_and_nothing_is_written(
    tmp_path: Path, batch: Callable[..., int], item: Any, complaint: str
) -> None:
    with pytest.raises(ManifestError, match=complaint):
        batch({"input_video": "a.mp4", "prompt": "x", "output_video": "good.mp4", "seed": 1}, item)
    assert not (tmp_path / "out.parquet").exists()


def test_caption_files_hold_one_caption_or_one_a_view(tmp_path: Path, batch: Callable[..., int]) -> None:
    """A column of Parquet has one type: beside a list, a single caption becomes a list of one, which means the same."""
    put(tmp_path / "one.txt", "\n a street \n\n")
    put(tmp_path / "seven.txt", "\n".join(CAPTIONS))
    batch({"input_video": "a.mp4", "prompt": "one.txt"}, {"input_video": "b.mp4", "prompt": "seven.txt"})
    assert [row["prompt"] for row in read(tmp_path / "out.parquet")] == [["a street"], CAPTIONS]
    assert [clip.prompts for clip in clips(tmp_path / "out.parquet")] == [("a street",), tuple(CAPTIONS)]


def test_other_numbers_of_lines_are_refused(tmp_path: Path, batch: Callable[..., int]) -> None:
    put(tmp_path / "three.txt", "a\nb\nc\n")
    with pytest.raises(ManifestError, match=r"three\.txt: found 3 lines that are not empty, expected 1 or 7"):
        batch({"input_video": "a.mp4", "prompt": "three.txt"})
    put(tmp_path / "three.txt", "\n\n")
    with pytest.raises(ManifestError, match="found 0 lines"):
        batch({"input_video": "a.mp4", "prompt": "three.txt"})
    with pytest.raises(ManifestError, match=r"none\.txt cannot be read: FileNotFoundError"):
        batch({"input_video": "a.mp4", "prompt": "none.txt"})


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npy", ".pkl"])
def test_a_prompt_that_is_an_embedding_moves_to_its_column(
    tmp_path: Path, batch: Callable[..., int], suffix: str
) -> None:
    batch({"input_video": "a.mp4", "prompt": f"t5/a{suffix}"}, {"input_video": "b.mp4", "prompt": "a road"})
    first, second = read(tmp_path / "out.parquet")
    assert (first["prompt"], first["prompt_embedding"]) == (None, f"t5/a{suffix}")
    assert (second["prompt"], second["prompt_embedding"]) == ("a road", None)
    assert clips(tmp_path / "out.parquet")[0].prompt_embedding == f"{tmp_path}/t5/a{suffix}"


def test_relative_paths_start_from_the_file_or_from_base(tmp_path: Path) -> None:
    source = put(tmp_path / "lists" / "batch.json", [{"input_video": "../videos/a.mp4", "prompt": "x"}])
    out = tmp_path / "manifests" / "m.parquet"
    builders.from_batch_json(str(source), str(out))
    assert read(out)[0]["input_video"] == f"{tmp_path}/videos/a.mp4"
    builders.from_batch_json(str(source), str(out), base=str(tmp_path / "repo" / "sub"))
    assert read(out)[0]["input_video"] == f"{tmp_path}/repo/videos/a.mp4"
    builders.from_batch_json(str(source), str(tmp_path / "m.parquet"))
    assert read(tmp_path / "m.parquet")[0]["input_video"] == "videos/a.mp4"


def test_a_remote_manifest_cannot_name_local_files(tmp_path: Path) -> None:
    source = put(tmp_path / "batch.json", [{"input_video": "a.mp4", "prompt": "x"}])
    with pytest.raises(ManifestError, match=r"a\.mp4 is a local file, which a manifest at s3://bucket/m\.parquet"):
        builders.from_batch_json(str(source), "s3://bucket/m.parquet")


def test_files_that_are_no_lists_are_refused(tmp_path: Path) -> None:
    out = str(tmp_path / "out.parquet")
    for content, complaint in (("[]", "list of objects"), ("5", "found int"), ("{", "is no JSON")):
        with pytest.raises(ManifestError, match=complaint):
            builders.from_batch_json(str(put(tmp_path / "b.json", content)), out)
    with pytest.raises(ManifestError, match=r"none\.json cannot be read"):
        builders.from_batch_json(str(tmp_path / "none.json"), out)


# --- from_multiview_json ---


def multiview(**changes: Any) -> dict[str, Any]:
    cameras = {view: {"video_path": f"freeway_{view}_120fov.mp4"} for view in sorted(VIEWS)}
    return {"prompt": "a freeway", "num_input_frames": 1, **cameras, **changes}


@pytest.mark.parametrize(
    ("said", "frames"),
    [
        ({"num_input_frames": 0}, 0),
        ({"num_input_frames": 1}, 1),
        ({"num_input_frames": 2}, 5),
        ({"inference_type": "video2world", "num_input_frames": None}, 5),
        ({"inference_type": "text2world", "num_input_frames": None}, 0),
    ],
)
def test_multiview_objects_become_rows(tmp_path: Path, said: dict[str, Any], frames: int) -> None:
    """Two latent frames are five pixel frames."""
    source = put(tmp_path / "urban_freeway.json", multiview(**said, seed=3, control_weight=1.0))
    assert builders.from_multiview_json([str(source)], str(tmp_path / "out.parquet")) == 1
    [clip] = clips(tmp_path / "out.parquet")
    assert (clip.id, clip.seed, clip.num_conditional_frames) == ("urban_freeway", 3, frames)
    expected = tuple(f"{tmp_path}/freeway_{view}_120fov.mp4" for view in VIEWS) if frames else ()
    assert clip.inputs == expected


def test_multiview_files_with_faults_are_named(tmp_path: Path) -> None:
    for changes, complaint in (
        ({"rear": {}}, r"m\.json: found videos of .*; missing rear, not wanted none"),
        ({"num_input_frames": 3}, r"m\.json: `num_input_frames` is 3, expected one of \[0, 1, 2\]"),
        ({"prompt": None}, r"m\.json has no `prompt`"),
    ):
        source = put(tmp_path / "m.json", multiview(**changes))
        with pytest.raises(ManifestError, match=complaint):
            builders.from_multiview_json([str(source)], str(tmp_path / "out.parquet"))


# --- from_folder ---


def test_sub_folders_become_rows(tmp_path: Path) -> None:
    """Time-concatenated, a file a camera, and text alone."""
    put(tmp_path / "one" / "video.mp4")
    put(tmp_path / "one" / "caption.txt", "a street")
    put(tmp_path / "one" / "params.json", {"seed": 5, "num_conditional_frames": 5})
    for view in VIEWS:
        put(tmp_path / "two" / f"{view}.mp4")
        put(tmp_path / "one" / f"{view}.mp4")
    put(tmp_path / "two" / "caption.txt", "\n".join(CAPTIONS))
    put(tmp_path / "words" / "caption.txt", "a road")
    put(tmp_path / ".cache" / "anything")
    assert builders.from_folder(str(tmp_path), str(tmp_path / "out.parquet")) == 3
    one, two, words = clips(tmp_path / "out.parquet")
    assert (one.id, one.inputs, one.seed, one.num_conditional_frames) == (
        "one",
        (f"{tmp_path}/one/video.mp4",),
        5,
        5,
    )
    assert two.inputs == tuple(f"{tmp_path}/two/{view}.mp4" for view in VIEWS)
    assert two.prompts == tuple(CAPTIONS)
    assert (words.inputs, words.num_conditional_frames, words.prompts) == ((), 0, ("a road",))
    schema = pq.read_schema(tmp_path / "out.parquet")
    expected = ["id", "prompt", "input_video", "input_videos", "num_conditional_frames", "seed"]
    assert schema.names == expected
    assert read(tmp_path / "out.parquet")[1]["input_videos"]["rear"] == "two/rear.mp4"


def test_flat_files_become_rows(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / f"{name}.mp4")
        put(tmp_path / f"{name}.txt", f"street {name}")
    out = tmp_path / "elsewhere" / "out.parquet"
    assert builders.from_folder(str(tmp_path), str(out)) == 2
    assert read(out)[1] == {"id": "b", "prompt": "street b", "input_video": f"{tmp_path}/b.mp4"}


def test_what_the_folder_lacks_is_named(tmp_path: Path) -> None:
    out = str(tmp_path / "out.parquet")
    with pytest.raises(ManifestError, match="holds no clips"):
        builders.from_folder(str(tmp_path), out)
    with pytest.raises(ManifestError, match="there is no folder"):
        builders.from_folder(str(tmp_path / "none"), out)
    put(tmp_path / "flat" / "a.mp4")
    with pytest.raises(ManifestError, match=r"flat/a\.mp4 has no a\.txt beside it"):
        builders.from_folder(str(tmp_path / "flat"), out)
    clip = tmp_path / "clips" / "one"
    put(clip / "front_wide.mp4")
    with pytest.raises(ManifestError, match=r"clips/one has no caption\.txt"):
        builders.from_folder(str(tmp_path / "clips"), out)
    put(clip / "caption.txt", "x")
    with pytest.raises(
        ManifestError, match=r"found videos of front_wide; missing cross_right, .*front_tele, not wanted none"
    ):
        builders.from_folder(str(tmp_path / "clips"), out)
    put(clip / "camera_front_wide_120fov.mp4")
    with pytest.raises(ManifestError, match="two files for the view front_wide"):
        builders.from_folder(str(tmp_path / "clips"), out)
    put(clip / "video.mp4")
    put(clip / "params.json", {"sead": 1})
    with pytest.raises(ManifestError, match=r"params\.json: found \{'sead': 1\}, expected keys"):
        builders.from_folder(str(tmp_path / "clips"), out)


def test_a_folder_with_an_illegal_name_is_refused(tmp_path: Path) -> None:
    """An id names a folder and an object of the output: never changed behind the user's back."""
    put(tmp_path / "a street" / "caption.txt", "x")
    with pytest.raises(ManifestError, match="column `id`: found 'a street', expected"):
        builders.from_folder(str(tmp_path), str(tmp_path / "out.parquet"))


@pytest.mark.parametrize(
    ("name", "view"),
    [
        *[(view, view) for view in VIEWS],
        *[(f"camera_{view}_120fov", view) for view in VIEWS],
        ("ftheta_camera_cross_left_120fov", "cross_left"),
        ("camera_rear_tele_30fov", "rear"),
        ("camera_rear_right_70fov", "rear_right"),
        ("urban_freeway_rear_30fov", "rear"),
        ("Drive-7.Front-Tele", "front_tele"),
    ],
)
def test_camera_names_are_understood(name: str, view: str) -> None:
    assert builders.view_of(name) == view


@pytest.mark.parametrize("name", ["camera_7", "front", "rearview", "front_wide_cross_left", "pinhole_side_left"])
def test_camera_names_that_could_be_anything_are_refused(name: str) -> None:
    with pytest.raises(ManifestError, match=f"camera name '{name}'"):
        builders.view_of(name)
