"""The sample drive's ray caster: numpy alone, one view and one frame at a time, columns first.

The cameras are level, so a column's plan direction is fixed and all walls are vertical: a wall is found once a column
and only its height is looked at per pixel. Houses, shadows and cars compete through a depth buffer. What moves with
the camera (sky, the ground's bands) is painted once a view (`sample_drive_stage`), the rest once a frame
(`sample_drive_houses`, `sample_drive_cars`).

Shapes: T frames, H/W height/width (supersampled inside), 3 RGB (0..1 inside).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sample_drive_cars import paint_car, paint_shadow
from sample_drive_houses import paint_houses
from sample_drive_stage import Array, Stage, paint_marks, set_stage
from sample_drive_world import CAMERAS, Scene

from cosmos_ray.clip.request import VIEWS


def render(
    scene: Scene,
    height: int,
    width: int,
    num_frames: int = 29,
    fps: float = 10,
    views: Sequence[str] = VIEWS,
    start_time: float = 0.0,
    supersample: int = 2,
) -> dict[str, Array]:
    """Frames of a drive: {view: uint8 [num_frames, height, width, 3]}.

    A frame is a function of the scene and its time, start_time + index / fps (s, rounded to a microsecond), alone: a
    render that starts later continues an earlier one exactly. supersample: rays a pixel in each direction.
    """
    if min(height, width, num_frames, supersample) < 1 or fps <= 0:
        raise ValueError(
            f"height {height}, width {width}, num_frames {num_frames}, supersample {supersample} and fps {fps} must be "
            "positive"
        )
    unknown = [view for view in views if view not in CAMERAS]
    if unknown:
        raise ValueError(f"unknown views {unknown}, expected some of {list(CAMERAS)}")
    times = [round(start_time + index / fps, 6) for index in range(num_frames)]
    video: dict[str, Array] = {}
    for view in views:
        stage = set_stage(scene, view, height * supersample, width * supersample)
        frames_THW3 = np.empty((num_frames, height, width, 3), np.uint8)
        for index, time in enumerate(times):
            image = _frame(stage, time)
            image = image.reshape(height, supersample, width, supersample, 3).mean(axis=(1, 3))
            if scene.streaks:
                _rain_streaks(image, scene, view, time)
            frames_THW3[index] = np.clip(image * 255.0 + 0.5, 0, 255).astype(np.uint8)
        video[view] = frames_THW3
    return video


def _frame(stage: Stage, time: float) -> Array:
    """One supersampled frame, float32 [H, W, 3]."""
    image_HW3, depth_HW = stage.base_HW3.copy(), stage.depth_HW.copy()
    ego_x = stage.scene.ego_speed * time
    paint_marks(stage, image_HW3, ego_x)
    paint_houses(stage, image_HW3, depth_HW, ego_x)
    places = [(car, car.position(time)) for car in stage.scene.cars]
    for car, x in places:
        paint_shadow(stage, image_HW3, depth_HW, car, x)
    for car, x in places:
        paint_car(stage, image_HW3, depth_HW, car, x)
    return image_HW3


def _rain_streaks(image_HW3: Array, scene: Scene, view: str, time: float) -> None:
    """Short bright strokes, the same for the same scene, view and time at any size."""
    height, width, _ = image_HW3.shape
    rng = np.random.default_rng((scene.buildings, VIEWS.index(view), round(time * 1e6) % 2**63))
    for u, v, length in rng.random((scene.streaks, 3)):
        left, top = int(u * width), int((1.1 * v - 0.1) * height)
        bottom = top + max(2, int((0.04 + 0.08 * length) * height))
        stroke = image_HW3[max(top, 0) : max(bottom, 0), left : left + max(1, width // 500)]
        stroke += 0.22 * (1 - stroke)
