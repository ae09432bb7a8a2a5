"""Self-attention to a neighbourhood: of each token to a window of its view, as some published networks were trained.

Which windows: `windows.py`. Computed by the package `natten` (Hassani et al., arXiv 2204.07143, 2504.16922), an extra.

Legend: B batch, L tokens of a view in the order (t, h, w), N heads, K head width, T latent frames, H/W patches.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from cosmos_ray.errors import UsageError
from cosmos_ray.models.network.windows import Window


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
