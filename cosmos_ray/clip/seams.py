"""Does one video that should hold several views, one after the other in time, run on across their boundaries?

A dashcam's file whose length happens to divide by seven would be cut into seven "views" and make seven plausible and
wrong ones. Between two cameras the picture changes as a whole; within one shot it changes from frame to frame as it did
before. So the change across each boundary is compared with the changes beside it, on small grey pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

#: Size of the grey pictures that are compared: small enough for noise and fine texture to be gone.
_GRID = (24, 32)
#: A shot runs on where the change is at most so many times the larger one beside it (or so many levels, if still).
_AS_BEFORE, _STILL = 2.0, 1.0
#: A picture with less contrast than this (levels) tells nothing.
_FLAT = 4.0


def seam_frames(total: int, n_views: int) -> list[int]:
    """Frames (ascending) that `runs_on` has to see: two on each side of the boundaries. None if views are too short."""
    a_view = total // n_views
    if n_views < 2 or a_view < 2:
        return []
    return sorted({seam + step for seam in _seams(total, n_views) for step in (-2, -1, 0, 1)})


def shrink(frame_HWC: np.ndarray) -> np.ndarray:
    """Small grey float32 picture of uint8 [H, W, 3]: means over equal parts."""
    grey = frame_HWC.mean(axis=-1, dtype=np.float32)
    rows, columns = (
        np.linspace(0, side, part + 1).astype(int)[:-1] for side, part in zip(grey.shape, _GRID, strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(grey, rows, 0), columns, 1)
    counts = np.diff(np.append(rows, grey.shape[0]))[:, None] * np.diff(np.append(columns, grey.shape[1]))
    means: np.ndarray = sums / np.maximum(counts, 1)
    return means


def runs_on(small: Mapping[int, np.ndarray], total: int, n_views: int) -> bool:
    """Whether the picture goes on across all boundaries as it does beside them. small: `shrink`ed `seam_frames`.

    False where most boundaries lie between pictures without contrast.
    """
    seams = [seam for seam in _seams(total, n_views) if small[seam].std() >= _FLAT and small[seam - 1].std() >= _FLAT]
    if 2 * len(seams) <= n_views - 1:
        return False
    return all(_is_smooth([small[seam + step] for step in (-2, -1, 0, 1)]) for seam in seams)


def _is_smooth(around: Sequence[np.ndarray]) -> bool:
    before, across, after = (float(np.abs(b - a).mean()) for a, b in pairwise(around))
    return across <= max(_AS_BEFORE * max(before, after), _STILL)


def _seams(total: int, n_views: int) -> range:
    """First frames of all views but the first."""
    a_view = total // n_views
    return range(a_view, a_view * n_views, a_view)
