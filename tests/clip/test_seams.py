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


def picture(brightness: float, contrast: float = 10.0) -> np.ndarray:
    columns = np.where(np.arange(32) % 2, contrast, -contrast)
    return np.broadcast_to(brightness + columns, (24, 32)).astype(np.float32)


def goes_on(*brightness: float, contrast: float = 10.0) -> bool:
    """Two views of four frames, of which two on each side of the boundary are looked at."""
    return runs_on({2 + place: picture(one, contrast) for place, one in enumerate(brightness)}, 8, 2)


def test_a_boundary_may_change_twice_as_much_as_what_lies_beside_it() -> None:
    assert goes_on(0, 10, 30, 30), "the larger of both sides counts"
    assert goes_on(0, 0, 20, 10)
    assert not goes_on(0, 10, 31, 31)
    assert goes_on(0, 0, 1, 1), "a level, where nothing moves"
    assert not goes_on(0, 0, 1.5, 1.5)


def test_boundaries_without_contrast_are_left_out_and_most_must_remain() -> None:
    assert goes_on(0, 0, 0, 0, contrast=4)
    assert not goes_on(0, 0, 0, 0, contrast=3.9)
    for n_views, goes in ((3, False), (4, True)):
        small = {index: picture(0) for index in seam_frames(4 * n_views, n_views)}
        small[4] = picture(0, contrast=0)
        assert runs_on(small, 4 * n_views, n_views) is goes
        small |= {4: picture(0), 3: picture(0, contrast=0)}
        assert runs_on(small, 4 * n_views, n_views) is goes, "nor one whose last picture before it has none"


def test_all_boundaries_have_to_run_on() -> None:
    small = {index: picture(0) for index in seam_frames(12, 3)}
    assert runs_on(small, 12, 3)
    for seam in (4, 8):
        assert not runs_on(small | {seam: picture(50), seam + 1: picture(50)}, 12, 3)
