"""The builder of nuScenes: six cameras, pictures nearest to each instant, ids that stay.

On a small set in the data set's own layout: two scenes, cameras at 12 Hz that look one after the other, a lidar.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.manifests import clips, put, read

from cosmos_ray.clip.encode import encode_jpeg
from cosmos_ray.clip.family import VIDEO2WORLD
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.caption_files import captions_of
from cosmos_ray.manifest.builders.nuscenes import from_nuscenes
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.rows import RowDefaults, clips_of_row

#: In the views' order, and how long after the key frame's instant each looks, in microseconds.
CHANNELS = {
    "CAM_FRONT": 4_000,
    "CAM_FRONT_RIGHT": 12_000,
    "CAM_BACK_RIGHT": 20_000,
    "CAM_BACK": -30_000,
    "CAM_BACK_LEFT": -20_000,
    "CAM_FRONT_LEFT": -4_000,
}
PERIOD = 83_333
START = 1_532_402_927_000_000


@dataclass
class DataSet:
    """tables: as they are written; `write` writes them again."""

    root: Path
    tables: dict[str, list[dict[str, Any]]]

    def write(self) -> None:
        for name, rows in self.tables.items():
            put(self.root / "v1.0-mini" / f"{name}.json", json.dumps(rows))

    def build(self, **options: Any) -> Any:
        return from_nuscenes(str(self.root), str(self.root.parent / "m.parquet"), **options)

    def rows(self) -> list[dict[str, Any]]:
        return read(self.root.parent / "m.parquet")


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    """Two scenes of 13 key frames, 6 pictures of each camera from one to the next: 6 seconds."""
    root = tmp_path / "nuscenes"
    picture = encode_jpeg(np.zeros((18, 32, 3), np.uint8))
    tables: dict[str, list[dict[str, Any]]] = {
        "scene": [{"token": f"s{k}", "name": f"scene-{k:04d}", "description": f"Street {k}, rain"} for k in (61, 103)],
        "sensor": [{"token": channel, "channel": channel, "modality": "camera"} for channel in CHANNELS],
        "calibrated_sensor": [{"token": f"cs-{channel}", "sensor_token": channel} for channel in CHANNELS],
        "sample": [],
        "sample_data": [],
    }
    tables["sensor"].append({"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"})
    tables["calibrated_sensor"].append({"token": "cs-lidar", "sensor_token": "lidar"})
    for scene in (103, 61):
        for number in range(13 * 6 - 5):
            stamp = START + scene * 100_000_000 + number * PERIOD
            is_key = number % 6 == 0
            token = f"{scene}-{number // 6}"
            if is_key:
                tables["sample"].append({"token": token, "scene_token": f"s{scene}", "timestamp": stamp})
            common = {"sample_token": token, "is_key_frame": is_key}
            tables["sample_data"].append(
                {**common, "calibrated_sensor_token": "cs-lidar", "timestamp": stamp, "filename": "sweeps/L/1.bin"}
            )
            for channel, late in CHANNELS.items():
                folder = "samples" if is_key else "sweeps"
                name = f"{folder}/{channel}/n015__{channel}__{stamp + late}.jpg"
                put(root / name, picture)
                tables["sample_data"].append(
                    {**common, "calibrated_sensor_token": f"cs-{channel}", "timestamp": stamp + late, "filename": name}
                )
    tables["sample_data"].reverse()
    found = DataSet(root, tables)
    found.write()
    return found


def test_one_camera_is_the_input_of_a_model_of_one_view(data: DataSet) -> None:
    data.build(rig=rig_of("CAM_FRONT=video"), frames=1)
    rows = data.rows()
    assert [list(row["input_frames"]) for row in rows] == [["video"]] * len(rows)
    assert {"views", "n_views"}.isdisjoint(rows[0])
    assert "/CAM_FRONT/" in rows[0]["input_frames"]["video"][0]
    defaults = RowDefaults(1, 35, 7.0, "", family=VIDEO2WORLD.name)
    assert {clip.error for row in rows for clip in clips_of_row(row, defaults, str(data.root.parent))} == {None}


@pytest.mark.parametrize("cameras", ["video", ",".join(f"{channel}=rear" for channel in CHANNELS)])
def test_pictures_of_two_cameras_are_not_mixed(data: DataSet, cameras: str) -> None:
    with pytest.raises(
        ManifestError, match=r"two cameras for the view (video|rear), `CAM_FRONT` and `CAM_FRONT_RIGHT`"
    ):
        data.build(rig=rig_of(cameras))


def test_clips_start_from_the_pictures_nearest_to_each_instant(data: DataSet, tmp_path: Path) -> None:
    built = data.build()
    found = clips(tmp_path / "m.parquet")
    assert [clip.id for clip in found] == [f"scene-{k}_{number:03d}" for k in ("0061", "0103") for number in (1, 7)]
    first = found[0]
    assert (first.cameras, first.num_conditional_frames, first.fps) == (VIEWS[:6], 5, 10)
    assert first.prompts == ("Street 61, rain",)
    end = START + 61 * 100_000_000 + 6 * PERIOD
    for (channel, late), frames in zip(CHANNELS.items(), first.frames, strict=True):
        stamps = [START + 61 * 100_000_000 + number * PERIOD + late for number in range(73)]
        nearest = [min(stamps, key=lambda at: abs(at - (end - k * 100_000))) for k in (4, 3, 2, 1, 0)]
        assert [int(Path(uri).stem.rpartition("__")[2]) for uri in frames] == nearest
        assert all(f"/{channel}/" in uri and Path(uri).exists() for uri in frames)
    (row, *_) = data.rows()
    assert row["views"] == list(VIEWS[:6])
    assert row["input_frames"]["rear"][-1] == f"nuscenes/samples/CAM_BACK/n015__CAM_BACK__{end - 30_000}.jpg"
    assert (row["scene"], row["sample_token"], row["timestamp"]) == ("scene-0061", "61-1", end)
    assert built.warnings == ()
    assert "the picture nearest to each instant, 10 a second: off by " in built.remarks[0]


def test_ids_say_the_key_frame_and_stay(data: DataSet) -> None:
    data.build(stride=1)
    every = {row["id"]: row for row in data.rows()}
    assert len(every) == 24  # the first key frame of a scene has nothing before it
    data.build(stride=4)
    assert [row["id"] for row in data.rows()][:3] == ["scene-0061_001", "scene-0061_005", "scene-0061_009"]
    assert all(every[row["id"]] == row for row in data.rows())
    data.build(frames=1)
    assert [row["id"] for row in data.rows()][:3] == ["scene-0061_000", "scene-0061_006", "scene-0061_012"]
    assert {len(uris) for row in data.rows() for uris in row["input_frames"].values()} == {1}


def test_a_clip_needs_pictures_for_four_times_between_five_frames_and_no_more(data: DataSet) -> None:
    """Half a second at eight frames a second: the first key frame but one has it before it."""
    data.build(fps=8)
    assert data.rows()[0]["id"] == "scene-0061_001"


def test_some_cameras_and_other_captions(data: DataSet, tmp_path: Path) -> None:
    told = {"scene-0103": "told", "scene-0103_007": "of the one clip", "scene-0061_007": "told too", "scene-9": "x"}
    prompts = put(tmp_path / "prompts.json", told)
    captions = captions_of("{scene}: {description}. {weather}", str(prompts))
    built = data.build(captions=captions, rig=rig_of("nuscenes", views="rear,front_wide"))
    rows = data.rows()
    expected = ["scene-0061: Street 61, rain. {weather}", "told too", "told", "of the one clip"]
    assert [row["prompt"] for row in rows] == expected
    assert (rows[0]["views"], list(rows[0]["input_frames"])) == (["rear", "front_wide"], ["rear", "front_wide"])
    assert [words.partition(":")[0] for words in built.warnings] == [
        "clips with cameras that are not asked for, whose inputs are not used",
        f"captions of {prompts} without a clip",
    ]


def test_clips_without_their_pictures_are_left_out_and_counted(data: DataSet) -> None:
    """People download parts of the data set; cameras lose pictures."""
    gone = [row for row in data.tables["sample_data"] if row["filename"].startswith("samples/CAM_BACK/")]
    (data.root / gone[-2]["filename"]).unlink()  # of the second scene's key frame 1: the tables were reversed
    front = [
        row for row in data.tables["sample_data"] if "CAM_FRONT__" in row["filename"] and "sweeps" in row["filename"]
    ]
    data.tables["sample_data"] = [row for row in data.tables["sample_data"] if row not in front[3:15]]
    data.write()
    built = data.build(stride=1)
    assert built.rows == 24 - 1 - 3
    assert [words.partition("; ")[0] for words in built.warnings] == [
        "clips left out because a camera has no pictures in time: 3: scene-0061_010: front_wide",
        f"clips left out because their pictures are not there: 1: scene-0103_001: {gone[-2]['filename']}",
    ]


def test_pictures_may_lie_elsewhere_than_their_tables(data: DataSet, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for folder in ("samples", "sweeps"):
        (data.root / folder).rename(tmp_path / "disk" / folder)
    with pytest.raises(ManifestError, match="gives no clip: clips left out because their pictures are not there"):
        data.build()
    data.build(base=str(tmp_path / "disk"))
    assert data.rows()[0]["input_frames"]["rear"][0].startswith("disk/s")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"fps": 30}, "--fps: found 30, expected at most the 12.0 pictures a second of scene-0061"),
        ({"frames": 3}, r"--frames: found 3, expected 1 or 5"),
        ({"stride": 0}, "--stride, --fps: found 0 and 10"),
        ({"version": "v1.0-trainval"}, r"v1\.0-trainval/scene\.json cannot be read: FileNotFoundError"),
        ({"rig": rig_of("waymo")}, "camera names 'CAM_BACK_RIGHT', 'CAM_BACK', 'CAM_BACK_LEFT': found no"),
    ],
)
def test_what_does_not_fit_is_said(data: DataSet, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ManifestError, match=complaint):
        data.build(**options)


def test_tables_that_do_not_fit_each_other_are_refused(data: DataSet) -> None:
    data.tables["sample_data"][0]["sample_token"] = "nothing"
    data.write()
    with pytest.raises(
        ManifestError, match=r"sample_data\.json names the sample 'nothing', which sample\.json does not"
    ):
        data.build()
    data.tables["scene"][0]["description"] = ""
    data.tables["sample_data"] = data.tables["sample_data"][1:]
    data.write()
    with pytest.raises(ManifestError, match="scene-0061 has no description: `--prompt` gives all clips a caption"):
        data.build()
    data.tables["sample_data"] = [{"token": "a"}]
    data.write()
    with pytest.raises(ManifestError, match="a row has no 'calibrated_sensor_token', as nuScenes has it"):
        data.build()
    data.tables["sample_data"] = []
    data.write()
    with pytest.raises(ManifestError, match="found pictures of no camera; missing front_wide, "):
        data.build()


@pytest.mark.parametrize(
    ("table", "key", "value", "complaint"),
    [
        ("scene", "token", ["a"], r"scene\.json: `token` is \['a'\], expected a text"),
        ("scene", "name", None, r"scene\.json: `name` is None, expected a text"),
        ("scene", "description", 3, "`description` is 3, expected a text or null"),
        ("sensor", "channel", {}, "`channel` is {}, expected a text"),
        ("sample", "timestamp", "\x1b[2J", r"`timestamp` is '\\x1b\[2J', expected microseconds"),
        ("sample_data", "timestamp", 10**400, "expected microseconds, a whole number"),
        ("sample_data", "timestamp", float("nan"), "expected microseconds, a whole number"),
        ("sample_data", "filename", 7, "`filename` is 7, expected a text"),
        ("sample_data", "calibrated_sensor_token", {"a": 1}, "expected a text"),
    ],
)
def test_a_value_of_another_type_is_told_by_its_table_and_key(
    data: DataSet, table: str, key: str, value: Any, complaint: str
) -> None:
    data.tables[table][0][key] = value
    data.write()
    with pytest.raises(ManifestError, match=complaint):
        data.build()


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"token": ' + "1" * 5000 + "}]", '[{"a": ' + "[" * 100_000])
def test_tables_that_python_cannot_read_are_refused(data: DataSet, text: str) -> None:
    put(data.root / "v1.0-mini" / "scene.json", text)
    with pytest.raises(ManifestError, match=r"scene\.json"):
        data.build()


def test_a_picture_that_is_named_twice_is_one(data: DataSet) -> None:
    """As where tables of parts of the data set were put together; another file of the same instant is said."""
    data.build()
    expected = data.rows()
    front = [row for row in data.tables["sample_data"] if "CAM_FRONT__" in row["filename"]]
    data.tables["sample_data"] += [dict(row) for row in front]
    data.write()
    assert data.build().warnings == ()
    assert data.rows() == expected
    data.tables["sample_data"].append({**front[0], "filename": "sweeps/zzz.jpg"})
    data.write()
    assert data.build().warnings == (
        "pictures of a camera that claim the instant of another, which is taken: 1: sweeps/zzz.jpg",
    )
    assert data.rows() == expected


@pytest.mark.filterwarnings("error")
def test_a_scene_that_gives_no_clip_is_said(data: DataSet) -> None:
    """One whose camera took one picture, and one without a key frame; numpy has nothing to say."""
    rear = [row for row in data.tables["sample_data"] if "CAM_BACK__" in row["filename"]]
    lost = [row for row in rear if row["sample_token"].startswith("61")][1:]
    data.tables["sample_data"] = [row for row in data.tables["sample_data"] if row not in lost]
    data.tables["scene"].append({"token": "s7", "name": "scene-0007", "description": "Nothing"})
    data.write()
    built = data.build()
    assert {row["scene"] for row in data.rows()} == {"scene-0103"}
    assert built.warnings[0].startswith("clips left out because a camera has no pictures in time: 2: scene-0061_")
    assert built.warnings[1:] == ("scenes that give no clip: 2: scene-0007; scene-0061",)


def test_pictures_that_all_claim_one_instant_are_a_data_set_like_any_other(data: DataSet) -> None:
    for row in (*data.tables["sample"], *data.tables["sample_data"]):
        row["timestamp"] = START
    data.write()
    assert data.build(frames=1).rows == 6
