"""What does preparing a clip cost: its inputs fetched from a local disk, decoded, resized?

    python benchmarks/prepare.py [--model tiny] [--repeat 5] [--folder DIR]

Makes a few videos of moving, noisy pictures with ffmpeg (kept in --folder, where one is named), then calls `prepare` as
a leader of a gang does, once to warm the page cache and --repeat times for the clock. A line of JSON a measurement:
seconds that passed, CPU seconds of this process and of ffmpeg (a busy machine changes them little), bytes read. To
compare two versions run both in one session, in turns, with the same --folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imageio_ffmpeg

sys.path.insert(0, str(Path(__file__).parent.parent))  # so that it also measures a checkout that is not installed
from reporting import machine, report, spread

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.gang.prepare import prepare
from cosmos_ray.manifest.rows import RowDefaults, clips_of_row
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store import traffic

DEFAULTS = RowDefaults(n_views=7, num_steps=1, guidance=3.0, negative_prompt="")


def make(path: Path, size: str, fps: int, seconds: float) -> Path:
    """H.264 with x264's own defaults: key frames at most 250 frames apart, B-frames."""
    if not path.exists():
        picture = f"testsrc2=size={size}:rate={fps}:duration={seconds},noise=alls=6:allf=t"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", picture]
        command += ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", str(path)]
        subprocess.run(command, check=True)
    return path


def cases(folder: Path) -> Mapping[str, dict[str, Any]]:
    """Rows of a manifest, by what they ask for."""
    slow = make(folder / "hd10.mp4", "1280x720", 10, 10)
    fast = make(folder / "hd30.mp4", "1280x720", 30, 10)
    stacked = make(folder / "stacked.mp4", "1280x720", 10, 20.3)
    long = make(folder / "fullhd.mp4", "1920x1080", 30, 40)
    return {
        "7 videos 1280x720, 10 s at 10 frames a second, 5 frames": {"input_videos": [str(slow)] * 7, "n": 5},
        "7 videos 1280x720, 10 s at 30 frames a second, 5 frames": {"input_videos": [str(fast)] * 7, "n": 5},
        "7 videos 1280x720, 10 s at 30 frames a second, 1 frame": {"input_videos": [str(fast)] * 7, "n": 1},
        "1 video of 7 views 1280x720, 20.3 s at 10 frames a second, 5 frames": {"input_video": str(stacked), "n": 5},
        "1 video 1920x1080, 40 s at 30 frames a second, 5 frames": {"input_videos": [str(long)], "n": 5, "n_views": 1},
    }


def cpu_time() -> float:
    """Of this process and the ffmpegs that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds that preparing a clip takes.")
    parser.add_argument("--model", default="tiny", help="name of a model, or a bundle's folder: what size is prepared")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the videos are made and stay")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name, row in cases(folder).items():
            if arguments.only not in name:
                continue
            n_views = row.pop("n_views", len(VIEWS))
            frames = row.pop("n")
            asked = {"id": "a", "prompt": "x", "num_conditional_frames": frames, "n_views": n_views, "fps": 10, **row}
            (clip,) = clips_of_row(asked, DEFAULTS, str(folder))
            assert clip.error is None, clip.error
            seconds, cpu_seconds, read = [], [], 0
            for _ in range(arguments.repeat + 1):
                began, cpu_began = time.perf_counter(), cpu_time()
                traffic.take()
                prepare(clip, bundle, attempt=1)
                read = traffic.take().read
                seconds.append(time.perf_counter() - began)
                cpu_seconds.append(cpu_time() - cpu_began)
            report(
                case=name, model=bundle.name, repeat=arguments.repeat, seconds=spread(seconds[1:]),
                cpu_seconds=spread(cpu_seconds[1:]), read=read, size=sum(os.path.getsize(uri) for uri in clip.inputs),
                **machine("numpy", "imageio-ffmpeg"),
            )  # fmt: skip


if __name__ == "__main__":
    main()
