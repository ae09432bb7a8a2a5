"""Self-attention to a neighbourhood: of each token to a window of its view, as some published networks were trained.

Which windows: `windows.py`. Computed by the package `natten` (Hassani et al., arXiv 2204.07143, 2504.16922), an extra.

Legend: B batch, L tokens of a view in the order (t, h, w), N heads, K head width, T latent frames, H/W patches.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor

from cosmos_ray.errors import UsageError
from cosmos_ray.models.network.windows import Window

#: Its build asks the torch that is installed, and makes kernels for a GPU that it sees or is told of, or none; pip
#: would give it another torch, and keeps what was built for the next time.
_WAY_OUT = (
    "`NATTEN_CUDA_ARCH=9.0 pip install --no-build-isolation --no-cache-dir '.[natten]'` builds it for H100 and H200 "
    "(with nvcc and cmake), without the variable for CPUs"
)


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
    return _package().na3d


def check_natten(device: str) -> None:
    """UsageError where the network could not attend: no package, or on a GPU one that was built without its kernels.

    It then falls back to torch's attention over every pair of tokens: right, and on a published grid hundreds of GB.
    """
    package = _package()
    if device != "cpu" and not package.HAS_LIBNATTEN:
        raise UsageError(
            f"the network attends to neighbourhoods, and natten {package.__version__} was built here without its "
            f"kernels for GPUs (libnatten); {_WAY_OUT}"
        )


def _package() -> Any:
    try:
        return importlib.import_module("natten")
    except (ImportError, OSError) as error:
        raise UsageError(
            f"the network attends to neighbourhoods, which takes the package natten: {error}; {_WAY_OUT}"
        ) from error
