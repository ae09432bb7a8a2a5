"""Make a seven-camera input of one real video, for trials where nobody has seven cameras.

    python datasets/cut_windows.py --video drive.mp4 --out DIR --id NAME --caption caption.txt
        [--fps 10] [--seconds 2.9] [--start 0] [--height 704 --width 1280]

Seven windows of the target's shape, each --zoom of the largest that fits (0.5 by default), stand side by side at equal
distances across the frame's middle, overlapping. From left to right they become

    rear_left  cross_left  front_wide  front_tele  cross_right  rear_right  rear

so that neighbours in the picture are neighbours round the car (rear, behind the car, has no neighbour of its own in
a picture that looks ahead). `cosmos-ray manifest from-folder --windows` cuts the same ones for a folder of clips, as
pictures of each one's end; here they become videos of any length. Frames: every n-th, n = source rate / --fps, which
must be a whole number (30 fps to 10: every third).

Writes DIR/NAME/<view>.mp4, DIR/NAME/video.mp4 (views one after the other in time, in view order),
DIR/NAME/caption.txt, and DIR/NAME.parquet: a manifest of one row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from make_sample import write_manifest, write_views

from cosmos_ray import signals
from cosmos_ray.clip.frames import inspect_video, read_frames
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.clip.resize import resize_crop
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.manifest.builders.windows import LEFT_TO_RIGHT, windows
from cosmos_ray.manifest.rows import check_id


def frame_indices(source_fps: float, source_frames: int, fps: int, seconds: float, start: float) -> list[int]:
    """Which source frames make `seconds` (s) at `fps` from `start` (s) on. Raises UsageError if there are too few, or
    if the rates are no whole multiple (to 1 %) of each other."""
    step = round(source_fps / fps)
    if step < 1 or abs(source_fps / fps - step) > 0.01 * step:
        raise UsageError(
            f"--fps: found a video of {source_fps:.3f} fps and {fps}, expected a divisor of the video's rate"
        )
    first, count = round(start * source_fps), round(seconds * fps)
    last = first + (count - 1) * step
    if first < 0 or count < 1 or last >= source_frames:
        raise UsageError(
            f"--start, --seconds: found {source_frames} frames ({source_frames / source_fps:.2f} s), expected frames "
            f"{first} to {last}"
        )
    return list(range(first, last + 1, step))


def cut(
    video: Path, size_hw: tuple[int, int], fps: int, seconds: float, start: float = 0.0, zoom: float = 0.5
) -> dict[str, np.ndarray]:
    """{view: uint8 [T, H, W, 3]} in view order, cut out of one mp4. Raises RowError if the file is bad, UsageError if
    it does not fit the rest."""
    info = inspect_video(video)
    frames = read_frames(video, frame_indices(info.fps, info.frames, fps, seconds, start))
    cuts = windows(info.height, info.width, size_hw, zoom)
    return {view: resize_crop(frames[:, cuts[view][0], cuts[view][1]], size_hw) for view in VIEWS}


def main() -> None:
    order = ", ".join(LEFT_TO_RIGHT)
    parser = argparse.ArgumentParser(description=f"Cut seven camera windows out of one video; from the left: {order}.")
    parser.add_argument("--video", type=Path, required=True, help="an mp4")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--id", required=True, help="the clip's id: its sub-folder and its manifest row")
    parser.add_argument("--caption", type=Path, required=True, help="text file; its text becomes the prompt")
    parser.add_argument("--fps", type=int, default=10, help="frames a second to make (default 10)")
    parser.add_argument("--seconds", type=float, default=2.9, help="length to cut (default 2.9: 29 frames at 10 fps)")
    parser.add_argument("--start", type=float, default=0.0, help="where in the video to begin, seconds (default 0)")
    parser.add_argument("--height", type=int, default=704, help="pixels of a view, even (default 704)")
    parser.add_argument("--width", type=int, default=1280, help="pixels of a view, even (default 1280)")
    parser.add_argument("--zoom", type=float, default=0.5, help="window size, share of the largest that fits")
    arguments = parser.parse_args()
    height, width = arguments.height, arguments.width
    try:
        if min(height, width) < 2 or height % 2 or width % 2:
            raise UsageError(f"found --height {height} --width {width}, expected even numbers from 2")
        if arguments.fps < 1:
            raise UsageError(f"--fps: found {arguments.fps}, expected 1 or more")
        name = check_id(arguments.id)
        text = " ".join(arguments.caption.read_text().split())
        if not text:
            raise UsageError(f"--caption: found no text in {arguments.caption}")
        frames = cut(
            arguments.video, (height, width), arguments.fps, arguments.seconds, arguments.start, arguments.zoom
        )
    except RowError as error:
        parser.error(f"--video: {arguments.video}: {error}")
    except (UsageError, OSError) as error:
        parser.error(str(error))
    folder = arguments.out / name
    folder.mkdir(parents=True, exist_ok=True)
    write_views(folder, frames, arguments.fps)
    (folder / "caption.txt").write_text(text + "\n")
    row = {
        "id": name,
        "prompt": [text],
        "input_video": f"{name}/video.mp4",
        "num_conditional_frames": 5 if len(frames[VIEWS[0]]) >= 5 else 1,
        "fps": arguments.fps,
    }
    write_manifest(arguments.out / f"{name}.parquet", [row])
    print(f"{folder}: {len(VIEWS)} views of {len(frames[VIEWS[0]])} frames, {width}x{height} at {arguments.fps} fps")


if __name__ == "__main__":
    signals.hear()
    main()
