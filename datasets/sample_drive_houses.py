"""The houses of the sample drive: an endless row on each side, one a plot, made up from the street's seed.

Shapes: H/W height/width, N hit pixels, 3 RGB in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from sample_drive_stage import Array, Stage, hash01, haze, mix, rgb
from sample_drive_world import CAMERA_HEIGHT, FACADE_RGB, FACADE_Y, LIT_WINDOW, Palette

PLOT = 18.0  # m of street a house and its garden take
HOUSE_DEPTH = 14.0  # m
SIDE_SHADE = 0.72
FAR = 900.0  # m; walls beyond are not drawn
FLOOR = 3.3  # m
WINDOW_PITCH = 2.8  # m
WINDOW_SHARE = 0.28  # of a wall's area


def _house(seed: int, side_W: Array, plot_W: Array) -> tuple[Array, Array, Array]:
    """Where plot n's house begins and ends (m from the plot's start) and how tall it is (m; 0 for an empty plot)."""
    begin_W = 1 + 3 * hash01(seed, 1, side_W, plot_W)
    end_W = PLOT - 1 - 3 * hash01(seed, 2, side_W, plot_W)
    floors_W = 2 + np.floor(4 * hash01(seed, 3, side_W, plot_W) ** 1.5)
    return begin_W, end_W, np.where(hash01(seed, 4, side_W, plot_W) < 0.12, 0, floors_W * FLOOR + 0.6)


@dataclass(frozen=True)
class _Walls:
    """One wall a column (or, once picked, a pixel).

    depth: m; side: 1 left, 0 right; plot: whose house; along: m along the wall; tall: m; met: whether the ray meets it;
    shade: brightness, fronts 1.
    """

    depth: Array
    side: Array
    plot: Array
    along: Array
    tall: Array
    met: Array
    shade: Array


def paint_houses(stage: Stage, image_HW3: Array, depth_HW: Array, ego_x: float) -> None:
    """Paint what is seen of each column's walls, and put its depth into the buffer."""
    layers = _walls(stage, ego_x)
    best_HW = np.full(depth_HW.shape, -1, np.int8)
    for number, walls in enumerate(layers):
        columns = np.flatnonzero(walls.met & (walls.tall > 0) & (walls.depth < FAR))
        z = CAMERA_HEIGHT + walls.depth[columns] * stage.up_H[:, None]
        seen = (z > 0) & (z < walls.tall[columns]) & (walls.depth[columns] < depth_HW[:, columns])
        depth_HW[:, columns] = np.where(seen, walls.depth[columns], depth_HW[:, columns])
        best_HW[:, columns] = np.where(seen, number, best_HW[:, columns])
    rows, columns = np.nonzero(best_HW >= 0)
    layer_N = best_HW[rows, columns]
    picked = _Walls(
        *(np.stack([getattr(walls, field.name) for walls in layers])[layer_N, columns] for field in fields(_Walls))
    )
    z_N = CAMERA_HEIGHT + picked.depth * stage.up_H[rows]
    distance_N = picked.depth * stage.norm_W[columns]
    colour_N3 = _plaster(stage.palette, stage.scene.buildings, picked, z_N, distance_N / stage.focal)
    image_HW3[rows, columns] = mix(colour_N3, rgb(stage.palette.horizon), haze(stage.palette, distance_N))


def _walls(stage: Stage, ego_x: float) -> list[_Walls]:
    """What each column's ray may meet: the front of the house where it crosses the line of fronts, and, since there may
    be a gap or a low roof, the side walls of that house and of the next two."""
    seed, x_W, y_W = stage.scene.buildings, stage.plan_x_W, stage.plan_y_W
    side_W = np.where(y_W > 0, 1, 0)
    front_W = np.where(side_W == 1, FACADE_Y[1], FACADE_Y[0])
    with np.errstate(divide="ignore"):
        depth_W = np.clip(front_W / y_W, 0, 10 * FAR)  # rays along the street meet no front
    hit_x_W = depth_W * x_W + ego_x
    plot_W = np.floor(hit_x_W / PLOT)
    along_W = hit_x_W - plot_W * PLOT
    begin_W, end_W, tall_W = _house(seed, side_W, plot_W)
    met_W = (along_W >= begin_W) & (along_W <= end_W)
    layers = [_Walls(depth_W, side_W, plot_W, along_W - begin_W, tall_W, met_W, np.ones_like(depth_W))]
    step_W = np.where(x_W > 0, 1, -1)
    for ahead in range(3):
        next_W = plot_W + step_W * ahead
        begin_W, end_W, tall_W = _house(seed, side_W, next_W)
        wall_x_W = next_W * PLOT + np.where(step_W > 0, begin_W, end_W)
        with np.errstate(divide="ignore", invalid="ignore"):
            wall_W = np.nan_to_num((wall_x_W - ego_x) / x_W, nan=-1, posinf=-1, neginf=-1)
        behind_W = np.abs(wall_W * y_W) - np.abs(front_W)
        met_W = (wall_W > 0) & (behind_W > 0) & (behind_W < HOUSE_DEPTH)
        layers.append(_Walls(wall_W, side_W, next_W, behind_W, tall_W, met_W, np.full_like(wall_W, SIDE_SHADE)))
    return layers


def _plaster(palette: Palette, seed: int, walls: _Walls, z_N: Array, foot_N: Array) -> Array:
    """Colours [N, 3]: plaster, plinth, cornice, and windows by floor and column. z: height (m); foot: m a pixel."""
    kind_N = (hash01(seed, 5, walls.side, walls.plot) * len(FACADE_RGB)).astype(int)
    light_N3 = walls.shade[:, None] * rgb(palette.light)
    colour_N3 = np.array(FACADE_RGB, np.float32)[kind_N] * light_N3
    trim_N = (z_N < 0.7) | (z_N > walls.tall - 0.6)
    colour_N3 = np.where(trim_N[:, None], colour_N3 * 0.78, colour_N3)
    floor_N, column_N = np.floor(z_N / FLOOR), np.floor(walls.along / WINDOW_PITCH)
    z_in, u_in = z_N - floor_N * FLOOR, walls.along - column_N * WINDOW_PITCH
    window_N = (u_in > 0.7) & (u_in < 2.2) & (z_in > 1.0) & (z_in < 2.7) & (z_N < walls.tall - 0.6)
    lit_N = hash01(seed, 6, walls.side, walls.plot, floor_N + 64 * column_N, 100 * walls.shade) < palette.lit
    glass_N3 = np.where(lit_N[:, None], rgb(LIT_WINDOW), rgb(palette.glass) * light_N3)
    # Windows smaller than a pixel become their share of the wall.
    sharp_N = np.clip(2 - foot_N / 0.7, 0, 1)
    mean_N3 = palette.lit * rgb(LIT_WINDOW) + (1 - palette.lit) * rgb(palette.glass) * light_N3
    near_N3 = np.where(window_N[:, None], glass_N3, colour_N3)
    return mix(mix(colour_N3, mean_N3, WINDOW_SHARE), near_N3, sharp_N)
