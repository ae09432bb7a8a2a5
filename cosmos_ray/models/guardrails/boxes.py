"""From what a face detector answers to the boxes of faces: anchors, decoding, and of boxes that overlap the best one.

Legend: N anchors of a picture, B pictures. Boxes are corners x1, y1, x2, y2 in pixels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

#: Of the published detector: widths of the anchors of each of its three maps, and pixels of the picture a place there.
ANCHORS = ((16, 32), (64, 128), (256, 512))
STRIDES = (8, 16, 32)
#: Offsets and sizes are trained divided by these.
_VARIANCE = (0.1, 0.2)
CONFIDENCE, OVERLAP = 0.7, 0.4
#: Boxes that are compared, and that are kept.
_COMPARED, _KEPT = 5000, 750


def anchors(height: int, width: int) -> Tensor:
    """[N, 4] float32: centre x, y and width, height, relative to the picture."""
    maps = []
    for sizes, stride in zip(ANCHORS, STRIDES, strict=True):
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        y, x, size = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, sizes, indexing="ij")
        found = [x * stride / width, y * stride / height, size / width, size / height]
        maps.append(np.stack(found, axis=-1).reshape(-1, 4))
    return torch.from_numpy(np.concatenate(maps)).float()


def decode(offsets_BN4: Tensor, anchors_N4: Tensor, height: int, width: int) -> Tensor:
    """[B, N, 4] boxes."""
    centre = anchors_N4[:, :2] + offsets_BN4[..., :2] * _VARIANCE[0] * anchors_N4[:, 2:]
    size = anchors_N4[:, 2:] * torch.exp(offsets_BN4[..., 2:] * _VARIANCE[1])
    first = centre - size / 2
    scale = torch.tensor([width, height, width, height], dtype=size.dtype, device=size.device)
    return torch.cat([first, first + size], dim=-1) * scale


def best(boxes_N4: np.ndarray, scores_N: np.ndarray) -> np.ndarray:
    """[n, 4] of the boxes that are sure enough, best first, without those that overlap a better one.

    Of boxes that are as sure as each other, and faces are often as sure as can be, the first is the better one: as
    published, where they are sorted twice, and the same on every machine.
    """
    sure = np.flatnonzero(scores_N > CONFIDENCE)
    order = sure[(-scores_N[sure]).argsort(kind="stable")[:_COMPARED]]
    boxes = boxes_N4[order].astype(np.float32)
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    kept, left = [], np.arange(len(boxes))
    while len(left):
        one, left = left[0], left[1:]
        kept.append(one)
        across = np.maximum(0, np.minimum(x2[one], x2[left]) - np.maximum(x1[one], x1[left]) + 1)
        down = np.maximum(0, np.minimum(y2[one], y2[left]) - np.maximum(y1[one], y1[left]) + 1)
        common = across * down
        left = left[common / (areas[one] + areas[left] - common) <= OVERLAP]
    return boxes[kept[:_KEPT]]
