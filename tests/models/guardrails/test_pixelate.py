"""Regions made unrecognisable: which are, to where they reach, and what is left as it is."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_ray.models.guardrails.pixelate import pixelate

FRAME = np.random.RandomState(0).randint(0, 256, (60, 80, 3)).astype(np.uint8)


def changed(*boxes: list[float]) -> tuple[int, np.ndarray]:
    frame = FRAME.copy()
    count = pixelate(frame, np.array(boxes, np.float32))
    return count, (frame != FRAME).any(axis=2)


@pytest.mark.parametrize(
    ("box", "count"),
    [([4, 4, 24, 24], 1), ([4, 4, 23, 50], 0), ([4, 4, 50, 23], 0), ([4, 4, 24.9, 23.9], 0), ([4, 4, 24.9, 24.9], 1)],
)
def test_a_region_of_less_than_twenty_pixels_either_way_is_left(box: list[float], count: int) -> None:
    """As published: corners are cut to whole pixels first."""
    assert changed(box)[0] == count
    assert changed(box)[1].any() == bool(count)


def test_a_region_reaches_from_its_first_pixel_to_the_one_before_its_last() -> None:
    count, where = changed([10, 5, 50, 45])
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    assert (count, rows[0], rows[-1], columns[0], columns[-1]) == (1, 5, 44, 10, 49)


def test_what_lies_beyond_the_picture_is_cut_off_and_a_region_outside_is_none() -> None:
    count, where = changed([-30, -30, 15, 12], [200, 200, 260, 260])
    assert count == 1
    assert not where[12:].any()
    assert not where[:, 15:].any()


def test_it_has_five_by_five_colours_near_those_that_were_there() -> None:
    """Of a picture that brightens from left to right, so do they."""
    frame = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], 100, axis=0).repeat(3, axis=2)
    assert pixelate(frame, np.array([[0.0, 0.0, 100.0, 100.0]])) == 1
    colours = frame[0, ::20, 0].astype(int)
    assert np.abs(colours - np.array([19, 59, 99, 139, 179])).max() <= 1, "what is in the middle of each"
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) == 5


@pytest.mark.parametrize(
    ("box", "colours"),
    [
        ([10, -30, 40, 2], [[223, 164, 27, 100, 165], [195, 154, 68, 135, 165]]),
        ([30, 58, 60, 90], [[74, 96, 74, 176, 147], [113, 108, 99, 189, 128]]),
        ([10, -30, 40, 1], [[223, 164, 27, 100, 165]]),
        ([-30, 10, 2, 40], [[132, 173], [227, 213], [112, 154], [118, 120], [50, 60]]),
    ],
    ids=["two rows at the top", "two at the bottom", "one", "two columns at the left"],
)
def test_what_an_edge_leaves_of_a_region_has_the_colours_of_opencv(box: list[float], colours: list[list[int]]) -> None:
    """Of OpenCV 5.0.0, red of each colour."""
    frame = FRAME.copy()
    assert pixelate(frame, np.array([box], np.float32)) == 1
    left, top, right, bottom = np.clip(np.array(box, int), 0, (80, 60, 80, 60))
    region = frame[top:bottom, left:right, 0]
    every = [max(1, length // 5) for length in region.shape]
    assert region[:: every[0], :: every[1]].tolist() == colours
