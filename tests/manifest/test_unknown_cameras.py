"""Names that are no camera's are named all at once, by every builder, each with the name that it may have meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.batch_json import from_batch_json
from cosmos_ray.manifest.builders.by_camera import from_rds_hq
from cosmos_ray.manifest.builders.folder import from_folder
from cosmos_ray.manifest.builders.multiview_json import from_multiview_json
from cosmos_ray.manifest.builders.nuscenes import from_nuscenes
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.builders.table import from_table
from cosmos_ray.manifest.cameras import camera_names
from cosmos_ray.manifest.unknown_cameras import UnknownCamerasError, unknown_cameras

WRONG = ("frnt_wide", "reer_left", "dashcam")
LISTED = "'frnt_wide' (nearest: front_wide), 'reer_left' (nearest: rear_left), 'dashcam'"


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def folder_of_videos(folder: Path) -> Any:
    for clip, cameras in (("drive-1", WRONG[:1]), ("drive-2", ("rear", *WRONG[:2])), ("drive-3", WRONG[2:])):
        put(folder / clip / "caption.txt", "x")
        for camera in cameras:
            put(folder / clip / f"{clip}_{camera}.mp4")
    return lambda out: from_folder(str(folder), out)


def folder_of_pictures(folder: Path) -> Any:
    for camera in WRONG:
        put(folder / "drive-1" / camera / "1.jpg")
    put(folder / "drive-1" / "caption.txt", "x")
    return lambda out: from_folder(str(folder), out)


def folder_of_loose_pictures(folder: Path) -> Any:
    for camera in ("rear", *WRONG):
        put(folder / "drive-1" / f"{camera}_0001.jpg")
    put(folder / "drive-1" / "caption.txt", "x")
    return lambda out: from_folder(str(folder), out)


def rds_hq(folder: Path) -> Any:
    for camera in ("front_tele", *WRONG):
        put(folder / "videos" / camera / "drive-1.mp4")
    return lambda out: from_rds_hq(str(folder), out)


def table_of_columns(folder: Path) -> Any:
    put(folder / "t.csv", f"id,prompt,{','.join(f'input_videos.{name}' for name in WRONG)}\na,x,1.mp4,2.mp4,3.mp4\n")
    return lambda out: from_table(str(folder / "t.csv"), out)


def table_of_objects(folder: Path) -> Any:
    row = {"id": "a", "prompt": "x", "input_videos": dict.fromkeys(WRONG, "a.mp4")}
    put(folder / "t.jsonl", json.dumps(row))
    return lambda out: from_table(str(folder / "t.jsonl"), out)


def batch(folder: Path) -> Any:
    put(folder / "b.json", json.dumps([{"prompt": "x", "input_videos": dict.fromkeys(WRONG, "a.mp4")}]))
    return lambda out: from_batch_json(str(folder / "b.json"), out)


def multiview(folder: Path) -> Any:
    cameras = {name: {"video_path": "a.mp4"} for name in ("front", *WRONG)}
    put(folder / "m.json", json.dumps({"prompt": "x", "inference_type": "image2world", **cameras}))
    return lambda out: from_multiview_json([str(folder / "m.json")], out)


def nuscenes(folder: Path) -> Any:
    sensors = [{"token": name, "channel": name, "modality": "camera"} for name in (*WRONG, "CAM_FRONT")]
    for table in ("sensor", "calibrated_sensor", "scene", "sample", "sample_data", "log"):
        put(folder / "v1.0-mini" / f"{table}.json", json.dumps(sensors if table == "sensor" else []))
    return lambda out: from_nuscenes(str(folder), out, rig=rig_of("nuscenes"))


@pytest.mark.parametrize(
    "made",
    [
        folder_of_videos, folder_of_pictures, folder_of_loose_pictures, rds_hq, table_of_columns, table_of_objects,
        batch, multiview, nuscenes,
    ],
)  # fmt: skip
def test_all_are_named_in_one_message(made: Any, tmp_path: Path) -> None:
    build = made(tmp_path / "in")
    with pytest.raises(ManifestError) as caught:
        build(str(tmp_path / "m.parquet"))
    listed = str(caught.value)
    for name in WRONG:
        assert f"'{name}'" in listed
    assert "(nearest: front_wide)" in listed
    assert "(nearest: rear_left)" in listed
    assert f"found no view in each, or several, expected one of {', '.join(VIEWS)}" in listed
    assert not (tmp_path / "m.parquet").exists()


def test_a_folders_cameras_are_named_without_their_clip_and_once(tmp_path: Path) -> None:
    with pytest.raises(UnknownCamerasError) as caught:
        folder_of_videos(tmp_path)(str(tmp_path / "m.parquet"))
    assert str(caught.value) == (
        f"{tmp_path}/drive-1: camera names {LISTED}: found no view in each, or several, expected one of "
        f"{', '.join(VIEWS)}; `--cameras frnt_wide=VIEW,reer_left=VIEW,dashcam=VIEW` says which they are, `NAME=` that "
        "one is none, and `video.mp4` is a video of all views, one after the other; `--cameras video` is for models of "
        "one view"
    )


def test_one_name_is_said_with_the_nearest_and_with_the_views_in_it() -> None:
    def said(name: str, cameras: str | None = None) -> str:
        with pytest.raises(UnknownCamerasError) as caught:
            camera_names(cameras).view_of(name)
        return str(caught.value)

    expected = f"expected one of {', '.join(VIEWS)}"
    assert said("drive-7_Frnt-Wide") == (
        f"camera name 'drive-7_Frnt-Wide': found no view in it (nearest: front_wide), {expected}"
    )
    assert said("roof") == f"camera name 'roof': found no view in it, {expected}"
    assert said("front_wide_rear") == (f"camera name 'front_wide_rear': found ['front_wide', 'rear'] in it, {expected}")
    assert said("CAM_FRNT_LEFT", "nuscenes").startswith(
        "camera name 'CAM_FRNT_LEFT': found no view in it (nearest: cam_front_left), expected one of front_wide, "
    )


def test_a_dozen_names_are_said_whole() -> None:
    message = str(unknown_cameras({f"roof{n}": [] for n in range(12)}, VIEWS))
    assert "'roof11': found no view" in message
    assert " more" not in message


def test_a_thousand_names_are_cut() -> None:
    message = str(unknown_cameras({f"roof{n}": [] for n in range(1000)}, VIEWS))
    assert "'roof11' and 988 more: found no view" in message
    assert "roof12" not in message


@pytest.mark.parametrize(
    ("names", "preset"),
    [
        (("CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT"), "nuscenes"),
        (("CAM_FRONT",), "nuscenes"),
        (("cam-front-right", "drive-1_CAM_BACK"), "nuscenes"),
        (("FRONT", "SIDE_LEFT"), "waymo"),
        (("segment-1_SIDE_LEFT",), "waymo"),
        (("ring_front_center", "stereo_front_left"), "argoverse2"),
        (("pinhole_front", "pinhole_side_left"), "rds-hq"),
        (("CAM_FRONT", "dashcam"), None),
        (("my_front",), None),
    ],
)
def test_names_that_a_preset_knows_are_told_so(names: tuple[str, ...], preset: str | None) -> None:
    message = str(unknown_cameras({name: [] for name in names}, VIEWS))
    if preset is None:
        assert "--cameras" not in message
    else:
        assert f"; {preset} calls its cameras so: `--cameras {preset}` knows {'them' if names[1:] else 'it'}" in message


@pytest.mark.parametrize("make", [folder_of_videos, folder_of_pictures, rds_hq])
def test_builders_tell_it(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "WRONG", ("CAM_FRONT", "CAM_BACK", "CAM_BACK_LEFT"))
    with pytest.raises(ManifestError, match="`--cameras nuscenes` knows them"):
        make(tmp_path / "in")(str(tmp_path / "out.parquet"))
    with pytest.raises(ManifestError, match=r"--views: .*`--cameras nuscenes` knows them"):
        rig_of(views="CAM_FRONT,CAM_BACK")
