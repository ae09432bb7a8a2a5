"""One picture of several clips, for a page or a README: a band of moments a clip, a column a camera.

    python datasets/contact_sheet.py demo/sample/clips/day demo/sample/clips/dusk --out sheet.jpg [--moments 2]

A clip is a folder with one mp4 a camera, as the sample drive and every job's output have them.

Legend: T frames, H/W height/width in pixels, C channels (RGB).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cosmos_ray import signals
from cosmos_ray.clip.encode import encode_jpeg
from cosmos_ray.clip.frames import inspect_video, read_frames, spill
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.clip.resize import resize_crop
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage

_GAP = 2  # pixels between pictures
_GAP_COLOUR = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, help="folders with one mp4 a camera")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--moments", type=int, default=2)
    parser.add_argument("--width", type=int, default=160, help="pixels a camera")
    arguments = parser.parse_args()
    bands = []
    for clip in arguments.clips:
        videos = {view: (clip / f"{view}.mp4").read_bytes() for view in VIEWS if (clip / f"{view}.mp4").exists()}
        bands.append(contact_rows(videos, arguments.moments, arguments.width))
    Storage(str(arguments.out.parent)).write(arguments.out.name, encode_jpeg(np.concatenate(bands)))
    print(arguments.out)


def contact_rows(videos: Mapping[str, bytes], moments: int, width: int) -> np.ndarray:
    """Picture [H, W, C] uint8 of a clip: a column a view, a row a moment (first, last, and evenly spread between).

    videos: mp4 by view; the columns are in the model's view order, whatever the mapping's. width: pixels of a picture.
    Raises ValueError for a name that is no view or nothing to show, RowError for a video that cannot be read.
    """
    unknown = sorted(set(videos) - set(VIEWS))
    if unknown or not videos or moments < 1 or width < 1:
        raise ValueError(
            f"found views {sorted(videos)}, {moments} moments, width {width}; expected some of {', '.join(VIEWS)}, "
            "and positive numbers"
        )
    columns = [_column(videos[view], moments, width) for view in VIEWS if view in videos]
    height = columns[0].shape[1]
    sheet_HWC = np.full(
        (moments * (height + _GAP) - _GAP, len(columns) * (width + _GAP) - _GAP, 3), _GAP_COLOUR, np.uint8
    )
    for x, column_THWC in enumerate(columns):
        for y, picture_HWC in enumerate(resize_crop(column_THWC, (height, width))):
            top, left = y * (height + _GAP), x * (width + _GAP)
            sheet_HWC[top : top + height, left : left + width] = picture_HWC
    return sheet_HWC


def _column(video: bytes, moments: int, width: int) -> np.ndarray:
    """Small pictures of one view: uint8 [moments, H, width, 3]. A video of fewer frames shows some of them again."""
    with scratch() as folder:
        path = spill(video, folder / "video.mp4")
        info = inspect_video(path)
        times = np.linspace(0, info.frames - 1, moments).round().astype(int).tolist()
        shown = sorted(set(times))
        frames = read_frames(path, shown)
    height = max(1, round(width * info.height / info.width))
    return resize_crop(frames, (height, width))[[shown.index(time) for time in times]]


if __name__ == "__main__":
    signals.hear()
    main()
