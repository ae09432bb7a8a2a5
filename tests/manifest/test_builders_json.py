"""The builders of JSON specs: every item a row that the manifest's reader takes, or an error that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.manifests import CAPTIONS, clips, put, read

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.batch_json import from_batch_json
from cosmos_ray.manifest.builders.multiview_json import from_multiview_json
from cosmos_ray.manifest.builders.notes import Built
from cosmos_ray.manifest.builders.rig import rig_of


@pytest.fixture
def batch(tmp_path: Path) -> Callable[..., Built]:
    """Writes items to batch.json and builds out.parquet beside it."""

    def build(*items: Any, **options: Any) -> Built:
        source = put(tmp_path / "batch.json", list(items))
        return from_batch_json(str(source), str(tmp_path / "out.parquet"), **options)

    return build


# --- from_batch_json ---


def test_batch_items_become_rows_in_order(tmp_path: Path, batch: Callable[..., Built]) -> None:
    built = batch(
        {"input_video": "in/a.mp4", "prompt": "a street", "output_video": "output/rainy_street.mp4"},
        {"input_video": "/elsewhere/b.mp4", "prompt": "a road", "seed": 7, "scene_tag": "urban"},
    )
    assert built == Built(2, remarks=("columns that are carried into the index as they are: scene_tag",))
    first, second = clips(tmp_path / "out.parquet")
    assert (first.id, first.prompts, first.inputs) == ("rainy_street", ("a street",), (f"{tmp_path}/in/a.mp4",))
    assert (second.id, second.seed, second.inputs) == ("output_1", 7, ("/elsewhere/b.mp4",))
    assert first.num_conditional_frames == 1
    rows = read(tmp_path / "out.parquet")
    assert [row["input_video"] for row in rows] == ["in/a.mp4", "/elsewhere/b.mp4"]
    assert [row["scene_tag"] for row in rows] == [None, "urban"]
    assert "output_video" not in rows[0]


def test_names_of_other_releases_are_understood(tmp_path: Path, batch: Callable[..., Built]) -> None:
    put(tmp_path / "caption.txt", "a street\n")
    batch({"name": "n1", "input_path": "a.mp4", "prompt_path": "caption.txt"})
    assert read(tmp_path / "out.parquet") == [{"id": "n1", "prompt": "a street", "input_video": "a.mp4"}]


def test_an_object_without_keys_is_nothing(tmp_path: Path, batch: Callable[..., Built]) -> None:
    """Parquet has no type for it, alone or within another."""
    item = {"input_video": "a.mp4", "prompt": "a street"}
    batch({**item, "meta": {}, "more": {"of": {}, "n": 1}}, {**item, "meta": {}, "more": {"of": {}, "n": 2}})
    assert [(row["meta"], row["more"]) for row in read(tmp_path / "out.parquet")] == [
        (None, {"of": None, "n": 1}),
        (None, {"of": None, "n": 2}),
    ]


def test_half_a_character_in_a_name_is_refused(batch: Callable[..., Built]) -> None:
    with pytest.raises(ManifestError, match=r"column '\\ud800': its name is no Unicode"):
        batch({"input_video": "a.mp4", "prompt": "x", "\ud800": 1})


def test_numbers_that_python_does_not_read_are_refused(tmp_path: Path) -> None:
    source = put(tmp_path / "batch.json", '[{"prompt": "x", "seed": ' + "1" * 5000 + "}]")
    with pytest.raises(ManifestError, match=r"batch\.json is JSON that cannot be read"):
        from_batch_json(str(source), str(tmp_path / "out.parquet"))


def test_two_names_for_one_thing_are_refused(batch: Callable[..., Built]) -> None:
    with pytest.raises(ManifestError, match=r"item 0 of .* has both `input_video` and `input_path`"):
        batch({"input_video": "a.mp4", "input_path": "b.mp4", "prompt": "x"})


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        ({"prompt": "x"}, "item 1 of .* has no `input_video`$"),
        (
            {"prompt": "x", "rear": {"video_path": "a.mp4"}},
            "`rear` names a camera's file: .* from-multiview-json` reads",
        ),
        (
            {"input_video": "a.mp4", "prompt": "x", "fps": 1000},
            "item 1 of .*: column `fps`: found 1000, expected an int",
        ),
        ({"input_video": "a.mp4", "prompt": "x", "steps": 3}, "column 'steps': .* expected `num_steps`"),
        ({"input_video": "a.mp4"}, "item 1 of .* has no `prompt`$"),
        ({"input_video": "", "prompt": None}, "item 1 of .* has no `input_video` and no `prompt`$"),
        ("a.mp4", "item 1 of .*: found str, expected an object"),
        ({"input_video": 5, "prompt": "x"}, "item 1 of .*: found 5, expected a path or URI"),
        ({"input_video": "a.mp4", "prompt": 5}, "item 1 of .*: `prompt` is 5"),
        ({"input_video": "http://x/a.mp4", "prompt": "x"}, "item 1 of .*scheme 'http'"),
        ({"input_video": "a.mp4", "prompt": "x", "output_video": "out/a clip.mp4"}, "found 'a clip', expected"),
        (
            {"input_video": "a.mp4", "prompt": "x", "output_video": "other/good.mp4"},
            "item 0 of .* and item 1 of .* both have the id 'good'",
        ),
        (
            {"input_video": "a.mp4", "prompt": "x", "seed": "seven"},
            "item 1 of .*: `seed` is 'seven', expected an integer",
        ),
    ],
)
def test_a_bad_item_is_named_and_nothing_is_written(
    tmp_path: Path, batch: Callable[..., Built], item: Any, complaint: str
) -> None:
    with pytest.raises(ManifestError, match=complaint):
        batch({"input_video": "a.mp4", "prompt": "x", "output_video": "good.mp4", "seed": 1}, item)
    assert not (tmp_path / "out.parquet").exists()


def test_caption_files_hold_one_caption_or_one_a_view(tmp_path: Path, batch: Callable[..., Built]) -> None:
    """A column of Parquet has one type: beside a list, a single caption becomes a list of one, which means the same."""
    put(tmp_path / "one.txt", "\n a street \n\n")
    put(tmp_path / "seven.txt", "\n".join(CAPTIONS))
    batch({"input_video": "a.mp4", "prompt": "one.txt"}, {"input_video": "b.mp4", "prompt": "seven.txt"})
    assert [row["prompt"] for row in read(tmp_path / "out.parquet")] == [["a street"], CAPTIONS]
    assert [clip.prompts for clip in clips(tmp_path / "out.parquet")] == [("a street",), tuple(CAPTIONS)]


def test_other_numbers_of_lines_are_refused(tmp_path: Path, batch: Callable[..., Built]) -> None:
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
    tmp_path: Path, batch: Callable[..., Built], suffix: str
) -> None:
    batch({"input_video": "a.mp4", "prompt": f"t5/a{suffix}"}, {"input_video": "b.mp4", "prompt": "a road"})
    first, second = read(tmp_path / "out.parquet")
    assert (first["prompt"], first["prompt_embedding"]) == (None, f"t5/a{suffix}")
    assert (second["prompt"], second["prompt_embedding"]) == ("a road", None)
    assert clips(tmp_path / "out.parquet")[0].prompt_embedding == f"{tmp_path}/t5/a{suffix}"


def test_relative_paths_start_from_the_file_or_from_base(tmp_path: Path) -> None:
    source = put(tmp_path / "lists" / "batch.json", [{"input_video": "../videos/a.mp4", "prompt": "x"}])
    out = tmp_path / "manifests" / "m.parquet"
    from_batch_json(str(source), str(out))
    assert read(out)[0]["input_video"] == f"{tmp_path}/videos/a.mp4"
    from_batch_json(str(source), str(out), base=str(tmp_path / "repo" / "sub"))
    assert read(out)[0]["input_video"] == f"{tmp_path}/repo/videos/a.mp4"
    from_batch_json(str(source), str(tmp_path / "m.parquet"))
    assert read(tmp_path / "m.parquet")[0]["input_video"] == "videos/a.mp4"


def test_a_remote_manifest_cannot_name_local_files(tmp_path: Path) -> None:
    source = put(tmp_path / "batch.json", [{"input_video": "a.mp4", "prompt": "x"}])
    with pytest.raises(ManifestError, match=r"a\.mp4 is a local file, which a manifest at s3://bucket/m\.parquet"):
        from_batch_json(str(source), "s3://bucket/m.parquet")


def test_files_that_are_no_lists_are_refused(tmp_path: Path) -> None:
    out = str(tmp_path / "out.parquet")
    for content, complaint in (
        ("[]", "list of objects"),
        ("5", "found int"),
        ("{", "is no JSON"),
        ('{"prompt": "x"}\n{"prompt": "y"}\n', "files with an object a line are called .jsonl"),
    ):
        with pytest.raises(ManifestError, match=complaint):
            from_batch_json(str(put(tmp_path / "b.json", content)), out)
    with pytest.raises(ManifestError, match=r"none\.json cannot be read"):
        from_batch_json(str(tmp_path / "none.json"), out)


def test_a_file_a_camera_and_pictures_are_taken_too(tmp_path: Path, batch: Callable[..., Built]) -> None:
    """Their references are the manifest's, like all others."""
    put(tmp_path / "seven.txt", "\n".join(CAPTIONS[:2]))
    batch(
        {"id": "a", "prompt": "x", "input_videos": {"rear": "in/r.mp4", "front_tele": "/f.mp4"},
         "views": ["front_tele", "rear"]},
        {"id": "b", "prompt_path": "seven.txt", "input_frames": {view: [f"in/{view}.jpg"] for view in VIEWS[:2]}},
        rig=rig_of(n_views=2),
    )  # fmt: skip
    first, second = clips(tmp_path / "out.parquet")
    assert (first.views, first.inputs) == (("front_tele", "rear"), ("/f.mp4", f"{tmp_path}/in/r.mp4"))
    assert (second.n_views, second.views, second.prompts) == (2, (), tuple(CAPTIONS[:2]))
    assert second.frames == tuple((f"{tmp_path}/in/{view}.jpg",) for view in VIEWS[:2])


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
    source = put(tmp_path / "urban_freeway.json", multiview(**said, seed=3))
    built = from_multiview_json([str(source)], str(tmp_path / "out.parquet"))
    assert built.rows == 1
    assert len(built.warnings) == (0 if frames else 1)
    [clip] = clips(tmp_path / "out.parquet")
    assert (clip.id, clip.seed, clip.num_conditional_frames) == ("urban_freeway", 3, frames)
    expected = tuple(f"{tmp_path}/freeway_{view}_120fov.mp4" for view in VIEWS) if frames else ()
    assert clip.inputs == expected


def test_cameras_may_be_named_as_transfer_and_nvidia_name_them(tmp_path: Path) -> None:
    """By `input_path`, by a string, by NVIDIA's own names; a control video is not used, and said so."""
    names = ["front", "camera_cross_right_120fov", "rear_right", "ftheta_camera_rear_tele_30fov", "rear_left",
             "cross_left", "camera_front_tele_30fov"]  # fmt: skip
    cameras: dict[str, Any] = {name: {"input_path": f"{name}.mp4"} for name in reversed(names)}
    spec = {"name": "auto", "prompt": "a road", **cameras, "rear_left": "rear_left.mov", "hdmap": {"control_path": "h"}}
    spec["front"]["control_path"] = "c.mp4"
    source = put(tmp_path / "t25b.json", spec)
    built = from_multiview_json([str(source)], str(tmp_path / "out.parquet"))
    [clip] = clips(tmp_path / "out.parquet")
    expected = [f"{tmp_path}/{name}.mp4" for name in names]
    assert clip.inputs == (*expected[:4], f"{tmp_path}/rear_left.mov", *expected[5:])
    assert (clip.id, clip.num_conditional_frames, clip.views) == ("auto", 1, ())
    assert built.warnings == (
        f"cameras' `control_path`, which is not used: 1: {source}: `front`",
        f"keys of a spec that are not used: 1: `hdmap` of {source}",
    )


@pytest.mark.parametrize(
    ("said", "chunks"), [({}, 2), ({"num_chunks": 1}, None), ({"num_chunks": 3}, 3), ({"num_chunks": 0}, "found 0")]
)
def test_a_longer_video_has_as_many_chunks_as_it_says_and_two_where_it_says_none(
    tmp_path: Path, said: dict[str, int], chunks: int | str | None
) -> None:
    spec = {"prompt": "a road", "rear": {"video_path": "rear.mp4"}, "enable_autoregressive": True, **said}
    source, out = put(tmp_path / "t.json", spec), tmp_path / "out.parquet"
    if isinstance(chunks, str):
        with pytest.raises(ManifestError, match=f"column `num_chunks`: {chunks}"):
            from_multiview_json([str(source)], str(out))
    else:
        from_multiview_json([str(source)], str(out))
        assert clips(out)[0].num_chunks == (chunks or 1)


def test_controls_are_taken_of_all_cameras_that_are_named_or_of_none(tmp_path: Path) -> None:
    """Also where a camera is named and has no file at all."""
    cameras = {"rear": {"control_path": "map.mp4", "input_path": "rear.mp4"}, "cross_left": {"input_path": None}}
    source = put(tmp_path / "t.json", {"prompt": "a road", "views": ["rear"], **cameras})
    built = from_multiview_json([str(source)], str(tmp_path / "out.parquet"))
    [row] = read(tmp_path / "out.parquet")
    assert (row["views"], row["input_videos"], "control_videos" in row) == (["rear"], {"rear": "rear.mp4"}, False)
    assert f"cameras' `control_path`, which is not used: 1: {source}: `rear`" in built.warnings


def test_controls_of_all_cameras_are_taken_and_parameters_of_nothing_are_kept(tmp_path: Path) -> None:
    """Under the views' names, whatever the file calls its cameras; 0 is a value."""
    cameras = {name: {"input_path": f"{name}.mp4", "control_path": f"c_{name}.mp4"} for name in ("front", "rear_30fov")}
    source = put(tmp_path / "t.json", {"prompt": "a road", **cameras, "seed": 0, "control_weight": 0, "guidance": 0})
    built = from_multiview_json([str(source)], str(tmp_path / "out.parquet"))
    [row] = read(tmp_path / "out.parquet")
    assert row["control_videos"] == {"front_wide": "c_front.mp4", "rear": "c_rear_30fov.mp4"}
    assert row["input_videos"] == {"front_wide": "front.mp4", "rear": "rear_30fov.mp4"}
    assert (row["seed"], row["control_weight"], row["guidance"]) == (0, 0, 0)
    assert built.warnings == ()


def test_a_spec_of_some_cameras_says_which(tmp_path: Path) -> None:
    """In the rig's order, and with as many captions; `views` of the spec, or of the command, choose among them."""
    put(tmp_path / "three.txt", "\n".join(CAPTIONS[:3]))
    spec = {"prompt_path": "three.txt", **{view: {"video_path": f"{view}.mp4"} for view in ("rear", "cross_left")}}
    spec["FRONT_CAM"] = {"video_path": "front.mp4"}
    source, out = put(tmp_path / "m.json", spec), tmp_path / "out.parquet"
    from_multiview_json([str(source)], str(out), rig=rig_of("front_cam=front_wide,rear=rear,cross_left=cross_left"))
    [clip] = clips(out)
    assert clip.views == ("front_wide", "rear", "cross_left")
    assert clip.inputs == tuple(f"{tmp_path}/{name}.mp4" for name in ("front", "rear", "cross_left"))
    assert clip.prompts == tuple(CAPTIONS[:3])

    put(source, multiview())
    built = from_multiview_json([str(source)], str(out), rig=rig_of(views="rear,front_wide"))
    [clip] = clips(out)
    assert clip.views == ("rear", "front_wide")
    assert clip.inputs == tuple(f"{tmp_path}/freeway_{view}_120fov.mp4" for view in clip.views)
    assert built.warnings[0].startswith("clips with cameras that are not asked for, whose inputs are not used: 1: ")

    from_multiview_json([str(source)], str(out), rig=rig_of(n_views=2))
    [row] = read(out)
    assert (row["n_views"], list(row["input_videos"])) == (2, list(VIEWS[:2]))


def test_multiview_files_with_faults_are_named(tmp_path: Path) -> None:
    for changes, complaint in (
        ({"rear": {}}, r"m\.json: found videos of .*; missing rear \(1 of 7 cameras\) "),
        ({"num_input_frames": 3}, r"m\.json: `num_input_frames` is 3, expected one of \[0, 1, 2\]"),
        ({"prompt": None}, r"m\.json has no `prompt`"),
        ({"input_video": "a.mp4"}, r"m\.json has `input_video`, .*`cosmos-ray manifest from-batch-json` reads that"),
        ({"inference_type": "video2world"}, r"`inference_type` means 5, `num_input_frames` means 1 frames"),
        ({"num_inference_steps": 10}, r"m\.json: `num_inference_steps` is no key of a spec, `num_steps` is"),
        ({"camera_rear_30fov": {"input_path": "x.mp4"}}, "two cameras for the view rear, `rear` and `camera_rear_30f"),
        ({"rear": {"input_path": "a.mp4", "video_path": "b.mp4"}}, "`rear` has both `video_path` and `input_path`"),
        ({"dashcam": {"video_path": "a.mp4"}}, r"m\.json: camera name 'dashcam': found no view in it"),
        ({"views": ["rear", "back"]}, r"m\.json: `views`: found \['rear', 'back'\], expected names of front_wide, "),
        ({"views": ["rear"], "n_views": 2}, "`n_views` is 2, expected 1, as many as its `views`"),
        ({"n_views": 9}, "`n_views` is 9, expected 1 to 7"),
        ({"guidance": 1000}, r"m\.json: column `guidance`: found 1000, expected a number from 0 to 100"),
    ):
        source = put(tmp_path / "m.json", multiview(**changes))
        with pytest.raises(ManifestError, match=complaint):
            from_multiview_json([str(source)], str(tmp_path / "out.parquet"))


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_conditioning_that_is_no_number_is_refused(tmp_path: Path, value: Any) -> None:
    item = {"name": "n", "prompt": "a", "front_wide": {"input_path": "a.mp4"}, "num_conditional_frames": value}
    source = put(tmp_path / "spec.json", [item])
    with pytest.raises(ManifestError, match=r"`num_conditional_frames` is .*, expected an integer"):
        from_multiview_json([str(source)], str(tmp_path / "out.parquet"))
