"""Seven cameras out of one video, for trials where nobody has seven: real pictures with motion in them, no real rig."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmos_ray.clip.conditioning import read_conditioning
from cosmos_ray.clip.encode import encode_png
from cosmos_ray.clip.frames import inspect_video
from cosmos_ray.errors import ManifestError, RowError, UsageError
from cosmos_ray.manifest.builders.pictures import MOST
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage, fetch_to_file
from cosmos_ray.store.uris import scheme_of

#: Neighbours in the picture are neighbours round the car; rear, behind it, has none of its own in what looks ahead.
LEFT_TO_RIGHT = ("rear_left", "cross_left", "front_wide", "front_tele", "cross_right", "rear_right", "rear")
#: Height and width of what a window has the shape of, the published models' own.
_SHAPE_HW = (704, 1280)
_ANY_VIEW = "front_wide"


@dataclass(frozen=True)
class Windows:
    """to: URI of the folder that pictures are written into. zoom: a window's size, as a share of the largest."""

    to: str
    zoom: float = 0.5


def windows(height: int, width: int, size_hw: tuple[int, int], zoom: float) -> dict[str, tuple[slice, slice]]:
    """{view: (rows, columns)} of windows with size_hw's aspect in a frame of height x width pixels, side by side at
    equal distances across its middle; `zoom`: their size as a share of the largest that fits."""
    scale = zoom * min(height / size_hw[0], width / size_hw[1])
    tall, wide = round(size_hw[0] * scale), round(size_hw[1] * scale)
    if not 0 < zoom <= 1 or tall < 1 or wide < 1:
        raise UsageError(f"--zoom: found {zoom}, expected more than 0, at most 1, and a window of a pixel or more")
    top = (height - tall) // 2
    lefts = np.linspace(0, width - wide, len(LEFT_TO_RIGHT)).round().astype(int)
    return {
        view: (slice(top, top + tall), slice(int(left), int(left) + wide))
        for view, left in zip(LEFT_TO_RIGHT, lefts, strict=True)
    }


def cut_pictures(video: str, clip_id: str, views: tuple[str, ...], fps: float, asked: Windows) -> dict[str, list[str]]:
    """URIs of pictures of these views, in order of time: the end of the video, MOST frames 1/fps apart.

    Written as `CLIP/VIEW/0.png` and following. Raises ManifestError for a video that cannot be read or is too short.
    """
    with scratch() as folder:
        try:
            if scheme_of(video) == "file":
                path = Path(video)
            else:
                path = folder / "video.mp4"
                fetch_to_file(video, path)
            info = inspect_video(path)
            size_hw = info.height, info.width
            frames = read_conditioning([path], (_ANY_VIEW,), MOST, size_hw, fps).frames[0]  # [n, H, W, 3]
        except RowError as error:
            raise ManifestError(f"{video}: {str(error).removeprefix(f'view {_ANY_VIEW}: ')}") from None
    target = Storage(asked.to)
    found = {}
    for view in views:
        rows, columns = windows(*size_hw, _SHAPE_HW, asked.zoom)[view]
        paths = [f"{clip_id}/{view}/{number}.png" for number in range(len(frames))]
        for place, frame in zip(paths, frames, strict=True):
            target.write(place, encode_png(np.ascontiguousarray(frame[rows, columns])))
        found[view] = [target.uri_of(place) for place in paths]
    return found
