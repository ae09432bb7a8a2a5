"""What is told of frames while they are in memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cosmos_ray.clip.checks import MAX_PSNR_DB, Scores, look_at, psnr_db, small

SIZES = [(29, 64, 112), (9, 176, 320), (2, 90, 130)]


def drive(frames: int, height: int, width: int) -> np.ndarray:
    """A picture with detail that moves on."""
    picture = np.random.default_rng(1).integers(40, 200, (height, width + 2 * frames, 3), np.uint8)
    return np.stack([picture[:, 2 * t : 2 * t + width] for t in range(frames)])


def scores(frames: np.ndarray, given: np.ndarray | None = None) -> Scores:
    return look_at(frames, given).scores


@pytest.mark.parametrize("size", SIZES)
def test_a_drive_has_nothing_of_what_is_looked_for(size: tuple[int, int, int]) -> None:
    found = scores(drive(*size))
    assert (found.black, found.frozen, found.saturated, found.given_psnr_db, found.agreement) == (0, 0, 0, None, None)
    assert found.flicker < 1
    assert found.sharpness > 20


@pytest.mark.parametrize("size", SIZES)
def test_black_frames_are_counted(size: tuple[int, int, int]) -> None:
    frames = drive(*size)
    dark = len(frames) // 2
    frames[:dark] = 3
    frames[0, 0, 0] = 255  # one pixel makes no picture
    assert scores(frames).black == round(dark / len(frames), 4)
    assert scores(np.full_like(frames, 8)).black == 1


@pytest.mark.parametrize("size", SIZES)
def test_steps_in_which_nothing_changes_are_counted(size: tuple[int, int, int]) -> None:
    frames = drive(*size)
    still = frames.copy()
    still[:] = frames[0]
    assert scores(still).frozen == 1
    frames[1] = frames[0]
    assert scores(frames).frozen == round(1 / (len(frames) - 1), 4)
    noisy = still.astype(int) + np.random.default_rng(2).integers(0, 2, still.shape)
    assert scores(noisy.astype(np.uint8)).frozen == 0


@pytest.mark.parametrize("size", SIZES)
def test_pixels_at_the_end_of_a_colour_are_counted(size: tuple[int, int, int]) -> None:
    frames = drive(*size)
    frames[:, : size[1] // 2, :, 2] = 255
    assert scores(frames).saturated == pytest.approx(0.5, abs=0.02)
    assert scores(np.full_like(frames, 250)).saturated == 0


def test_a_picture_is_a_video_of_one_frame() -> None:
    found = scores(drive(1, 64, 112))
    assert (found.black, found.frozen, found.flicker) == (0, 0, 0)


def test_brightness_that_jumps_to_and_fro_flickers_and_one_that_fades_does_not() -> None:
    frames = drive(29, 64, 112).astype(int)
    jumping, fading = frames.copy(), frames.copy()
    jumping[::2] += 20
    fading += np.arange(29)[:, None, None, None]
    calm = scores(frames.astype(np.uint8)).flicker
    assert scores(jumping.astype(np.uint8)).flicker == pytest.approx(20, abs=2)
    assert scores(fading.astype(np.uint8)).flicker < calm + 0.5


def test_what_is_blurred_is_less_sharp() -> None:
    frames = drive(9, 176, 320)
    blurred = frames.copy()
    for _ in range(6):
        blurred = ((blurred.astype(int) + np.roll(blurred, 1, 2) + np.roll(blurred, 1, 1)) // 3).astype(np.uint8)
    assert scores(blurred).sharpness < scores(frames).sharpness / 3
    assert scores(np.full_like(frames, 90)).sharpness == 0


def test_given_frames_are_compared_with_the_first_ones() -> None:
    frames = drive(29, 64, 112)
    assert scores(frames, frames[:5]).given_psnr_db == MAX_PSNR_DB
    assert scores(frames, frames[:0]).given_psnr_db is None
    assert scores(frames, frames[:5] + np.uint8(10)).given_psnr_db == pytest.approx(28.13, abs=0.01)
    assert scores(frames, frames[5:10]).given_psnr_db < 15  # the right frames, at the wrong time


def test_psnr_does_not_wrap_round() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr_db(black, white) == psnr_db(white, black) == 0


@pytest.mark.parametrize("size", [(29, 64, 112), (29, 704, 1280), (57, 720, 1280), (1, 44, 60), (9, 50, 70)])
def test_small_pictures_are_means_of_the_frames(size: tuple[int, int, int]) -> None:
    frames = np.empty((*size, 3), np.uint8)
    frames[:] = np.linspace(0, 250, size[0]).astype(np.uint8)[:, None, None, None]
    found = small(frames)
    assert len(found) == min(8, size[0])
    assert 44 <= found.shape[1] < 88
    assert found[0].max() == 0
    assert found[-1].min() == (250 if size[0] > 1 else 0)


@pytest.mark.parametrize("axis", [1, 2])
def test_lines_up_and_down_and_across_count_alike(axis: int) -> None:
    """Of two neighbours one is 10 levels brighter: in one of the two directions."""
    frames = np.full((3, 40, 60, 3), 100, np.uint8)
    np.moveaxis(frames, axis, 0)[::2] += np.uint8(10)
    assert scores(frames).sharpness == pytest.approx(10 / 2**0.5, abs=1e-3)


def test_of_more_given_frames_than_there_are_the_first_are_compared() -> None:
    frames = drive(9, 64, 112)
    assert scores(frames[:3], frames).given_psnr_db == MAX_PSNR_DB


def test_the_last_two_levels_are_the_end_of_a_colour_and_a_colour_is_enough_to_be_no_black() -> None:
    picture = np.zeros((2, 64, 112, 3), np.uint8)
    for level, share in ((253, 0), (254, 1)):
        picture[..., 0] = level
        assert (scores(picture).saturated, scores(picture).black) == (share, 0)
    for level, share in ((24, 1), (25, 0)):
        picture[..., 0] = level
        assert scores(picture).black == share


def test_scores_are_what_they_were() -> None:
    """Of waves, another in each colour, larger than what is looked at: limits of jobs stand on these numbers."""
    t, y, x = np.mgrid[:11, :200, :300]
    colours = [
        90 + (30 + 60 * colour) * np.sin((x * (1 + colour) + 3 * y + 7 * t) / 20) + 25 * (t % 3) for colour in range(3)
    ]
    frames = np.clip(np.stack(colours, -1), 0, 255).astype(np.uint8)
    frames[2] = frames[1]
    found = look_at(frames, frames[1:4])
    expected = (0.0, 0.1, 0.0967, 19.9719, 8.1132, 17.0382)
    assert dataclasses.astuple(found.scores)[:6] == pytest.approx(expected, abs=2e-4)
    assert found.small_ThwC.shape == (8, 50, 75, 3)
    few = found.small_ThwC[[0, 3, -1], [0, 10, -1], [0, 20, -1]]
    assert np.abs(few.astype(int) - [[98, 122, 153], [92, 109, 236], [92, 118, 218]]).max() <= 1
