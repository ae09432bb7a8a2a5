"""How Cosmos-Predict2 Multiview takes its input, to compare with: of an array, where the package reads files.

Legend: V views, T frames, H/W height and width.
"""

from __future__ import annotations

import numpy as np

from cosmos_ray.clip.resize import resize_crop
from cosmos_ray.words import counted


def conditioning_frames(video_THWC: np.ndarray, n_views: int, num_frames: int, size_hw: tuple[int, int]) -> np.ndarray:
    """The last `num_frames` frames of each view, resized and cropped: uint8 [V, num_frames, H, W, 3].

    video_THWC: uint8, the views one after the other in time, as Cosmos-Predict2 Multiview takes its input.
    Raises ValueError if the frames cannot be divided among the views, or a view has too few.
    """
    a_view, rest = divmod(len(video_THWC), n_views)
    if rest or a_view < num_frames:
        raise ValueError(
            f"found {counted(len(video_THWC), 'frame')}, expected {n_views} times {num_frames} or more (views one "
            "after the other)"
        )
    last = [view * a_view + frame for view in range(n_views) for frame in range(a_view - num_frames, a_view)]
    return resize_crop(video_THWC[last], size_hw).reshape(n_views, num_frames, *size_hw, 3)
