"""One long shot cut into "views" is told from views one after the other: by what changes across their boundaries."""

from __future__ import annotations

import numpy as np
import pytest
from sample_drive import render, scene_from_seed
from support.videos import moving_picture

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.clip.seams import runs_on, seam_frames, shrink


def judged(frames: np.ndarray, n_views: int) -> bool:
    return runs_on({index: shrink(frames[index]) for index in seam_frames(len(frames), n_views)}, len(frames), n_views)


def test_a_drive_of_seven_cameras_does_not_run_on_and_one_camera_does() -> None:
    for seed in (3, 5):
        drive = render(scene_from_seed(seed), 48, 96, 6, 10)
        assert not judged(np.concatenate([drive[view] for view in VIEWS]), 7)
    long = render(scene_from_seed(3), 48, 96, 42, 10)["front_wide"]
    assert judged(long, 7)
    assert judged(long[::3], 7)


def test_a_camera_that_stands_still_runs_on_and_pictures_without_contrast_tell_nothing() -> None:
    still = np.broadcast_to(moving_picture(1), (14, 48, 64, 3))
    assert judged(still, 7)
    assert not judged(np.full((14, 48, 64, 3), 90, np.uint8), 7)


def test_one_view_or_views_of_one_frame_have_nothing_to_compare() -> None:
    assert seam_frames(40, 1) == []
    assert seam_frames(7, 7) == []
    assert seam_frames(8, 2) == [2, 3, 4, 5]


@pytest.mark.parametrize("size", [(5, 7), (24, 32), (100, 130)])
def test_small_pictures_are_means(size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), 40, np.uint8)
    frame[: size[0] // 2] = 200
    small = shrink(frame)
    assert small.min() == 40
    assert small.max() == 200
    assert small.mean() == pytest.approx(frame.mean(), rel=0.1)
