"""The small video of a clip: every view in its place, in step, and cheap to fetch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosmos_ray.clip.frames import inspect_video, read_frames
from cosmos_ray.clip.pictures import read_picture
from cosmos_ray.clip.preview import columns_of, encode_preview, mosaic, shrink


def test_frames_are_divided_by_a_whole_number() -> None:
    ramp = np.broadcast_to(np.arange(1280, dtype=np.float64)[None, None, :, None] / 5, (2, 704, 1280, 3))
    small = shrink(ramp.astype(np.uint8))
    assert small.shape == (2, 88, 160, 3)
    assert np.abs(small[0, 0, :, 0] - ramp.reshape(2, 704, 160, 8, 3).mean(3)[0, 0, :, 0]).max() < 1.5
    assert shrink(np.zeros((1, 704, 1000, 3), np.uint8)).shape == (1, 117, 166, 3)
    assert shrink(np.zeros((1, 704, 1280, 3), np.uint8), 640).shape == (1, 352, 640, 3)


def test_an_edge_between_two_pixels_is_softened() -> None:
    frames = np.zeros((1, 16, 640, 3), np.uint8)
    frames[:, :, 2:] = 200  # half of the first pixel of four
    assert shrink(frames)[0, 0, :2, 0].tolist() == [100, 200]


def test_small_frames_stay_as_they_are() -> None:
    frames = np.zeros((3, 64, 112, 3), np.uint8)
    assert shrink(frames) is frames


@pytest.mark.parametrize(("views", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (6, 3), (7, 4)])
def test_views_lie_in_at_most_two_lines(views: int, columns: int) -> None:
    assert columns_of(views) == columns
    shapes = mosaic([np.full((2, 9, 11, 3), 10 * view, np.uint8) for view in range(views)])
    assert shapes.shape[1] % 2 == shapes.shape[2] % 2 == 0
    for view in range(views):
        top, left = view // columns * 9, view % columns * 11
        assert (shapes[:, top : top + 9, left : left + 11] == 10 * view).all()


def test_video_and_picture_show_all_views_at_the_same_moment(tmp_path: Path) -> None:
    """View v at frame t has the grey 20 v + 5 t."""
    levels = [20 * view + 5 * np.arange(9)[:, None, None, None] for view in range(7)]
    views = [np.broadcast_to(level, (9, 24, 40, 3)).astype(np.uint8) for level in levels]
    video, picture = encode_preview(views, 4)
    path = tmp_path / "preview.mp4"
    path.write_bytes(video)
    info = inspect_video(path)
    assert (info.frames, info.height, info.width, info.fps) == (9, 48, 160, 4)
    frames = read_frames(path, [0, 4, 8])
    for at, time in enumerate((0, 4, 8)):
        for view in range(7):
            found = frames[at, view // 4 * 24 + 12, view % 4 * 40 + 20].mean()
            assert abs(found - (20 * view + 5 * time)) <= 4, (view, time)
    assert video.index(b"moov") < video.index(b"mdat"), "it begins to play before all of it is there"
    middle = read_picture(picture)
    for view in range(7):
        assert abs(middle[view // 4 * 24 + 12, view % 4 * 40 + 20].mean() - (20 * view + 5 * 4)) <= 6, view
    assert picture.startswith(b"\xff\xd8\xff")
    assert picture.endswith(b"\xff\xd9")
