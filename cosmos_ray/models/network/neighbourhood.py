"""Self-attention to a neighbourhood: of each token to a window of its view, as some published networks were trained.

Each block has a window, or attends to everything; a window spans all latent frames, and in height and width so many
patches, one of every `dilation`; `stride` neighbours share a window. Computed by the package `natten` (Hassani et al.,
arXiv 2204.07143, 2504.16922), an extra.

Legend: B batch, L tokens of a view in the order (t, h, w), N heads, K head width, T latent frames, H/W patches.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cosmos_ray.errors import UsageError

#: Rows and columns of patches that the published windows are for; other grids scale them.
BASE = (44, 80)


@dataclass(frozen=True)
class Window:
    """In rows and columns: how large, how many neighbours share one, one of how many is in it."""

    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]


#: By the letters of `NetworkDims.natten`; `G` attends to everything.
WINDOWS: Mapping[str, Window] = {
    "A": Window((4, 16), (1, 1), (11, 5)),
    "B": Window((12, 16), (4, 1), (1, 5)),
    "C": Window((12, 24), (4, 8), (1, 1)),
    "E": Window((20, 40), (4, 8), (1, 1)),
    "F": Window((28, 56), (4, 8), (1, 1)),
}


def window_of(letter: str, grid: tuple[int, int, int]) -> Window | None:
    """The block's window on a grid (T, H, W); None: it attends to everything, as all do to a single frame."""
    if letter not in WINDOWS or grid[0] == 1:
        return None
    known, sizes, strides, dilations = WINDOWS[letter], [], [], []
    for place, (extent, base) in enumerate(zip(grid[1:], BASE, strict=True)):
        share = extent / base
        size = min(max(2, round(known.size[place] * share)), extent)
        sizes.append(size)
        strides.append(min(max(1, round(known.stride[place] * share)), size))
        dilations.append(min(max(1, round(known.dilation[place] * share)), extent // size))
    return Window((sizes[0], sizes[1]), (strides[0], strides[1]), (dilations[0], dilations[1]))


def attend_to_neighbourhood(
    q_BLNK: Tensor, k_BLNK: Tensor, v_BLNK: Tensor, grid: tuple[int, int, int], window: Window
) -> Tensor:
    """softmax(q k^T / sqrt(K)) v of each token and its window, [B, L, N, K]. UsageError without `natten`."""
    q, k, v = (x.unflatten(1, grid) for x in (q_BLNK, k_BLNK, v_BLNK))
    kernel, stride, dilation = (grid[0], *window.size), (1, *window.stride), (1, *window.dilation)
    return natten()(q, k, v, kernel_size=kernel, stride=stride, dilation=dilation).flatten(1, 3)


def window_mask(grid: tuple[int, int, int], window: Window) -> Tensor:
    """bool [L, L]: whether token m is in the window of token l. For comparison: no grid of any size has the memory."""
    frames = torch.ones(grid[0], grid[0], dtype=torch.bool)
    rows, columns = (
        _axis_mask(grid[1 + place], window.size[place], window.stride[place], window.dilation[place])
        for place in (0, 1)
    )
    both = frames[:, None, None, :, None, None] & rows[None, :, None, None, :, None]
    return (both & columns[None, None, :, None, None, :]).flatten(3).flatten(0, 2)


def _axis_mask(extent: int, size: int, stride: int, dilation: int) -> Tensor:
    """bool [extent, extent]. Of each place, those that are `dilation` apart from it are its neighbours; it shares the
    window of the middle one of its `stride`, which is moved inwards at the ends."""
    mask = torch.zeros(extent, extent, dtype=torch.bool)
    for place in range(extent):
        first, number = place % dilation, place // dilation
        count = len(range(first, extent, dilation))
        middle = min(number // stride * stride + stride // 2, count - 1)
        begin = min(max(middle - size // 2, 0), count - size)
        mask[place, [first + dilation * (begin + step) for step in range(size)]] = True
    return mask


@cache
def natten() -> Callable[..., Tensor]:
    """The package's function. UsageError where it is not installed or does not load."""
    try:
        return importlib.import_module("natten").na3d
    except (ImportError, OSError) as error:
        raise UsageError(
            f"the network attends to neighbourhoods, which takes the package natten: {error}; "
            "`pip install 'cosmos-ray[natten]'` brings it"
        ) from error
