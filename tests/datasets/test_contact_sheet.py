"""One picture of several clips: what is where in it."""

from __future__ import annotations

import numpy as np
import pytest
from contact_sheet import contact_rows

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.request import VIEWS


def flat_video(level: int, frames: int = 9) -> bytes:
    """Grey, ten levels brighter from frame to frame."""
    levels = (level + 10 * np.arange(frames))[:, None, None, None]
    return encode_mp4(np.broadcast_to(levels, (frames, 48, 96, 3)).astype(np.uint8), 10)


def test_contact_sheet_has_a_row_a_moment_and_a_column_a_view() -> None:
    """First, middle and last frame; view order, whatever the mapping's."""
    videos = {"cross_right": flat_video(100), "front_wide": flat_video(20)}
    sheet = contact_rows(videos, moments=3, width=40).astype(int)
    assert sheet.shape == (3 * 20 + 2 * 2, 2 * 40 + 2, 3)
    found = [[sheet[y * 22 + 10, x * 42 + 20].mean() for x in range(2)] for y in range(3)]
    assert np.abs(np.array(found) - [[20, 100], [60, 140], [100, 180]]).max() <= 4


def test_contact_sheet_of_seven_views_and_of_a_short_video() -> None:
    sheet = contact_rows({view: flat_video(30, frames=2) for view in reversed(VIEWS)}, moments=3, width=32)
    assert sheet.shape == (3 * 16 + 4, 7 * 32 + 12, 3)


def test_contact_sheet_refuses_what_it_cannot_show() -> None:
    for videos in ({}, {"front": flat_video(1, 1)}):
        with pytest.raises(ValueError, match="expected some of front_wide"):
            contact_rows(videos, moments=3, width=32)
