"""Render the demo's input: a few clips of the sample drive and a manifest that shows every kind of row.

    python datasets/make_sample.py --out DIR [--height 64 --width 112 --seed 0]

    DIR/clips/{day,dusk,rain}/<view>.mp4   one mp4 a camera
    DIR/clips/{day,dusk,rain}/video.mp4    the views one after the other in time, in view order
    DIR/clips/{day,dusk,rain}/caption.txt
    DIR/manifest.parquet                   six rows; one of them is bad on purpose

A second run with the same parameters finds the clips' stamps and renders nothing.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sample_drive import PALETTES, VIEWS, Scene, caption, render, scene_from_seed, view_captions

from cosmos_ray import signals
from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.store.storage import Storage

RENDERER = 1  # raise it when the same scene gives other pixels or files
STAMP = ".stamp.json"

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.list_(pa.string())),  # one caption, or one a view: a column has one type
        ("input_video", pa.string()),
        ("input_videos", pa.struct([(view, pa.string()) for view in VIEWS])),
        ("num_conditional_frames", pa.int64()),
        ("seed", pa.int64()),
        ("num_steps", pa.int64()),
        ("num_samples", pa.int64()),
        ("fps", pa.int64()),
        ("palette", pa.string()),  # not a column of ours: carried into the index untouched
    ]
)


def write_clip(
    directory: Path,
    scene: Scene,
    height: int,
    width: int,
    num_frames: int = 29,
    fps: int = 10,
    start_time: float = 0.0,
) -> bool:
    """Write a scene's seven mp4s, `video.mp4` (the views in time, in order) and `caption.txt` into `directory`.

    Returns False if they are there already, made with the same parameters; a stamp, written last, says so.
    """
    stamp = json.dumps(
        {
            "renderer": RENDERER,
            "scene": asdict(scene),
            "size": [num_frames, height, width],
            "fps": fps,
            "start_time": start_time,
        },
        sort_keys=True,
    )
    stamp_file = directory / STAMP
    names = [*(f"{view}.mp4" for view in VIEWS), "video.mp4", "caption.txt"]
    if stamp_file.is_file() and stamp_file.read_text() == stamp and all((directory / name).is_file() for name in names):
        return False
    directory.mkdir(parents=True, exist_ok=True)
    stamp_file.unlink(missing_ok=True)
    write_views(directory, render(scene, height, width, num_frames, fps, start_time=start_time), fps)
    (directory / "caption.txt").write_text(caption(scene) + "\n")
    stamp_file.write_text(stamp)
    return True


def write_views(directory: Path, frames: Mapping[str, np.ndarray], fps: int) -> None:
    """Write {view: uint8 [T, H, W, 3]} of all VIEWS as one mp4 a view, and joined in time as `video.mp4`."""
    there = Storage(str(directory))
    for view in VIEWS:
        there.write(f"{view}.mp4", encode_mp4(frames[view], fps))
    joined = np.concatenate([frames[view] for view in VIEWS])  # [V * T, H, W, 3]
    there.write("video.mp4", encode_mp4(joined, fps))


def write_manifest(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows (columns left out are null) as a Parquet manifest; its references are relative to its folder."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=_SCHEMA), buffer)
    Storage(str(path.parent)).write(path.name, buffer.getvalue())


def demo_scenes(seed: int) -> dict[str, Scene]:
    """One scene a palette, each the first from `seed` on that has two cars or more."""
    scenes: dict[str, Scene] = {}
    for number in itertools.count(seed * 1000):
        scene = scene_from_seed(number)
        if len(scene.cars) >= 2:
            scenes.setdefault(scene.palette, scene)
        if len(scenes) == len(PALETTES):
            break
    scenes["rain"] = replace(scenes["rain"], streaks=20)
    return {name: scenes[name] for name in PALETTES}


def demo_rows(scenes: Mapping[str, Scene], seed: int, fps: int = 10) -> list[dict[str, Any]]:
    """The demo's six rows; `num_steps` is left to the model. The last one asks for an input that does not exist."""
    day, dusk, rain = scenes["day"], scenes["dusk"], scenes["rain"]

    def cameras(name: str) -> dict[str, str]:
        return {view: f"clips/{name}/{view}.mp4" for view in VIEWS}

    rows: list[dict[str, Any]] = [
        {"id": "text2world-dusk", "prompt": [caption(dusk)], "num_conditional_frames": 0, "palette": "dusk"},
        {
            "id": "image2world-day",
            "prompt": [caption(day)],
            "input_videos": cameras("day"),
            "num_conditional_frames": 1,
            "palette": "day",
        },
        {
            "id": "video2world-rain",
            "prompt": [caption(rain)],
            "input_video": "clips/rain/video.mp4",
            "num_conditional_frames": 5,
            "palette": "rain",
        },
        {
            "id": "caption-a-view-dusk",
            "prompt": view_captions(dusk),
            "input_videos": cameras("dusk"),
            "num_conditional_frames": 1,
            "palette": "dusk",
        },
        {
            "id": "two-samples-day",
            "prompt": [caption(day)],
            "num_conditional_frames": 0,
            "num_samples": 2,
            "palette": "day",
        },
        {
            "id": "missing-input",
            "prompt": [caption(day)],
            "input_video": "clips/missing/video.mp4",
            "num_conditional_frames": 1,
            "palette": "day",
        },
    ]
    return [{"num_samples": 1, **row, "seed": seed + number, "fps": fps} for number, row in enumerate(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the sample drive's clips and their manifest.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--height", type=int, default=64, help="pixels, even (default 64)")
    parser.add_argument("--width", type=int, default=112, help="pixels, even (default 112)")
    parser.add_argument("--seed", type=int, default=0, help="chooses the scenes, and the rows' seeds (default 0)")
    arguments = parser.parse_args()
    if arguments.height < 2 or arguments.width < 2 or arguments.height % 2 or arguments.width % 2:
        parser.error(f"found --height {arguments.height} --width {arguments.width}, expected even numbers from 2")
    if arguments.seed < 0:
        parser.error(f"found --seed {arguments.seed}, expected 0 or more")
    scenes = demo_scenes(arguments.seed)
    for name, scene in scenes.items():
        made = write_clip(arguments.out / "clips" / name, scene, arguments.height, arguments.width)
        print(f"clips/{name}: {'rendered' if made else 'there already'}. {caption(scene)}")
    rows = demo_rows(scenes, arguments.seed)
    write_manifest(arguments.out / "manifest.parquet", rows)
    print(f"{arguments.out / 'manifest.parquet'}: {len(rows)} rows")


if __name__ == "__main__":
    signals.hear()
    main()
