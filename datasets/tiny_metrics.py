"""How good a video of the sample drive is: likeness, palette, seams between cameras, a car that passes by.

All take uint8 videos [V, T, H, W, 3] with the seven views in order, rendered or generated, and need no network.
Compare a metric with the same one on `shuffled` views: if it cannot tell those, it measures nothing.

Legend: N clips, V views, T frames, H/W height/width, S sampled directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from sample_drive import CAMERAS, PALETTES, VIEWS, Car, Scene, scene_from_seed
from sample_drive_world import HORIZON, PaletteName
from tiny_data import psnr
from tiny_render import render_numpy
from torch.nn import functional as F

__all__ = ["handover", "palette_of", "passing_scene", "psnr", "seam_error", "shuffled", "ssim", "track_order"]

#: Cameras that share directions.
NEIGHBOURS = (
    ("front_wide", "cross_right"),
    ("cross_right", "rear_right"),
    ("rear_right", "rear"),
    ("rear", "rear_left"),
    ("rear_left", "cross_left"),
    ("cross_left", "front_wide"),
    ("front_tele", "front_wide"),
)
_EDGE = 1.5  # degrees of a field of view that are left out at each side, where pixels are cut


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity of two videos of one shape (mean over frames and colours; Gaussian window of 11)."""
    x, y = (
        torch.from_numpy(np.ascontiguousarray(video, dtype=np.float32)).flatten(0, 1).permute(0, 3, 1, 2) / 255
        for video in (first, second)
    )
    taps = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = torch.outer(taps, taps) / taps.sum() ** 2

    def blur(z: torch.Tensor) -> torch.Tensor:
        return F.conv2d(z, window.expand(3, 1, -1, -1), groups=3)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    like = (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(like.mean())


# --- palettes ---


@cache
def _palette_centres() -> dict[str, np.ndarray]:
    """Mean colour of four small scenes each."""
    return {
        name: np.mean(
            [
                render_numpy(replace(scene_from_seed(seed), palette=name), 16, 28, 1).mean((0, 1, 2, 3))
                for seed in range(4)
            ],
            axis=0,
        )
        for name in PALETTES
    }


def palette_of(video: np.ndarray) -> PaletteName:
    """The palette whose mean colour is nearest to the video's."""
    mean, centres = video.mean(axis=(0, 1, 2, 3)), _palette_centres()
    return min(PALETTES, key=lambda name: float(np.linalg.norm(centres[name] - mean)))


# --- seams ---


@dataclass(frozen=True)
class _Overlap:
    """Directions that two cameras share: view numbers, and for each direction its place (u, v from 0 to 1) in both."""

    first: int
    second: int
    places_2S2: np.ndarray
    below_S: np.ndarray  # which directions look below the horizon


@cache
def _overlaps(aspect: float) -> tuple[_Overlap, ...]:
    """aspect: width / height. A grid of 1 degree by 0.02 (tangent of elevation) over all that both cameras see."""
    bearings = np.arange(-180, 180, 1.0)
    slopes = np.arange(-0.35, 0.2501, 0.02)
    found = []
    for pair in NEIGHBOURS:
        bearing, slope = (grid.ravel() for grid in np.meshgrid(bearings, slopes, indexing="ij"))
        inside, places = np.ones(len(bearing), bool), []
        for view in pair:
            camera = CAMERAS[view]
            off = np.radians((bearing - camera.yaw + 180) % 360 - 180)
            inside &= np.abs(np.degrees(off)) < camera.hfov / 2 - _EDGE
            focal = 1 / (2 * math.tan(math.radians(camera.hfov) / 2))
            with np.errstate(all="ignore"):
                u = 0.5 + focal * np.tan(off)
                v = HORIZON - focal * aspect * slope / np.cos(off)
            inside &= (v > 0.02) & (v < 0.98)
            places.append(np.stack((u, v), axis=-1))
        first, second = (VIEWS.index(view) for view in pair)
        found.append(_Overlap(first, second, np.stack(places)[:, inside], slope[inside] < 0))
    return tuple(found)


def _samples(frames_THWC: np.ndarray, places_S2: np.ndarray) -> np.ndarray:
    """Colours [T, S, 3] between the nearest pixels, float."""
    x = torch.from_numpy(np.ascontiguousarray(frames_THWC)).float().permute(0, 3, 1, 2)
    grid = torch.from_numpy(2 * places_S2 - 1).float()[None, :, None].expand(len(x), -1, -1, -1)
    picked = F.grid_sample(x, grid, align_corners=False, padding_mode="border")
    return picked[..., 0].transpose(1, 2).numpy()


def _pairs(video: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each pair of neighbours: colours [T, S, 3] in the first and in the second, and which look down [S]."""
    height, width = video.shape[2:4]
    return [
        (
            _samples(video[overlap.first], overlap.places_2S2[0]),
            _samples(video[overlap.second], overlap.places_2S2[1]),
            overlap.below_S,
        )
        for overlap in _overlaps(width / height)
    ]


def seam_error(video: np.ndarray) -> dict[str, float]:
    """Mean difference (levels) between what two neighbours show in one direction: below the horizon (road, cars),
    above it (sky, houses), and over all."""
    below, above = [], []
    for first, second, is_below in _pairs(video):
        difference = np.abs(first - second).mean(axis=(0, 2))
        below.append(difference[is_below].mean())
        above.append(difference[~is_below].mean())
    return {"road": float(np.mean(below)), "sky": float(np.mean(above)), "all": float(np.mean(below + above))}


def shuffled(videos: list[np.ndarray], shift: int = 1) -> list[np.ndarray]:
    """Clips whose views come from different clips each: view v of clip n is that of clip n + shift * v."""
    count = len(videos)
    return [
        np.stack([videos[(index + shift * view) % count][view] for view in range(len(VIEWS))]) for index in range(count)
    ]


# --- a car that passes ---


def passing_scene(seed: int) -> Scene:
    """A scene by day with one car, red or blue, that passes left or right."""
    rng = np.random.default_rng((seed, 11))
    direction = 1 if rng.random() < 0.5 else -1
    car = Car(
        "red" if rng.random() < 0.5 else "blue",
        "left" if rng.random() < 0.5 else "right",
        x=-direction * float(rng.uniform(5, 9)),
        speed=direction * float(rng.uniform(4, 7)),
    )
    return replace(scene_from_seed(seed), palette="day", cars=(car,))


def _painted(colours: np.ndarray, colour: str) -> np.ndarray:
    """Which of the colours [..., 3] are of a car of that colour, by day: nothing else below the horizon is."""
    red, green, blue = (colours[..., channel].astype(float) for channel in range(3))
    main, other = (red, blue) if colour == "red" else (blue, red)
    return (main > 70) & (main > 1.9 * green) & (main > 1.9 * other)


def handover(video: np.ndarray, colour: str) -> float:
    """How well neighbours agree on where the car is in what both see: shared / mean number of directions, 0 to 1; NaN
    if the car is never in such a place."""
    shared = total = 0.0
    for first, second, is_below in _pairs(video):
        a, b = (_painted(samples[:, is_below], colour) for samples in (first, second))
        shared += 2 * float((a & b).sum())
        total += float(a.sum() + b.sum())
    return shared / total if total > 20 else math.nan


def track_order(video: np.ndarray, colour: str) -> float:
    """How steadily the car's bearing, over all cameras, turns one way: |rank correlation| with time; NaN if it is seen
    in fewer than five frames."""
    _, frames, height, width, _ = video.shape
    vectors = np.zeros((frames, 2))
    for index, view in enumerate(VIEWS):
        camera = CAMERAS[view]
        across = (np.arange(width) + 0.5 - width / 2) / camera.focal(width)
        bearing = np.radians(camera.yaw) + np.arctan(across)
        # Every direction counts as often as cameras see it, so weigh a column by the angle it covers.
        angle = 1 / (1 + across**2) / camera.focal(width)
        mask = _painted(video[index, :, math.ceil(HORIZON * height) :], colour).sum(axis=1) * angle**2
        vectors[:, 0] += (mask * np.cos(bearing)).sum(axis=1)
        vectors[:, 1] += (mask * np.sin(bearing)).sum(axis=1)
    seen = np.hypot(*vectors.T) > 1e-3
    if seen.sum() < 5:
        return math.nan
    bearings = np.unwrap(np.arctan2(vectors[seen, 1], vectors[seen, 0]))
    ranks = np.argsort(np.argsort(bearings))
    return float(abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]))
