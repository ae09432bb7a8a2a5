"""PSNR and SSIM of two files, beside numpy's own sums over the frames that are in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosmos_ray.clip.checks import MAX_PSNR_DB
from cosmos_ray.clip.checks import psnr_db as psnr_of_frames
from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.ffmpeg import FfmpegFailed, run
from cosmos_ray.clip.likeness import likeness, psnr_db

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def street(seed: int, noise: int = 0, frames: int = 6, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Smooth pictures that move, [T, H, W, 3], with some noise in them."""
    t, y, x, c = np.meshgrid(*map(np.arange, (frames, *size, 3)), indexing="ij")
    smooth = 128 + 90 * np.sin(x / 9 + t / 3 + c) * np.cos(y / 7 + seed)
    rough = np.random.default_rng(seed).integers(-noise, noise + 1, smooth.shape) if noise else 0
    return np.clip(smooth + rough, 0, 255).astype(np.uint8)


def mp4(path: Path, frames: np.ndarray, fps: int = 10) -> Path:
    path.write_bytes(encode_mp4(frames, fps))
    return path


def luma_of(path: Path, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Float64 [T, H, W], as the file has it."""
    height, width = size
    planes = np.frombuffer(run(("-i", str(path), "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")), np.uint8)
    return planes.reshape(-1, height * width * 3 // 2)[:, : height * width].reshape(-1, height, width).astype(float)


def colours_of(path: Path, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """uint8 [T, 3, H, W], as the ffmpeg that is tested makes them: older ones round otherwise on the way to RGB."""
    planes = np.frombuffer(run(("-i", str(path), "-f", "rawvideo", "-pix_fmt", "gbrp", "-")), np.uint8)
    return planes.reshape(-1, 3, *size)


def ssim_by_hand(first: np.ndarray, second: np.ndarray) -> float:
    """Of one picture each, window by window, as the paper has it."""
    found = []
    for top in range(0, first.shape[0] - 7, 4):
        for left in range(0, first.shape[1] - 7, 4):
            one, other = (picture[top : top + 8, left : left + 8] for picture in (first, second))
            covariance = ((one - one.mean()) * (other - other.mean())).sum() / 63
            likeness = (2 * one.mean() * other.mean() + C1) / (one.mean() ** 2 + other.mean() ** 2 + C1)
            found.append(likeness * (2 * covariance + C2) / (one.var(ddof=1) + other.var(ddof=1) + C2))
    return float(np.mean(found))


@pytest.mark.parametrize("noise", [4, 40])
def test_they_are_what_numpy_finds_in_the_decoded_frames(tmp_path: Path, noise: int) -> None:
    first, second = mp4(tmp_path / "a.mp4", street(1)), mp4(tmp_path / "b.mp4", street(1, noise))
    found = likeness(first, second)
    assert psnr_db([found.mean_square]) == pytest.approx(psnr_of_frames(colours_of(first), colours_of(second)), abs=0.1)
    by_hand = [ssim_by_hand(*pictures) for pictures in zip(luma_of(first), luma_of(second), strict=True)]
    assert found.ssim == pytest.approx(np.mean(by_hand), abs=1e-3)
    assert 0.2 < found.ssim < 0.999


def test_more_noise_is_further_away_and_the_same_file_is_at_no_distance(tmp_path: Path) -> None:
    first = mp4(tmp_path / "a.mp4", street(1))
    near, far = (likeness(first, mp4(tmp_path / f"{noise}.mp4", street(1, noise))) for noise in (8, 60))
    assert near.mean_square < far.mean_square
    assert near.ssim > far.ssim
    same = likeness(first, first)
    assert (psnr_db([same.mean_square]), same.ssim) == (MAX_PSNR_DB, 1.0)


def test_frames_are_compared_by_number_whatever_their_rates(tmp_path: Path) -> None:
    slow, fast = mp4(tmp_path / "a.mp4", street(1, frames=8), 4), mp4(tmp_path / "b.mp4", street(1, frames=8), 30)
    assert likeness(slow, fast).ssim > 0.99


def test_views_are_taken_together_by_their_errors_not_by_their_decibels() -> None:
    """By hand: mean squares 1 and 3 have the mean 2, 10 lg (65025 / 2) dB."""
    assert psnr_db([1.0, 3.0]) == pytest.approx(45.1205, abs=1e-3)


def test_pictures_are_compared_too_and_what_is_none_is_said(tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    size = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", "64x48", "-i", "pipe:0")
    run((*size, "-frames:v", "1", str(picture)), street(1, frames=1).tobytes())
    assert likeness(picture, picture).ssim == 1.0
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(FfmpegFailed):
        likeness(picture, tmp_path / "broken.mp4")
