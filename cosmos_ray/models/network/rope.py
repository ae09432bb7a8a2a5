"""Rotary position embedding over (time, height, width) of one view (RoFormer, arXiv 2104.09864; NTK-scaled per axis).

Every view has the same table: positions restart at 0 in each view, and which view a token belongs to is told by the
view embedding alone.

Legend: T latent frames, H/W patch rows and columns, L = T*H*W tokens in that order, N heads, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Frame rate at which one latent frame is one unit of time.
BASE_FPS = 24.0
BASE_THETA = 10000.0


@dataclass(frozen=True)
class RopeAxes:
    """How a head of width `head_dim` (even, at least 12) is cut into axes, and how far each axis is stretched."""

    head_dim: int
    ratio_t: float
    ratio_h: float
    ratio_w: float

    def __post_init__(self) -> None:
        if self.head_dim < 12 or self.head_dim % 2:
            raise ValueError(f"head width {self.head_dim}: expected an even number, at least 12, for three axes")

    @property
    def dim_space(self) -> int:
        """Width of the height axis, and of the width axis."""
        return 2 * (self.head_dim // 6)

    @property
    def dim_t(self) -> int:
        return self.head_dim - 2 * self.dim_space


def axis_angles(
    axes: RopeAxes,
    frames: int,
    height: int,
    width: int,
    fps: float | None,
    dtype: torch.dtype,
    wide: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Angles of each axis: [T, dim_t/2], [H, dim_space/2], [W, dim_space/2], float32.

    dtype: float32, or bfloat16 for the numbers of the published pipeline, which casts its position and frequency
    buffers (and the frame rate) with the rest of the module: up to 0.19 rad away from the float32 angles. Every step
    then rounds, so the order of operations here is part of the model. fps None: a latent frame is a unit of time.
    wide: what is computed in where that is not dtype; with float32 only the frequencies' exponents are rounded, which
    is how models from Predict2.5 on have it (0.05 rad away from float32). Always computed on the CPU, so that one
    table serves every device.
    """
    wide = wide or dtype

    def frequencies(dim: int, ratio: float) -> Tensor:
        theta = BASE_THETA * ratio ** (dim / (dim - 2))
        exponents = (torch.arange(0, dim, 2, dtype=torch.float32) / dim).to(dtype).to(wide)
        return 1.0 / (theta**exponents)

    def positions(count: int) -> Tensor:
        return torch.arange(count, dtype=torch.float32).to(wide)

    times = positions(frames)
    if fps is not None:
        times = times / torch.tensor(fps, dtype=torch.float32).to(dtype) * BASE_FPS
    angles_t = torch.outer(times, frequencies(axes.dim_t, axes.ratio_t))
    angles_h = torch.outer(positions(height), frequencies(axes.dim_space, axes.ratio_h))
    angles_w = torch.outer(positions(width), frequencies(axes.dim_space, axes.ratio_w))
    return angles_t.float(), angles_h.float(), angles_w.float()


def angle_table(
    axes: RopeAxes,
    frames: int,
    height: int,
    width: int,
    fps: float | None,
    dtype: torch.dtype,
    wide: torch.dtype | None = None,
) -> Tensor:
    """Angles [L, K/2] float32 of one view's tokens, each row time | height | width. The second half of a head turns
    by the same angles as the first, so it is not stored."""
    angles_t, angles_h, angles_w = axis_angles(axes, frames, height, width, fps, dtype, wide)
    rows = (
        angles_t[:, None, None].expand(-1, height, width, -1),
        angles_h[None, :, None].expand(frames, -1, width, -1),
        angles_w[None, None, :].expand(frames, height, -1, -1),
    )
    return torch.cat(rows, dim=-1).flatten(0, 2)


def rotate(x_LNK: Tensor, cos_L1k: Tensor, sin_L1k: Tensor) -> Tensor:
    """Turn element i and element i + K/2 of each head by the angle of its token.

    x: [..., L, N, K] of any dtype; cos, sin: [L, 1, K/2] float32. Computed in float32, returned in x's dtype.
    """
    first, second = x_LNK.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos_L1k - second * sin_L1k, second * cos_L1k + first * sin_L1k), dim=-1)
    return turned.to(x_LNK.dtype)
