"""Regions of a picture made unrecognisable: five by five colours each, as OpenCV's resize has them. numpy alone."""

from __future__ import annotations

import numpy as np

_BLOCKS = 5
#: Pixels of a side below which a region is left as it is.
SMALLEST = 20
#: OpenCV's weights are whole numbers of this.
_ONE = 2048


def pixelate(frame_HWC: np.ndarray, boxes_n4: np.ndarray) -> int:
    """Pixelates these regions in place, one after the other; how many. frame: uint8, writable. boxes: corners x1, y1,
    x2, y2 in pixels, which may lie beyond the picture."""
    height, width = frame_HWC.shape[:2]
    found = 0
    for x1, y1, x2, y2 in np.trunc(boxes_n4).astype(np.int64).tolist():
        if x2 - x1 < SMALLEST or y2 - y1 < SMALLEST:
            continue
        region = frame_HWC[max(y1, 0) : max(min(y2, height), 0), max(x1, 0) : max(min(x2, width), 0)]
        if region.size:
            region[:] = _coarse(region)
            found += 1
    return found


def _coarse(region_hwC: np.ndarray) -> np.ndarray:
    height, width = region_hwC.shape[:2]
    small = _reduced(region_hwC)
    return small[_places(height)][:, _places(width)]


def _places(length: int) -> np.ndarray:
    """Which of the five each pixel takes, by the nearest neighbour."""
    return np.minimum(np.arange(length) * (1 / (length / _BLOCKS)), _BLOCKS - 1).astype(np.int64)


def _reduced(region_hwC: np.ndarray) -> np.ndarray:
    """[5, 5, 3]: bilinear between the two nearest lines, in OpenCV's whole numbers."""
    height, width = region_hwC.shape[:2]
    top, bottom, down = _weights(height)
    left, right, across = _weights(width, stops_at_edges=True)
    values = region_hwC.astype(np.int64)
    rows = values[:, left] * across[:, :1] + values[:, right] * across[:, 1:]
    found = (down[:, :1, None] * (rows[top] >> 4) >> 16) + (down[:, 1:, None] * (rows[bottom] >> 4) >> 16)
    return np.asarray(np.clip((found + 2) >> 2, 0, 255), np.uint8)


def _weights(length: int, stops_at_edges: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each of the five: the two lines it lies between, and their weights [5, 2] in parts of `_ONE`.

    stops_at_edges: beyond the first and the last line, as columns are in OpenCV, all weight is that line's; else it is
    both the lines, which rounds otherwise (in regions of less than five, as the picture's edges leave them).
    """
    where = (np.arange(_BLOCKS) + 0.5) * (length / _BLOCKS) - 0.5
    first = np.floor(where).astype(np.int64)
    part = (where - first).astype(np.float32)
    if stops_at_edges:
        part[(first < 0) | (first >= length - 1)] = 0
    weights = np.rint(np.stack([1 - part, part], axis=1) * _ONE).astype(np.int64)
    return first.clip(0, length - 1), (first + 1).clip(0, length - 1), weights
