"""docs/your-data.md: each of its commands is run, on small data in the layouts that the page speaks of."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.manifests import clips, put
from support.pages import commands_of, shown_to
from support.paths import ROOT

from cosmos_ray.clip.encode import encode_jpeg, encode_mp4
from cosmos_ray.manifest.cameras import camera_names

PAGE = (ROOT / "docs" / "your-data.md").read_text()
NVIDIA = ("camera_front_wide_120fov", "camera_rear_tele_30fov")
WAYMO = ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT")
#: Of each manifest: how many rows, and cameras of each.
MADE = {
    "nuscenes": (2, 6),
    "rainy": (1, 6),
    "told": (2, 2),
    "fleet": (1, 3),
    "waymo": (1, 5),
    "physical": (1, 2),
    "again": (1, 2),
    "dashcam": (1, 7),
    "pictures": (1, 2),
    "argoverse2": (1, 5),
    "rows": (2, 2),
    "many": (24, 2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the page's commands read."""
    folder = tmp_path_factory.mktemp("your-data")
    video = encode_mp4(np.zeros((20, 90, 160, 3), np.uint8), 30)
    picture = encode_jpeg(np.zeros((18, 32, 3), np.uint8))
    drive = folder / "fleet" / "drive-17"
    for name in ("front_center.mp4", "left.mov", "right.MP4", "cabin.mp4"):
        put(drive / name, video)
    put(drive / "caption.txt", "A street.")
    put(drive / "params.json", {"seed": 3, "num_conditional_frames": 5})
    for camera in WAYMO:
        put(folder / "waymo" / "segment-1" / f"{camera}.mp4", video)
    for camera in NVIDIA:
        put(folder / "physical-ai" / "camera" / camera / f"u-1.{camera}.mp4", video)
        put(folder / "exported" / "videos" / camera / "drive-1_0.mp4", video)
        for number in range(9):
            put(folder / "pictures" / "one" / camera / f"{number}.jpg", picture)
    put(folder / "uuid_captions.csv", "id,prompt\nu-1,A road\n")
    put(folder / "exported" / "captions" / NVIDIA[0] / "drive-1_0.json", {"caption": "A road"})
    put(folder / "pictures" / "one" / "caption.txt", "A street.")
    put(folder / "dashcam" / "trip.mp4", video)
    put(folder / "dashcam" / "trip.txt", "A motorway.")
    for camera in camera_names("argoverse2").views:
        for number in range(12):
            stamp = 315_966_265_000_000_000 + number * 50_000_000
            put(folder / "argoverse2" / "log" / "sensors" / "cameras" / camera / f"{stamp}.jpg", picture)
    (table,) = re.findall(r"^```\n(id,prompt.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    put(folder / "rows.csv", table)
    put(folder / "captions" / "two.txt", "A road, by day")
    for name in ("1_front", "1_back", "2_front", "2_back"):
        put(folder / "videos" / f"{name}.mp4", video)
    _nuscenes(folder / "nuscenes", picture)
    put(folder / "scene_captions.json", {"scene-0061": "A told street."})
    return folder


def _nuscenes(root: Path, picture: bytes) -> None:
    """One scene of 12 key frames, 2 a second."""
    channels = list(camera_names("nuscenes").views)
    tables: dict[str, list[Mapping[str, object]]] = {
        "scene": [{"token": "s", "name": "scene-0061", "description": "Parked truck"}],
        "sensor": [{"token": name, "channel": name.upper(), "modality": "camera"} for name in channels],
        "calibrated_sensor": [{"token": name, "sensor_token": name} for name in channels],
        "sample": [{"token": str(k), "scene_token": "s", "timestamp": k * 500_000} for k in range(12)],
        "sample_data": [],
    }
    for number in range(12 * 6):
        for name in channels:
            file = f"{'sweeps' if number % 6 else 'samples'}/{name.upper()}/{number}.jpg"
            put(root / file, picture)
            common = {"calibrated_sensor_token": name, "sample_token": str(number // 6)}
            tables["sample_data"].append({**common, "timestamp": number * 83_333, "filename": file})
    for name, rows in tables.items():
        put(root / "v1.0-mini" / f"{name}.json", json.dumps(rows))


@pytest.mark.slow
def test_every_command_of_the_page_does_what_it_says(folder: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    said = ""
    for block in shown_to(__file__, "test_every_command_of_the_page_does_what_it_says"):
        done = subprocess.run(
            ["bash", "-e", "-c", block], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        said += done.stderr
    found = {path.stem: clips(path) for path in sorted(folder.glob("*.parquet"))}
    assert {name: (len(made), len(made[0].cameras)) for name, made in found.items()} == MADE
    assert "warning: cameras that are not used: 1: drive-17/cabin.mp4\n" in said
    assert "columns that are carried into the index as they are: operator\n" in said
    assert found["rainy"][0].prompts == ("A rainy evening in the city. Parked truck",)
    assert found["many"][0].id == "drive-1.hour-dawn.weather-rain.seed-0"
    assert found["rows"][1].prompts == ("A road, by day",)
    inputs = [uri for made in found.values() for clip in made for uri in (*clip.inputs, *sum(clip.frames, ()))]
    assert all(Path(uri).exists() for uri in inputs)


def test_waymos_own_files_become_pictures_as_shown(cosmos_ray: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """As release 2 has them: a row a picture, all cameras of an instant under one time."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "key.segment_context_name": segment,
            "key.frame_timestamp_micros": 1_550_000_000_000_000 + 100_000 * number,
            "key.camera_name": camera,
            "[CameraImageComponent].image": encode_jpeg(np.full((32, 48, 3), 10 * number + camera, np.uint8)),
        }
        for segment in ("1005_000_20", "1024_000_20")
        for number in range(7)
        for camera in range(1, 6)
    ]
    (tmp_path / "camera_image").mkdir()
    for name, part in (("a", rows[:35]), ("b", rows[35:])):
        pq.write_table(pa.Table.from_pylist(part), tmp_path / "camera_image" / f"{name}.parquet")
    unpacking, commands = shown_to(__file__, "test_waymos_own_files_become_pictures_as_shown")
    exec(unpacking, {})
    for words in commands_of(commands):
        assert cosmos_ray(*words[1:]).code == 0
    found = clips(tmp_path / "waymo2.parquet")
    assert [(clip.id, clip.views) for clip in found] == [
        (name, ("front_wide", "cross_right", "rear_right", "rear_left", "cross_left"))
        for name in ("1005_000_20", "1024_000_20")
    ]
    places = [[Path(uri).parts[-3:] for uri in uris] for uris in found[1].frames]
    cameras = ("FRONT", "FRONT_RIGHT", "SIDE_RIGHT", "SIDE_LEFT", "FRONT_LEFT")
    assert [place[0][:2] for place in places] == [("1024_000_20", camera) for camera in cameras]
    assert [name for *_, name in places[0]] == [f"{1_550_000_000_000_000 + 100_000 * n}.jpg" for n in range(2, 7)]


def test_a_table_sweeps_settings_as_shown(cosmos_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip for every combination, each with its own guidance and steps."""
    monkeypatch.chdir(tmp_path)
    table, commands = shown_to(__file__, "test_a_table_sweeps_settings_as_shown")
    exec(table, {})
    planned, listed = (cosmos_ray(*words[1:]) for words in commands_of(commands))
    assert "6 clips" in planned.out
    made = [json.loads(line) for line in listed.out.splitlines()]
    assert {(one["guidance"], one["num_steps"]) for one in made} == {(g, n) for g in (1, 3, 7) for n in (10, 35)}
