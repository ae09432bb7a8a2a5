"""Contact sheets: a clip's views at a few moments, as one picture. No torch, no Ray.

Legend: T frames, H/W height/width in pixels, C channels (RGB).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cosmos_ray.clip.encode import encode_jpeg
from cosmos_ray.clip.frames import inspect_video, read_frames, spill
from cosmos_ray.clip.pictures import PNG, read_picture
from cosmos_ray.clip.request import ALL_VIEWS
from cosmos_ray.clip.resize import resize_crop

_GAP = 2  # pixels between pictures
_GAP_COLOUR = 128
_QUALITY = 80


def contact_sheet(videos: Mapping[str, bytes], moments: int = 3, width: int = 160) -> bytes:
    """JPEG of a clip: see `contact_rows`."""
    return encode_jpeg(contact_rows(videos, moments, width), _QUALITY)


def contact_rows(videos: Mapping[str, bytes], moments: int, width: int) -> np.ndarray:
    """Picture [H, W, C] uint8 of a clip: a column a view, a row a moment (first, last, and evenly spread between).

    videos: mp4 by view; the columns are in the model's view order, whatever the mapping's. width: pixels of a picture.
    Raises ValueError for a name that is no view or nothing to show, RowError for a video that cannot be read.
    """
    unknown = sorted(set(videos) - set(ALL_VIEWS))
    if unknown or not videos or moments < 1 or width < 1:
        raise ValueError(
            f"found views {sorted(videos)}, {moments} moments, width {width}; expected some of {', '.join(ALL_VIEWS)}, "
            "and positive numbers"
        )
    columns = [_column(videos[view], moments, width) for view in ALL_VIEWS if view in videos]
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
    if video.startswith(PNG):
        picture_HWC = read_picture(video)
        height = max(1, round(width * picture_HWC.shape[0] / picture_HWC.shape[1]))
        return resize_crop(picture_HWC[None], (height, width)).repeat(moments, axis=0)
    with tempfile.TemporaryDirectory(prefix="cosmos_ray_") as scratch:
        path = spill(video, Path(scratch) / "video.mp4")
        info = inspect_video(path)
        times = np.linspace(0, info.frames - 1, moments).round().astype(int).tolist()
        shown = sorted(set(times))
        frames = read_frames(path, shown)
    height = max(1, round(width * info.height / info.width))
    return resize_crop(frames, (height, width))[[shown.index(time) for time in times]]
