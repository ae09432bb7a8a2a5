"""The cars of the sample drive: two boxes each, body and cabin, and a shadow.

Shapes: H/W height/width of the image, h/w of the part of it that holds a box, 3 RGB in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sample_drive_stage import Array, Stage, haze, mix, rgb
from sample_drive_world import (
    BODY_TOP,
    CABIN_TOP,
    CABIN_WIDTH,
    CABIN_X,
    CAMERA_HEIGHT,
    CAR_LENGTH,
    CAR_RGB,
    CAR_WIDTH,
    Car,
    Palette,
)


@dataclass(frozen=True)
class _Hit:
    """Where a view meets an upright box. rows, columns: the part of the image that holds it; there, at each pixel:
    depth (m), x and y from the box's origin and z (m); side: a wall (else the lid); end: a wall across the street."""

    rows: slice
    columns: slice
    seen: Array
    depth: Array
    x: Array
    y: Array
    z: Array
    side: Array
    end: Array


def _cast_box(
    stage: Stage,
    depth_HW: Array,
    origin: tuple[float, float],
    x_range: tuple[float, float],
    half_width: float,
    z_range: tuple[float, float],
) -> _Hit | None:
    """Cast all rays of a view at a box of x_range, +-half_width and z_range round `origin` (relative x, y)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        x1_W, x2_W = (origin[0] + x_range[0]) / stage.plan_x_W, (origin[0] + x_range[1]) / stage.plan_x_W
        y1_W, y2_W = (origin[1] - half_width) / stage.plan_y_W, (origin[1] + half_width) / stage.plan_y_W
    near_x_W = np.minimum(x1_W, x2_W)
    in_W = np.maximum(near_x_W, np.minimum(y1_W, y2_W))
    out_W = np.minimum(np.maximum(x1_W, x2_W), np.maximum(y1_W, y2_W))
    hit = np.flatnonzero((in_W < out_W) & (in_W > 0))
    if not len(hit):
        return None
    columns = slice(int(hit[0]), int(hit[-1]) + 1)
    near, far = float(in_W[hit].min()), float(out_W[hit].max())
    slopes = [(z - CAMERA_HEIGHT) / depth for z in z_range for depth in (near, far)]
    inside = np.flatnonzero((stage.up_H >= min(slopes)) & (stage.up_H <= max(slopes)))
    if not len(inside):
        return None
    rows = slice(int(inside[0]), int(inside[-1]) + 1)
    in_w, out_w, up_h = in_W[columns], out_W[columns], stage.up_H[rows, None]
    z_side = CAMERA_HEIGHT + in_w * up_h
    side = (z_side >= z_range[0]) & (z_side <= z_range[1])
    with np.errstate(divide="ignore"):
        lid_depth = (z_range[1] - CAMERA_HEIGHT) / up_h  # the camera is higher than every box
    depth = np.where(side, in_w, lid_depth)
    lid = (lid_depth > in_w) & (lid_depth < out_w)
    seen = (side | lid) & (in_w < out_w) & (in_w > 0) & (depth < depth_HW[rows, columns] * 1.0005)
    x, y = depth * stage.plan_x_W[columns] - origin[0], depth * stage.plan_y_W[columns] - origin[1]
    end = np.broadcast_to(in_w == near_x_W[columns], side.shape)
    return _Hit(rows, columns, seen, depth, x, y, CAMERA_HEIGHT + depth * up_h, side, end)


def paint_shadow(stage: Stage, image_HW3: Array, depth_HW: Array, car: Car, x: float) -> None:
    half = CAR_LENGTH / 2 + 0.25
    hit = _cast_box(stage, depth_HW, (x, car.y), (-half, half), CAR_WIDTH / 2 + 0.2, (0.0, 0.0))
    if hit is None:
        return
    edge = np.minimum(half - np.abs(hit.x), CAR_WIDTH / 2 + 0.2 - np.abs(hit.y))
    dark = np.where(hit.seen, 0.75 * np.clip(edge / 0.4, 0, 1), 0)[..., None]
    image_HW3[hit.rows, hit.columns] *= 1 - dark


def paint_car(stage: Stage, image_HW3: Array, depth_HW: Array, car: Car, x: float) -> None:
    """Body with wheels and lights, then the cabin with its windows."""
    half = CAR_LENGTH / 2
    body = _cast_box(stage, depth_HW, (x, car.y), (-half, half), CAR_WIDTH / 2, (0.0, BODY_TOP))
    if body is not None:
        _paint_hit(stage, image_HW3, depth_HW, body, *_body(stage.palette, car, body))
    low, high = sorted(car.heading * end for end in CABIN_X)
    cabin = _cast_box(stage, depth_HW, (x, car.y), (low, high), CABIN_WIDTH / 2, (BODY_TOP, CABIN_TOP))
    if cabin is not None:
        _paint_hit(stage, image_HW3, depth_HW, cabin, _cabin(stage.palette, car, cabin, (low, high)), cabin.seen)


def _paint_hit(stage: Stage, image_HW3: Array, depth_HW: Array, hit: _Hit, colour: Array, solid: Array) -> None:
    """Put the solid part of a box into the image, through the haze, and its depth into the buffer."""
    faded = haze(stage.palette, hit.depth * stage.norm_W[hit.columns])
    image, depth = image_HW3[hit.rows, hit.columns], depth_HW[hit.rows, hit.columns]
    image[solid] = mix(colour, rgb(stage.palette.horizon), faded)[solid]
    depth[solid] = hit.depth[solid]


def _paintwork(palette: Palette, car: Car, hit: _Hit) -> Array:
    """The car's colour, brighter on lids than on walls. Kept nearer to its own hue than the light would, so that it
    can still be named at dusk."""
    shade = np.where(hit.side, np.where(hit.end, 0.82, 0.92), 1.0)[..., None]
    return rgb(CAR_RGB[car.colour]) * (0.6 + 0.4 * rgb(palette.light)) * shade


def _body(palette: Palette, car: Car, hit: _Hit) -> tuple[Array, Array]:
    """Colours [h, w, 3] and which pixels are solid: under the sills only the wheels are."""
    colour = _paintwork(palette, car, hit)
    flank, across = hit.side & ~hit.end, np.abs(hit.y)
    along = np.abs(np.abs(hit.x) - 1.45)
    hub = np.sqrt(along**2 + (hit.z - 0.36) ** 2)
    tyre = (flank & (hub < 0.38)) | (hit.side & hit.end & (across > 0.62) & (hit.z < 0.3))
    colour = np.where(tyre[..., None], np.float32(0.05), colour)
    colour = np.where((flank & (hub < 0.17))[..., None], np.float32(0.55) * rgb(palette.light), colour)
    lamp = hit.side & hit.end & (across > 0.55) & (across < 0.92) & (hit.z > 0.58) & (hit.z < 0.84)
    rear = hit.x * car.heading < 0
    lamp_rgb = np.where(
        rear[..., None], np.array((1.0, 0.10, 0.05), np.float32), np.array((1.0, 0.98, 0.85), np.float32)
    )
    colour = np.where(lamp[..., None], lamp_rgb, colour)
    plate = hit.side & hit.end & (across < 0.3) & (hit.z > 0.45) & (hit.z < 0.6)
    colour = np.where(plate[..., None], np.float32(0.85) * rgb(palette.light), colour)
    return colour, hit.seen & (~hit.side | (hit.z > 0.3) | tyre)


def _cabin(palette: Palette, car: Car, hit: _Hit, x_range: tuple[float, float]) -> Array:
    """Glass all round, between pillars; the roof in the car's colour."""
    from_end = np.minimum(hit.x - x_range[0], x_range[1] - hit.x)
    pillar = np.where(
        hit.end, CABIN_WIDTH / 2 - np.abs(hit.y) < 0.12, (from_end < 0.14) | (np.abs(hit.x - sum(x_range) / 2) < 0.07)
    )
    glass = hit.side & ~pillar & (hit.z > BODY_TOP + 0.06) & (hit.z < CABIN_TOP - 0.1)
    return np.where(glass[..., None], rgb(palette.glass) * 0.6 * rgb(palette.light), _paintwork(palette, car, hit))
