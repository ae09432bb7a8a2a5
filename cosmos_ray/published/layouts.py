"""How the published examples lay a clip's views out in files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cosmos_ray.clip.encode import encode_mp4, stack_views
from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.manifest.builders.inference_specs import PredictSpec, TransferSpec

_GRID = 3


def names_of(spec: PredictSpec | TransferSpec) -> list[str]:
    """Of the files that `write_views` gives."""
    if isinstance(spec, PredictSpec) or spec.save_combined_views:
        return [f"{spec.name}.mp4"]
    return [*(f"{spec.name}_{view}.mp4" for view in spec.cameras), f"{spec.name}_grid.mp4"]


def write_views(spec: PredictSpec | TransferSpec, videos: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files by name. videos: an mp4 a view, in the order of the cameras."""
    name = spec.name
    if isinstance(spec, PredictSpec):
        is_stacked = spec.stack_mode == "height"
        return {
            f"{name}.mp4": stack_views(list(videos.values()), spec.fps) if is_stacked else chained(videos, spec.fps)
        }
    if spec.save_combined_views:
        return {f"{name}.mp4": chained(videos, spec.fps)}
    return {**{f"{name}_{view}.mp4": data for view, data in videos.items()}, f"{name}_grid.mp4": grid(videos, spec.fps)}


def chained(videos: Mapping[str, bytes], fps: int) -> bytes:
    """The views one after the other in time."""
    return encode_mp4(np.concatenate([decode_mp4(data) for data in videos.values()]), fps)


def grid(videos: Mapping[str, bytes], fps: int) -> bytes:
    """Three by three, row by row; places without a view are black."""
    frames = [decode_mp4(data) for data in videos.values()]
    black = np.zeros_like(frames[0])
    places = [*frames, *[black] * (_GRID * _GRID - len(frames))]
    rows = [np.concatenate(places[first : first + _GRID], axis=2) for first in range(0, len(places), _GRID)]
    return encode_mp4(np.concatenate(rows, axis=1), fps)
