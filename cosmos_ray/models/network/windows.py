"""Which neighbourhood each block of some published networks attends to (`neighbourhood.py` does it). No torch.

Each block has a window, or attends to everything; a window spans all latent frames, and in height and width so many
patches, one of every `dilation`; `stride` neighbours share a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
        # Multiplied before it is divided: a half then stays one, and is rounded to the even number.
        size, stride, dilation = (
            round(one[place] * extent / base) for one in (known.size, known.stride, known.dilation)
        )
        sizes.append(min(max(2, size), extent))
        strides.append(min(max(1, stride), sizes[-1]))
        dilations.append(min(max(1, dilation), extent // sizes[-1]))
    return Window((sizes[0], sizes[1]), (strides[0], strides[1]), (dilations[0], dilations[1]))


def keys_of(letters: str, grid: tuple[int, int, int]) -> list[int]:
    """How many tokens of a grid (T, H, W) each block's tokens attend to."""
    found = []
    for letter in letters:
        window = window_of(letter, grid)
        rows, columns = grid[1:] if window is None else window.size
        found.append(grid[0] * rows * columns)
    return found
