"""LeRobot's own package reads what is exported: tables, tasks, and frames by its decoder.

`tests/tools/lerobot install` brings it, into an environment of its own: it asks for other versions of our libraries.
Its sibling, by the published layout: `test_export_columns.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from support.exported import commit_clip

from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.output.export import export
from cosmos_ray.store.storage import Storage

PYTHON = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "cosmos-ray-tests/lerobot/bin/python")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON.exists(), reason="LeRobot is not installed: tests/tools/lerobot install"),
]

READ = """
import json, sys
from importlib.metadata import version
from lerobot.datasets.lerobot_dataset import LeRobotDataset

data = LeRobotDataset("somebody/drives", root=sys.argv[1], video_backend=sys.argv[2])
frames = [data[index] for index in range(len(data))]
print(json.dumps({
    "version": version("lerobot"), "episodes": data.num_episodes, "frames": data.num_frames, "fps": data.fps,
    "cameras": list(data.meta.camera_keys), "ids": list(data.meta.episodes["id"]),
    "tasks": [one["task"] for one in frames], "of": [int(one["episode_index"]) for one in frames],
    "times": [round(float(one["timestamp"]), 4) for one in frames],
    "shapes": [list(one[name].shape) for one in frames for name in data.meta.camera_keys],
    "means": {name: [(255 * one[name]).mean(dim=(1, 2)).tolist() for one in frames] for name in data.meta.camera_keys},
}))
"""


def read(folder: Path, home: Path, backend: str) -> dict[str, Any]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    environment.pop("PYTHONPATH", None)
    command = [str(PYTHON), "-c", READ, str(folder), backend]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "libtorchcodec" in done.stderr:
        pytest.skip("torchcodec finds no FFmpeg: it takes the system's shared libraries, of version 4 to 8")
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def as_bt601(path: Path) -> np.ndarray:
    """As PyAV makes RGB of a video for LeRobot: by BT.601's matrix, although ours say BT.709. uint8 [5, 16, 16, 3]."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vf"]
    command += ["scale=in_color_matrix=bt601:in_range=tv,format=rgb24", "-f", "rawvideo", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(5, 16, 16, 3)


@pytest.mark.parametrize("backend", ["pyav", "torchcodec"])
def test_lerobot_itself_reads_tables_and_frames(backend: str, tmp_path: Path) -> None:
    output = Storage(str(tmp_path / "out"))
    for clip_id in "abc":
        commit_clip(output, clip_id, views=2)
    export(output.uri, "lerobot", str(tmp_path / "to"), lambda _: None)
    found = read(tmp_path / "to", tmp_path / "home", backend)
    cameras = ["observation.images.front_wide", "observation.images.cross_right"]
    assert (found["episodes"], found["frames"], found["fps"], found["cameras"]) == (3, 15, 10, cameras)
    assert found["ids"] == ["a", "b", "c"]
    assert found["of"] == [0] * 5 + [1] * 5 + [2] * 5
    assert found["tasks"] == [f"Street {clip_id}, 0." for clip_id in "abc" for _ in range(5)]
    assert found["times"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4] * 3)
    assert {tuple(shape) for shape in found["shapes"]} == {(3, 16, 16)}
    for camera in cameras:
        view = camera.rpartition(".")[2]
        path = Path(output.uri, f"clips/a/1/{view}.mp4")
        frames = as_bt601(path) if backend == "pyav" else decode_mp4(path)
        assert np.allclose(found["means"][camera][:5], frames.mean(axis=(1, 2)), atol=1)
