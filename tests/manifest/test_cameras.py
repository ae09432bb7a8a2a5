"""Cameras' names: which view each means, and that a name which could be anything is refused."""

from __future__ import annotations

import pytest

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.cameras import PRESETS, camera_names, check_views, view_of
from cosmos_ray.output.clip_copy import CAMERAS


@pytest.mark.parametrize(
    ("name", "view"),
    [
        *[(view, view) for view in VIEWS],
        *[(f"camera_{view}_120fov", view) for view in VIEWS],
        *[(name, view) for view, name in CAMERAS.items()],
        ("camera_rear_tele_30fov", "rear"),
        ("camera_front_tele_sat_30fov", "front_tele"),
        ("urban_freeway_rear_30fov", "rear"),
        ("Drive-7.Front-Tele", "front_tele"),
        ("4e53b568-3dcd.camera_cross_left_120fov", "cross_left"),
    ],
)
def test_nvidias_names_need_no_telling(name: str, view: str) -> None:
    assert view_of(name) == view


@pytest.mark.parametrize(
    "name", ["camera_7", "front", "rearview", "front_wide_cross_left", "pinhole_side_left", "front_wide_rear"]
)
def test_names_that_could_be_anything_are_refused(name: str) -> None:
    with pytest.raises(ManifestError, match=f"camera name '{name}'"):
        view_of(name)


@pytest.mark.parametrize(
    ("preset", "name", "view"),
    [
        ("waymo", "FRONT", "front_wide"),
        ("waymo", "FRONT_LEFT", "cross_left"),
        ("waymo", "segment-103_side_right", "rear_right"),
        ("waymo", "pinhole_front_right", "cross_right"),
        ("nuscenes", "CAM_FRONT", "front_wide"),
        ("nuscenes", "CAM_BACK", "rear"),
        ("nuscenes", "CAM_BACK_LEFT", "rear_left"),
        ("argoverse2", "ring_front_center", "front_wide"),
        ("argoverse2", "ring_rear_right", "rear_right"),
        ("argoverse2", "ring_side_left", None),
        ("argoverse2", "stereo_front_left", None),
        ("physicalai-av", "camera_rear_tele_30fov", "rear"),
        ("rds-hq", "pinhole_side_left", "rear_left"),
        ("rds-hq", "ftheta_camera_rear_left_70fov", "rear_left"),
    ],
)
def test_data_sets_are_told_by_one_word(preset: str, name: str, view: str | None) -> None:
    assert camera_names(preset).view_of(name) == view


#: As each data set's own pages say where its cameras look.
RIGS = {
    "waymo": {"FRONT": "front_wide", "FRONT_RIGHT": "cross_right", "SIDE_RIGHT": "rear_right",
              "SIDE_LEFT": "rear_left", "FRONT_LEFT": "cross_left"},
    "nuscenes": {"CAM_FRONT": "front_wide", "CAM_FRONT_RIGHT": "cross_right", "CAM_BACK_RIGHT": "rear_right",
                 "CAM_BACK": "rear", "CAM_BACK_LEFT": "rear_left", "CAM_FRONT_LEFT": "cross_left"},
    "argoverse2": {"ring_front_center": "front_wide", "ring_front_right": "cross_right",
                   "ring_rear_right": "rear_right", "ring_rear_left": "rear_left", "ring_front_left": "cross_left",
                   "ring_side_right": None, "ring_side_left": None, "stereo_front_left": None,
                   "stereo_front_right": None},
    "physicalai-av": {},
    "rds-hq": {"pinhole_front": "front_wide", "pinhole_front_right": "cross_right",
               "pinhole_side_right": "rear_right", "pinhole_side_left": "rear_left",
               "pinhole_front_left": "cross_left"},
}  # fmt: skip


@pytest.mark.parametrize("preset", RIGS)
def test_every_camera_of_a_data_set_has_its_view(preset: str) -> None:
    assert {name: camera_names(preset).view_of(name) for name in RIGS[preset]} == RIGS[preset]
    words = {name.lower(): view for name, view in RIGS[preset].items()}
    assert dict(camera_names(preset).views) == words


def test_files_named_like_a_cameras_are_known() -> None:
    plain, told = camera_names(None), camera_names("left=cross_left")
    for name in ("drive-1_front_wide", "camera_rear_tele_30fov", "rear_120fov", "rear"):
        assert plain.ends_with_one(name), name
    for name in ("drive_left", "front_wide_2", "rearview"):
        assert not plain.ends_with_one(name), name
    assert told.ends_with_one("drive_left")
    assert [told.ends_with_told(name) for name in ("drive_left", "left", "drive_rear", "cleft")] == [True] + [False] * 3
    assert not camera_names("video").ends_with_one("rear")
    assert [told.is_told(name) for name in ("Left", "drive_left", "cross_left")] == [True, False, False]


def test_views_may_be_named_by_the_cameras_own_names() -> None:
    names = camera_names("cam0=front_wide,cam1=rear")
    assert names.views_named("cam1, front_tele cam0", "x") == ("rear", "front_tele", "front_wide")
    assert names.views_named(["video"], "x") == ("video",)
    with pytest.raises(ManifestError, match="x: found 'cam1, rear', expected each view once"):
        names.views_named("cam1, rear", "x")
    with pytest.raises(ManifestError, match="x: found 'cam2', expected names of front_wide"):
        names.views_named("cam2", "x")


def test_a_data_set_whose_clips_are_whole_says_which_cameras_they_have() -> None:
    five = ("front_wide", "cross_right", "rear_right", "rear_left", "cross_left")
    assert {preset: camera_names(preset).rig for preset in PRESETS} == {
        "waymo": five,
        "argoverse2": five,
        "nuscenes": VIEWS[:6],
        "physicalai-av": None,
        "rds-hq": None,
        "video": ("video",),
    }


def test_a_fleet_names_its_own() -> None:
    names = camera_names("cam0=front_wide, left rear=rear_left,front_tele=rear,lidar_cam=")
    assert names.rig == ("front_wide", "rear", "rear_left")
    assert [names.view_of(name) for name in ("CAM0", "drive_7-Left-Rear", "front_tele", "lidar_cam")] == [
        "front_wide",
        "rear_left",
        "rear",
        None,
    ]
    with pytest.raises(ManifestError, match="camera name 'cam0_zoomed': found no view in it, expected one of front_w"):
        names.view_of("cam0_zoomed")


@pytest.mark.parametrize("told", ["left=,rear left=video", "rear left=video,left="])
def test_of_told_names_inside_each_other_the_longer_one_is_the_one_view(told: str) -> None:
    names = camera_names(told)
    assert [names.view_of(name) for name in ("drive-7_rear_left", "drive-7_left", "drive-7_front")] == [
        "video",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "kitti",
            "found 'kitti', expected one of argoverse2, nuscenes, physicalai-av, rds-hq, waymo, video, or NAME=VIEW",
        ),
        ("a=front", "found 'a=front', expected NAME=VIEW with a view of front_wide, "),
        ("a=front_wide,b", "found 'b', expected NAME=VIEW"),
        ("=front_wide", "found '=front_wide'"),
        ("a=rear,A=front_wide", "found 'A' twice"),
    ],
)
def test_what_cameras_cannot_be_is_said(text: str, complaint: str) -> None:
    with pytest.raises(ManifestError, match=f"--cameras: {complaint}"):
        camera_names(text)


def test_a_fleet_may_have_more_cameras_than_the_rig() -> None:
    """Those that are not used are told of beside the seven, in whichever order."""
    told = [*(f"used{number}={view}" for number, view in enumerate(VIEWS)), *(f"other{n}=" for n in range(8))]
    for pairs in (told, told[::-1]):
        names = camera_names(",".join(pairs))
        assert names.rig == VIEWS
        assert [names.view_of(f"used{number}") for number in range(len(VIEWS))] == list(VIEWS)
        assert [names.view_of(f"other{number}") for number in range(8)] == [None] * 8


def test_lists_of_views_keep_their_order() -> None:
    assert check_views("rear,front_wide", "x") == check_views(["rear", "front_wide"], "x") == ("rear", "front_wide")
    for found, complaint in (("", "expected names"), ("rear, back", "expected names"), (["rear", "rear"], "each view")):
        with pytest.raises(ManifestError, match=f"x: found .*{complaint}"):
            check_views(found, "x")
