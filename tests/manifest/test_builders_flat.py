"""Clips that are files of one folder: which of them are one camera's, and whose captions are whose."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.manifests import clips, put, read

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.caption_files import captions_of
from cosmos_ray.manifest.builders.folder import from_folder
from cosmos_ray.manifest.builders.notes import Built
from cosmos_ray.manifest.builders.rig import Rig, rig_of
from cosmos_ray.manifest.cameras import camera_names


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return tmp_path / "flat"


def build(flat: Path, *names: str, rig: Rig | None = None, prompt: str | None = "A street.") -> Built:
    for name in names:
        put(flat / name, f"told by {name}" if name.endswith(".txt") else b"")
    return from_folder(str(flat), str(flat.parent / "out.parquet"), captions=captions_of(prompt), rig=rig)


def rows(flat: Path) -> dict[str, tuple[list[str] | None, dict[str, str] | str, object]]:
    return {
        row["id"]: (row.get("views"), row.get("input_videos") or row.get("input_video"), row["prompt"])
        for row in read(flat.parent / "out.parquet")
    }


def test_cameras_of_one_clip_beside_each_other_are_its_cameras(flat: Path) -> None:
    names = [f"{clip}_{camera}.mp4" for clip in ("day-1", "night") for camera in ("FrontWide", "rear")]
    build(flat, *names, rig=rig_of("frontwide=front_wide,rear=rear"))
    expected = {"front_wide": "flat/day-1_FrontWide.mp4", "rear": "flat/day-1_rear.mp4"}
    assert rows(flat)["day-1"] == (["front_wide", "rear"], expected, "A street.")
    assert set(rows(flat)) == {"day-1", "night"}
    assert len(clips(flat.parent / "out.parquet")[0].inputs) == 2


def test_two_cameras_are_a_sign_where_none_were_told(flat: Path) -> None:
    build(flat, "a_front_wide.mp4", "a_rear_left.MP4", "b.front_wide.mp4", "b.rear_left.mp4", "b.txt")
    assert {clip: (views, prompt) for clip, (views, _, prompt) in rows(flat).items()} == {
        "a": (["front_wide", "rear_left"], "A street."),
        "b": (["front_wide", "rear_left"], "told by b.txt"),
    }


def test_a_caption_of_the_clip_is_a_sign(flat: Path) -> None:
    build(flat, "a_camera_rear_tele_30fov.mp4", "a.txt", prompt=None)
    assert rows(flat) == {"a": (["rear"], {"rear": "flat/a_camera_rear_tele_30fov.mp4"}, "told by a.txt")}


def test_a_file_of_all_views_may_be_named_like_a_camera_if_its_caption_says_so(flat: Path) -> None:
    build(flat, "car_rear.mp4", "car_rear.txt", prompt=None)
    assert rows(flat) == {"car_rear": (None, "flat/car_rear.mp4", "told by car_rear.txt")}


def test_each_camera_may_have_a_caption(flat: Path) -> None:
    """Two cameras of one clip are that, whatever lies beside each."""
    build(flat, "a_rear.mp4", "a_front_wide.mp4", "a_front_wide.txt", "a_rear.txt", prompt=None)
    assert rows(flat)["a"][2] == ["told by a_front_wide.txt", "told by a_rear.txt"]
    with pytest.raises(ManifestError, match=r"found a.txt and captions of its cameras, expected one of them"):
        build(flat, "a.txt")


def test_a_camera_that_is_not_to_be_used_is_no_clip(flat: Path) -> None:
    built = build(flat, "a_front.mp4", "a_cabin.mp4", "a.cabin.mp4", rig=rig_of("front=front_wide,cabin="))
    assert rows(flat) == {"a": (["front_wide"], {"front_wide": "flat/a_front.mp4"}, "A street.")}
    assert built.warnings == ("cameras that are not used: 2: a.cabin.mp4; a_cabin.mp4",)


@pytest.mark.parametrize(
    "names", [("a_rear.mp4", "a.rear.mp4"), ("a.mp4", "a_rear.mp4", "a.txt"), ("a.front_wide.mp4", "a.mp4")]
)
def test_two_files_for_one_place_are_refused(flat: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ManifestError, match=r"two files for (rear|the clip) a"):
        build(flat, *names, rig=rig_of("rear=rear"))


def test_one_alone_without_a_sign_is_refused_with_the_ways_out(flat: Path) -> None:
    with pytest.raises(ManifestError, match=r"a_rear.mp4 is named like the video of one camera.*another camera of the"):
        build(flat, "a_rear.mp4")


@pytest.mark.parametrize(
    ("name", "told", "expected"),
    [
        ("drive-1_front_wide", None, ("drive-1", "front_wide")),
        ("x_rear_left", None, ("x", "rear_left")),
        ("x_rear_left", "left=cross_left", ("x", "rear_left")),
        ("x_left", "left=cross_left", ("x", "cross_left")),
        ("seg 3 - FRONT LEFT", "front_left=cross_left", ("seg 3", "cross_left")),
        ("2026.01.05_rear", None, ("2026.01.05", "rear")),
        ("a.b_cabin", "cabin=,front=front_wide", ("a.b", None)),
        ("a_camera_cabin", "cabin=,front=front_wide", ("a", None)),
        ("clip.camera_front_tele_30fov", None, ("clip", "front_tele")),
        ("clip.front_wide_of_ours", None, ("clip", "front_wide")),
        ("front_wide", None, None),
        ("rearing", None, None),
        ("a_front", None, None),
    ],
)
def test_a_name_is_a_clips_and_then_a_cameras(
    name: str, told: str | None, expected: tuple[str, str | None] | None
) -> None:
    assert camera_names(told).split(name) == expected
