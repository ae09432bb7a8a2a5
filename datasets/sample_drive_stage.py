"""One view's stage: its rays, and the sky and ground that move with the camera; and the helpers of all painters.

Shapes: H/W height/width, G rows below the horizon, N picked pixels, 3 RGB in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sample_drive_world import (
    CAMERA_HEIGHT,
    CAMERAS,
    HORIZON,
    LANE_WIDTH,
    PALETTES,
    ROAD_Y,
    SIDEWALK_WIDTH,
    Palette,
    Scene,
)

Array = np.ndarray

DASH_PERIOD, DASH = 8.0, 3.5  # m
LINE_HALF = 0.09  # m
SLAB = 3.0  # m between the joints of the pavement


@dataclass(frozen=True)
class Stage:
    """One view of one scene at one size: rays, and what does not change with time."""

    scene: Scene
    palette: Palette
    focal: float  # pixels
    plan_x_W: Array  # x and y a ray travels per metre of depth
    plan_y_W: Array
    norm_W: Array  # plan distance per metre of depth
    up_H: Array  # height a ray gains per metre of depth
    base_HW3: Array  # sky and ground, without what passes by
    depth_HW: Array  # of the ground; inf above the horizon
    horizon_row: int  # first row that sees the ground
    marks: tuple[tuple[Array, Array, Array], ...]  # (paint_GW, x_GW, along_GW): see _ground


def set_stage(scene: Scene, view: str, height: int, width: int) -> Stage:
    camera, palette = CAMERAS[view], PALETTES[scene.palette]
    focal = camera.focal(width)
    across_W = ((np.arange(width) + 0.5 - width / 2) / focal).astype(np.float32)
    up_H = ((HORIZON * height - np.arange(height) - 0.5) / focal).astype(np.float32)
    plan_x_W = np.float32(camera.forward[0]) + across_W * np.float32(camera.right[0])
    plan_y_W = np.float32(camera.forward[1]) + across_W * np.float32(camera.right[1])
    norm_W = np.sqrt(1 + across_W**2)
    horizon_row = int(np.count_nonzero(up_H >= 0))
    base_HW3 = _sky(palette, scene.buildings, plan_x_W, plan_y_W, norm_W, up_H)
    depth_G = -CAMERA_HEIGHT / up_H[horizon_row:]
    depth_HW = np.full((height, width), np.inf, np.float32)
    depth_HW[horizon_row:] = depth_G[:, None]
    ground_GW3, marks = _ground(palette, depth_G, plan_x_W, plan_y_W, norm_W, focal)
    base_HW3[horizon_row:] = ground_GW3
    return Stage(
        scene=scene,
        palette=palette,
        focal=focal,
        plan_x_W=plan_x_W,
        plan_y_W=plan_y_W,
        norm_W=norm_W,
        up_H=up_H,
        base_HW3=base_HW3,
        depth_HW=depth_HW,
        horizon_row=horizon_row,
        marks=marks,
    )


def _sky(palette: Palette, seed: int, plan_x_W: Array, plan_y_W: Array, norm_W: Array, up_H: Array) -> Array:
    """Gradient by elevation, glow and disc of the sun, and far roofs on the horizon; float32 [H, W, 3]."""
    elevation_HW = np.maximum(up_H[:, None], 0) / norm_W
    blend_HW = np.clip(elevation_HW / 0.75, 0, 1) ** 0.7
    sky_HW3 = mix(rgb(palette.horizon), rgb(palette.zenith), blend_HW)
    length_HW = np.sqrt(norm_W**2 + up_H[:, None] ** 2)
    sun_x, sun_y, sun_z = np.asarray(palette.sun) / np.linalg.norm(palette.sun)
    angle_HW = 1 - (plan_x_W * sun_x + plan_y_W * sun_y + up_H[:, None] * sun_z) / length_HW
    strength, spread = palette.glow
    if strength:
        sky_HW3 = mix(sky_HW3, rgb(palette.sun_colour), strength * np.exp(-angle_HW / spread))
        sky_HW3 = mix(sky_HW3, rgb(palette.sun_colour), np.clip((0.0016 - angle_HW) / 0.0005, 0, 1))
    # Far roofs: steps of 3 degrees, too far to move; none near the street's axis, where nearer houses fade into haze.
    step_W = np.floor(np.degrees(np.arctan2(plan_y_W, plan_x_W)) / 3)
    open_W = np.clip((np.abs(plan_y_W) / norm_W - 0.15) / 0.2, 0, 1)
    roof_W = (0.015 + 0.035 * hash01(seed, 77, step_W)) * open_W
    return mix(sky_HW3, rgb(palette.skyline), 0.7 * (elevation_HW < roof_W))


def _ground(
    palette: Palette, depth_G: Array, plan_x_W: Array, plan_y_W: Array, norm_W: Array, focal: float
) -> tuple[Array, tuple[tuple[Array, Array, Array], ...]]:
    """The ground's colour bands, which depend on y alone, and the marks that pass by along x.

    Lines are painted by how much of a pixel's footprint they cover, so that thin far ones fade and do not flicker.
    Returns [G, W, 3] and marks as (weight_GW, relative x_GW, footprint along x_GW): dashes and pavement joints.
    """
    x_GW, y_GW = depth_G[:, None] * plan_x_W, depth_G[:, None] * plan_y_W
    # A pixel covers depth / focal sideways and depth^2 / (height * focal) along the ray.
    side_G, along_G = depth_G[:, None] / focal, depth_G[:, None] ** 2 / (CAMERA_HEIGHT * focal)
    foot_y_GW = np.abs(plan_x_W) * side_G + np.abs(plan_y_W) * along_G + 1e-6
    foot_x_GW = np.abs(plan_y_W) * side_G + np.abs(plan_x_W) * along_G + 1e-6

    def band(low: float, high: float) -> Array:
        half, middle = (high - low) / 2, (high + low) / 2
        return np.clip((half - np.abs(y_GW - middle)) / foot_y_GW + 0.5, 0, np.minimum(1, 2 * half / foot_y_GW))

    def line(y: float) -> Array:
        return band(y - LINE_HALF, y + LINE_HALF)

    light = rgb(palette.light)
    right, left = ROAD_Y
    colour = np.broadcast_to(rgb(palette.grass) * light, (*y_GW.shape, 3))
    colour = mix(
        colour, np.array((0.62, 0.60, 0.57), np.float32) * light, band(right - SIDEWALK_WIDTH, left + SIDEWALK_WIDTH)
    )
    colour = mix(colour, np.array((0.80, 0.79, 0.76), np.float32) * light, band(right - 0.3, left + 0.3))
    colour = mix(colour, rgb(palette.road) * light, band(right, left))
    white, amber = np.array((0.97, 0.97, 0.95), np.float32) * light, np.array((0.95, 0.75, 0.15), np.float32) * light
    colour = mix(colour, white, np.maximum(line(right + 0.35), line(left - 0.35)))
    colour = mix(colour, amber, np.maximum(line(1.5 * LANE_WIDTH - 0.15), line(1.5 * LANE_WIDTH + 0.15)))
    if palette.wet:
        # A wet road mirrors the sky, the more the flatter one looks at it.
        flat_GW = 1 / (1 + (CAMERA_HEIGHT / (depth_G[:, None] * norm_W)) * 3)
        colour = mix(colour, rgb(palette.horizon), palette.wet * flat_GW * band(right, left))
    haze_GW = haze(palette, depth_G[:, None] * norm_W)
    colour = mix(colour, rgb(palette.horizon), haze_GW)
    clear_GW = 1 - haze_GW
    dashes = np.maximum(line(-LANE_WIDTH / 2), line(LANE_WIDTH / 2)) * clear_GW
    joints = (band(right - SIDEWALK_WIDTH, right - 0.3) + band(left + 0.3, left + SIDEWALK_WIDTH)) * clear_GW
    return colour.astype(np.float32), ((dashes, x_GW, foot_x_GW), (joints, x_GW, foot_x_GW))


def paint_marks(stage: Stage, image_HW3: Array, ego_x: float) -> None:
    """Dashed lane lines and pavement joints of this moment."""
    ground_GW3 = image_HW3[stage.horizon_row :]
    light = rgb(stage.palette.light)
    looks = ((np.float32(0.96) * light, DASH_PERIOD, DASH), (np.float32(0.42) * light, SLAB, 0.12))
    for (weight_GW, x_GW, foot_GW), (colour, period, length) in zip(stage.marks, looks, strict=True):
        rows, columns = np.nonzero(weight_GW > 0.01)
        x_N, foot_N = x_GW[rows, columns] + ego_x, foot_GW[rows, columns]
        offset_N = np.abs((x_N + period / 2) % period - period / 2)  # distance to the nearest mark's middle
        cover_N = np.clip((length / 2 - offset_N) / foot_N + 0.5, 0, np.minimum(1, length / foot_N))
        cover_N = np.where(foot_N > period, length / period, cover_N)
        mixed = mix(ground_GW3[rows, columns], colour, cover_N * weight_GW[rows, columns])
        ground_GW3[rows, columns] = mixed


def rgb(colour: tuple[float, float, float]) -> Array:
    return np.array(colour, np.float32)


def mix(first: Array, second: Array, weight: Array | float) -> Array:
    """first * (1 - weight) + second * weight; weight without the colour axis."""
    return first + (second - first) * np.asarray(weight, np.float32)[..., None]


def haze(palette: Palette, distance: Array) -> Array:
    return 1 - np.exp(-distance / np.float32(palette.haze))


def hash01(seed: int, *keys: Array | int) -> Array:
    """Uniform float32 in [0, 1) from integer-valued keys (arrays are broadcast), by a 32-bit mixer."""
    with np.errstate(over="ignore"):
        state = np.asarray(seed & 0xFFFFFFFF, np.uint32)
        for key in keys:
            word = (np.asarray(key).astype(np.int64) & 0xFFFFFFFF).astype(np.uint32)
            state = (state ^ word) * np.uint32(0x9E3779B1)
            state = (state ^ (state >> np.uint32(15))) * np.uint32(0x85EBCA6B)
            state = (state ^ (state >> np.uint32(13))) * np.uint32(0xC2B2AE35)
            state = state ^ (state >> np.uint32(16))
    return (state >> np.uint32(8)).astype(np.float32) / np.float32(2**24)
