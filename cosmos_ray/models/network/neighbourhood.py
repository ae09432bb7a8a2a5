"""Self-attention to a neighbourhood: of each token to a window of its view, as some published networks were trained.

Which windows: `windows.py`. Computed by the package `natten` (Hassani et al., arXiv 2204.07143, 2504.16922), an extra.

Legend: B batch, L tokens of a view in the order (t, h, w), N heads, K head width, T latent frames, H/W patches.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache

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
