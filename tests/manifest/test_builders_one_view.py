"""Manifests for models of one view, from every builder: `--cameras video`, or `NAME=video` of a rig's one camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.manifests import put, read

from cosmos_ray.clip.family import TEXT2IMAGE, TEXT2WORLD, VIDEO2WORLD, Family
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.batch_json import from_batch_json
from cosmos_ray.manifest.builders.by_camera import from_rds_hq
from cosmos_ray.manifest.builders.caption_files import captions_of
from cosmos_ray.manifest.builders.folder import from_folder
from cosmos_ray.manifest.builders.multiview_json import from_multiview_json
from cosmos_ray.manifest.builders.notes import Built
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.builders.table import from_table
from cosmos_ray.manifest.builders.vary import variations_of, vary
from cosmos_ray.manifest.builders.windows import Windows
from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row

ONE = rig_of("video")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.parquet"


def made(out: Path, family: Family) -> list[Clip]:
    """The rows as a model of this family takes them."""
    defaults = RowDefaults(n_views=1, num_steps=35, guidance=7.0, negative_prompt="", family=family.name)
    found = [clip for row in read(out) for clip in clips_of_row(row, defaults, str(out.parent))]
    assert [clip.error for clip in found] == [None] * len(found)
    assert {clip.cameras for clip in found} == {family.views}
    return found


def test_files_of_a_folder_are_clips_videos_and_pictures_alike(tmp_path: Path, out: Path) -> None:
    for name in ("a.mp4", "car_front.mp4", "cup.JPG", "in/b.png"):
        put(tmp_path / "clips" / name)
    for name in ("a.txt", "cup.txt", "car_front.txt"):
        put(tmp_path / "clips" / name, f"what {name} is")
    built = from_folder(str(tmp_path / "clips"), str(out), rig=ONE, captions=captions_of("a bus"))
    assert built == Built(4, ())
    a, front, cup, inside = sorted(made(out, VIDEO2WORLD), key=lambda clip: clip.id)
    assert (a.inputs, a.frames, a.prompts) == ((f"{tmp_path}/clips/a.mp4",), (), ("what a.txt is",))
    assert front.inputs == (f"{tmp_path}/clips/car_front.mp4",), "a name that ends like a camera's is a name"
    assert (cup.inputs, cup.frames, cup.num_conditional_frames) == ((), ((f"{tmp_path}/clips/cup.JPG",),), 1)
    assert (inside.id, inside.frames, inside.prompts) == ("in", ((f"{tmp_path}/clips/in/b.png",),), ("a bus",))


def test_a_folder_a_clip_has_one_video_or_pictures_in_order_of_time(tmp_path: Path, out: Path) -> None:
    put(tmp_path / "one" / "anything.mp4")
    put(tmp_path / "one" / "params.json", {"num_conditional_frames": 5, "fps": 10})
    for number in range(8, 12):
        put(tmp_path / "three" / "frames" / f"{number}.jpg")
    put(tmp_path / "two" / "video.mp4")
    from_folder(str(tmp_path), str(out), rig=ONE, captions=captions_of("a bus"))
    one, three, two = made(out, VIDEO2WORLD)
    assert (one.inputs, one.num_conditional_frames, one.fps) == ((f"{tmp_path}/one/anything.mp4",), 5, 10)
    assert three.frames == (tuple(f"{tmp_path}/three/frames/{number}.jpg" for number in (8, 9, 10, 11)),)
    assert two.inputs == (f"{tmp_path}/two/video.mp4",)
    put(tmp_path / "one" / "other.mp4")
    with pytest.raises(ManifestError, match=r"two files for the view video, anything\.mp4 and other\.mp4"):
        from_folder(str(tmp_path), str(out), rig=ONE, captions=captions_of("a bus"))


def test_words_alone_are_clips_of_models_that_take_no_input(tmp_path: Path, out: Path) -> None:
    put(tmp_path / "t" / "a.txt", "a street")
    put(tmp_path / "t" / "b.txt", "a bus")
    from_folder(str(tmp_path / "t"), str(out), rig=ONE)
    for family in (TEXT2IMAGE, TEXT2WORLD):
        assert [clip.prompts for clip in made(out, family)] == [("a street",), ("a bus",)]
    with pytest.raises(ManifestError, match=r"a\.txt has no a\.mp4 beside it"):
        from_folder(str(tmp_path / "t"), str(out))
    put(tmp_path / "t" / "b.txt", "two\ncaptions")
    with pytest.raises(ManifestError, match="found 2 lines that are not empty, expected 1"):
        from_folder(str(tmp_path / "t"), str(out), rig=ONE)


def test_one_camera_of_a_rig_is_the_video(tmp_path: Path, out: Path) -> None:
    for camera in ("front", "left"):
        put(tmp_path / "drive" / f"{camera}.mp4")
    rig = rig_of("front=video")
    built = from_folder(str(tmp_path), str(out), rig=rig, captions=captions_of("a street"))
    assert built.warnings == ("cameras that are not used: 1: drive/left.mp4",)
    assert made(out, VIDEO2WORLD)[0].inputs == (f"{tmp_path}/drive/front.mp4",)
    (tmp_path / "flat").mkdir()
    for camera in ("front", "left"):
        put(tmp_path / "flat" / f"drive.v2_{camera}.mp4")
    put(tmp_path / "flat" / "drive.v3.mp4")
    from_folder(str(tmp_path / "flat"), str(out), rig=rig_of("front=video,left="), captions=captions_of("a street"))
    assert [clip.inputs[0].rpartition("/")[2] for clip in made(out, VIDEO2WORLD)] == [
        "drive.v2_front.mp4",
        "drive.v3.mp4",
    ]


def test_a_folder_a_camera_gives_one_of_them(tmp_path: Path, out: Path) -> None:
    for camera in ("camera_front_wide_120fov", "camera_rear_tele_30fov"):
        put(tmp_path / "videos" / camera / "a_0.mp4")
        put(tmp_path / "captions" / camera / "a_0.json", {"caption": f"what {camera} sees"})
    rig = rig_of("camera_front_wide_120fov=video")
    for build in (from_folder, from_rds_hq):
        build(str(tmp_path), str(out), rig=rig)
        (clip,) = made(out, VIDEO2WORLD)
        assert clip.inputs == (f"{tmp_path}/videos/camera_front_wide_120fov/a_0.mp4",)
        assert clip.prompts == ("what camera_front_wide_120fov sees",)


@pytest.mark.parametrize(
    ("header", "cell"),
    [("input_video", "a.mp4"), ("video", "a.mp4"), ("image", "a.jpg"), ("picture", "a.jpg"), ("input_video", "a.jpg"),
     ("input_videos", '"{""video"": ""a.mp4""}"'), ("input_frames", '"{""video"": [""a.jpg""]}"')],
)  # fmt: skip
def test_a_table_names_its_one_input_in_any_of_these_ways(tmp_path: Path, out: Path, header: str, cell: str) -> None:
    source = put(tmp_path / "rows.csv", f"id,prompt,{header},views,weather\na,a bus,{cell},video,rain\n")
    from_table(str(source), str(out), rig=ONE)
    (clip,) = made(out, VIDEO2WORLD)
    expected = f"{tmp_path}/a.mp4" if "mp4" in cell else f"{tmp_path}/a.jpg"
    assert (clip.inputs or clip.frames[0]) == (expected,)
    assert read(out)[0]["weather"] == "rain"


def test_without_the_word_a_table_says_which_it_is(tmp_path: Path, out: Path) -> None:
    source = put(tmp_path / "rows.csv", "id,prompt,image\na,a bus,a.jpg\n")
    with pytest.raises(ManifestError, match=r"`--cameras video` takes it, for models of one view"):
        from_table(str(source), str(out))
    put(tmp_path / "clips" / "a" / "start.jpg")
    with pytest.raises(ManifestError, match=r"`--cameras video` is for models of one view"):
        from_folder(str(tmp_path / "clips"), str(out), captions=captions_of("a bus"))


def test_a_table_of_words_alone(tmp_path: Path, out: Path) -> None:
    source = put(tmp_path / "rows.csv", "output_image,prompt\nmade/cup.jpg,a cup\n")
    from_table(str(source), str(out), rig=ONE)
    assert [(clip.id, clip.prompts) for clip in made(out, TEXT2IMAGE)] == [("cup", ("a cup",))]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("views\nfront_wide", "found `views` 'front_wide', expected one, `video`"),
        ("n_views\n3", "found `n_views` 3, expected one, `video`"),
        ("num_conditional_frames\n2", "num_conditional_frames"),
    ],
)
def test_rows_that_no_model_of_one_view_takes_are_refused_by_their_place(
    tmp_path: Path, out: Path, row: str, words: str
) -> None:
    name, value = row.split("\n")
    source = put(tmp_path / "rows.csv", f"id,prompt,input_video,{name}\na,a bus,a.mp4,{value}\n")
    with pytest.raises(ManifestError, match=rf"(?s){source}.*{words}"):
        from_table(str(source), str(out), rig=ONE)


def test_the_published_lists_of_items_with_and_without_an_input(tmp_path: Path, out: Path) -> None:
    items: list[dict[str, Any]] = [{"input_video": "a.jpg", "prompt": "a bus", "output_video": "made/bus.mp4"}]
    source = put(tmp_path / "items.json", items)
    from_batch_json(str(source), str(out), rig=ONE)
    assert [(clip.id, clip.frames) for clip in made(out, VIDEO2WORLD)] == [("bus", ((f"{tmp_path}/a.jpg",),))]
    put(source, [{"prompt": "a cup", "output_image": "made/cup.jpg"}, {"prompt": "a bus"}])
    from_batch_json(str(source), str(out), rig=ONE)
    assert [clip.id for clip in made(out, TEXT2IMAGE)] == ["cup", "output_1"]
    with pytest.raises(
        ManifestError, match=r"models of one view .`--cameras video`., and this one has no `input_video`$"
    ):
        from_batch_json(str(source), str(out))


def test_a_spec_of_several_cameras_gives_one_of_them(tmp_path: Path, out: Path) -> None:
    spec = {"name": "a", "prompt": "a bus", "front_wide": {"video_path": "f.mp4"}, "rear": {"video_path": "r.mp4"}}
    source = put(tmp_path / "spec.json", spec)
    from_multiview_json([str(source)], str(out), rig=rig_of("front_wide=video"))
    assert made(out, VIDEO2WORLD)[0].inputs == (f"{tmp_path}/f.mp4",)
    with pytest.raises(ManifestError, match="two cameras for the view video, `front_wide` and `rear`"):
        from_multiview_json([str(source)], str(out), rig=ONE)
    put(source, {"name": "a", "prompt": "a bus", "cam": {"video_path": "f.mp4"}, "tags": ["x"], "note": {"y": 1}})
    for rig in (ONE, rig_of("cam=video")):
        built = from_multiview_json([str(source)], str(out), rig=rig)
        assert [words.partition(":")[0] for words in built.warnings] == ["keys of a spec that are not used"]
        assert made(out, VIDEO2WORLD)[0].inputs == (f"{tmp_path}/f.mp4",)


def test_variations_of_such_a_manifest_are_such_a_manifest(tmp_path: Path, out: Path) -> None:
    put(tmp_path / "c" / "cup.jpg")
    from_folder(str(tmp_path / "c"), str(tmp_path / "m.parquet"), rig=ONE, captions=captions_of("a cup"))
    vary(str(tmp_path / "m.parquet"), str(out), variations_of(["colour=red,blue"], "{prompt} In {colour}.", "0:2"))
    found = made(out, VIDEO2WORLD)
    assert [clip.id for clip in found][:2] == ["cup.colour-red.seed-0", "cup.colour-red.seed-1"]
    assert {clip.frames for clip in found} == {((f"{tmp_path}/c/cup.jpg",),)}
    assert found[-1].prompts == ("a cup In blue.",)


def test_what_says_it_twice_or_cannot_be_is_refused(tmp_path: Path, out: Path) -> None:
    assert rig_of(views="video").is_one_view
    assert rig_of("video", n_views=1).is_one_view
    for cameras in ("a=video,b=rear", "a=video,b=video"):
        with pytest.raises(ManifestError, match="expected one camera of `video`"):
            rig_of(cameras)
    for said in ({"views": "rear"}, {"n_views": 2}):
        with pytest.raises(ManifestError, match="the one view that --cameras tells of"):
            rig_of("video", **said)
    put(tmp_path / "rows.csv", "id,prompt,views\na,a bus,video\n")
    with pytest.raises(ManifestError, match="`--cameras video` is for those"):
        from_table(str(tmp_path / "rows.csv"), str(out))
    with pytest.raises(ManifestError, match="--windows: it cuts seven cameras"):
        from_folder(str(tmp_path), str(out), rig=ONE, windows=Windows(str(tmp_path / "w")))
