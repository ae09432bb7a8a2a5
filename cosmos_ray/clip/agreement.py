"""Do neighbouring views show the same where their pictures meet?

Each view's small pictures are laid onto a grid of directions, as an ideal camera of its kind sees them; two neighbours
share some. A real rig's cameras stand a little otherwise, so one of the two is turned, by a few degrees to either side,
to where it fits best: what is told is the best fit's likeness. A street resembles every street (road below, sky above),
so half of the likeness is of what remains of the pictures without their mean over time and bearing: houses, cars, and
when they come by.

Legend: t frames, h/w height/width of a small picture, S slopes (tangents of elevation), B bearings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np

from cosmos_ray.clip.checks import Looked, Scores
from cosmos_ray.clip.request import ALL_VIEWS, VIEWS

#: Degrees clockwise from the front, and horizontal field of view, of a rig as the model's cameras are called.
CAMERAS: Mapping[str, tuple[float, float]] = {
    "front_wide": (0, 120),
    "cross_right": (105, 120),
    "rear_right": (150, 70),
    "rear": (180, 50),
    "rear_left": (210, 70),
    "cross_left": (255, 120),
    "front_tele": (0, 30),
}
_RING = VIEWS[:6]
#: Views whose pictures meet: round the car, and the tele camera in the middle of the wide one.
NEIGHBOURS = (*pairwise((*_RING, _RING[0])), ("front_wide", "front_tele"))
#: Grid of directions: bearings in degrees, and slopes that every camera sees.
_BEARINGS = np.arange(0, 360, 1.0)
_SLOPES = np.linspace(-0.22, 0.2, 15)
#: The horizon, as a fraction of the height from the top.
_HORIZON = 0.45
_EDGE = 1.0  # degrees of a field of view that are left out at each side
#: By how much a camera may be turned, in steps of the grid, and the fewest that two pictures must still share.
_TURNS = range(-6, 7, 2)
_FEWEST = 6


def agreements(small: Mapping[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """Likeness of each two views that are there and meet, -1 to 1. small: `checks.small` pictures of one clip."""
    found = {}
    panoramas = {view: _panorama(view, pictures) for view, pictures in small.items() if view in CAMERAS}
    for first, second in NEIGHBOURS:
        if first in panoramas and second in panoramas:
            found[first, second] = round(_fit(panoramas[first], panoramas[second]), 4)
    return found


def of_views(found: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """For each view that has neighbours: the mean of its agreements with them."""
    of: dict[str, list[float]] = {}
    for pair, value in found.items():
        for view in pair:
            of.setdefault(view, []).append(value)
    return {view: round(sum(values) / len(values), 4) for view, values in of.items()}


def with_agreement(looked: Mapping[str, Looked]) -> dict[str, Scores]:
    """All scores of a clip, by view, in the views' order."""
    agreement = of_views(agreements({view: one.small_ThwC for view, one in looked.items()}))
    return {view: replace(looked[view].scores, agreement=agreement.get(view)) for view in ALL_VIEWS if view in looked}


def _fit(first: np.ndarray, second: np.ndarray) -> float:
    """Of two panoramas [t, S, B, 3], NaN where a camera sees nothing."""
    likeness = [_likeness(first, np.roll(second, turn, axis=2)) for turn in _TURNS]
    return max(likeness)


def _likeness(first: np.ndarray, second: np.ndarray) -> float:
    both = np.flatnonzero(~np.isnan(first[0, 0, :, 0]) & ~np.isnan(second[0, 0, :, 0]))
    if len(both) < _FEWEST:
        return -1.0
    one, other = first[:, :, both], second[:, :, both]
    details = (part - part.mean(axis=(0, 2), keepdims=True) for part in (one, other))
    return (_concordance(one, other) + _concordance(*details)) / 2


def _concordance(one: np.ndarray, other: np.ndarray) -> float:
    """Lin's: 1 for equal, 0 for unrelated; lower for another contrast or brightness. 1 where neither has any."""
    means = one.mean(), other.mean()
    apart = one.var() + other.var() + (means[0] - means[1]) ** 2
    together = 2 * ((one - means[0]) * (other - means[1])).mean()
    return float((together + 1) / (apart + 1))  # one level of noise tells nothing


def _panorama(view: str, small_thwC: np.ndarray) -> np.ndarray:
    """Float [t, S, B, 3], bearings all round."""
    height, width = small_thwC.shape[1:3]
    rows_SB, columns_SB, seen_B = _places(view, height, width)
    found = np.full((len(small_thwC), len(_SLOPES), len(_BEARINGS), 3), np.nan, np.float32)
    found[:, :, seen_B] = small_thwC[:, rows_SB, columns_SB]
    return found


@cache
def _places(view: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns [S, B seen] of the pixels in each direction, and the bearings that are seen."""
    yaw, field = CAMERAS[view]
    off = np.radians((_BEARINGS - yaw + 180) % 360 - 180)
    seen_B = np.flatnonzero(np.abs(np.degrees(off)) < field / 2 - _EDGE)
    focal = width / 2 / math.tan(math.radians(field) / 2)
    u_B = width / 2 + focal * np.tan(off[seen_B])
    v_SB = _HORIZON * height - focal * _SLOPES[:, None] / np.cos(off[seen_B])
    rows = np.clip(v_SB.astype(int), 0, height - 1)
    return rows, np.broadcast_to(np.clip(u_B.astype(int), 0, width - 1), rows.shape), seen_B
