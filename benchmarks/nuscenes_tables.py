"""What memory and time does `from-nuscenes` take for tables of the size of v1.0-trainval?

    python benchmarks/nuscenes_tables.py FOLDER [--scenes 850]

Writes JSON tables in the layout of nuScenes (850 scenes of 20 s, 12 sensors, 2.7 million rows in `sample_data`), then
makes a manifest of them. The pictures are not made: all that the tables name count as there, which costs the same
memory. One line of JSON: seconds, and the process's peak memory in MiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # so that it also measures a checkout that is not installed
from reporting import machine, report

from cosmos_ray.manifest.builders import nuscenes

VERSION = "v1.0-trainval"
SCENE_S, KEY_FRAMES = 20, 40
CAMERAS = [f"CAM_{name}" for name in ("FRONT", "FRONT_RIGHT", "BACK_RIGHT", "BACK", "BACK_LEFT", "FRONT_LEFT")]
#: Pictures, sweeps and echoes a second.
RATES = {**dict.fromkeys(CAMERAS, 12), "LIDAR_TOP": 20, **{f"RADAR_{number}": 13 for number in range(5)}}


def token() -> str:
    return uuid.uuid4().hex


def make(folder: Path, scenes: int) -> int:
    """Rows of `sample_data`."""
    tables = folder / VERSION
    tables.mkdir(parents=True, exist_ok=True)
    sensors = {name: token() for name in RATES}
    calibrated = {name: token() for name in RATES}
    small: dict[str, list[dict[str, Any]]] = {
        "sensor": [
            {"token": own, "channel": name, "modality": name.split("_")[0].lower().replace("cam", "camera")}
            for name, own in sensors.items()
        ],
        "calibrated_sensor": [{"token": calibrated[name], "sensor_token": sensors[name]} for name in RATES],
        "scene": [{"token": token(), "name": f"scene-{n:04}", "description": "A street"} for n in range(scenes)],
        "sample": [],
    }
    rows = 0
    with (tables / "sample_data.json").open("w") as file:
        file.write("[\n")
        for number, scene in enumerate(small["scene"]):
            start = 1_500_000_000_000_000 + number * 100_000_000
            keys = [token() for _ in range(KEY_FRAMES)]
            for place, key in enumerate(keys):
                stamp = start + place * 500_000
                small["sample"].append({"token": key, "timestamp": stamp, "scene_token": scene["token"]})
            for name, rate in RATES.items():
                for picture in range(SCENE_S * rate):
                    stamp = start + picture * 1_000_000 // rate
                    folder_name = "samples" if picture % rate == 0 else "sweeps"
                    row = {
                        "token": token(), "sample_token": keys[min(2 * picture // rate, KEY_FRAMES - 1)],
                        "ego_pose_token": token(), "calibrated_sensor_token": calibrated[name], "timestamp": stamp,
                        "fileformat": "jpg", "is_key_frame": folder_name == "samples", "height": 900, "width": 1600,
                        "filename": f"{folder_name}/{name}/n015-2018-07-24-11-22-45+0800__{name}__{stamp}.jpg",
                        "prev": token(), "next": token(),
                    }  # fmt: skip
                    file.write((",\n" if rows else "") + json.dumps(row, indent=0))
                    rows += 1
        file.write("\n]")
    for table, content in small.items():
        (tables / f"{table}.json").write_text(json.dumps(content))
    return rows


def every_file(_: str, scenes: Any) -> set[str]:
    """In the place of a listing."""
    return {str(name) for scene in scenes for found in scene.pictures.values() for _, name in found}


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and seconds of `from-nuscenes`.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=850)
    arguments = parser.parse_args()
    rows = make(arguments.folder, arguments.scenes)
    size = (arguments.folder / VERSION / "sample_data.json").stat().st_size
    nuscenes._files = every_file
    began = time.monotonic()
    built = nuscenes.from_nuscenes(str(arguments.folder), str(arguments.folder / "out.parquet"), version=VERSION)
    report(
        sample_data=rows, bytes=size, clips=built.rows, seconds=round(time.monotonic() - began, 1),
        peak_rss_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), **machine("pyarrow"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
