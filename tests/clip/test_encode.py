"""What writing videos and pictures promises, tried on real files made here.

Legend: T frames, H/W height/width.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from support.videos import moving_picture, write

from cosmos_ray.clip import encode as module
from cosmos_ray.clip.encode import encode_jpeg, encode_mp4, encode_png, encode_view, stack_views
from cosmos_ray.clip.frames import decode_mp4, inspect_video
from cosmos_ray.clip.request import file_of


def test_mp4_comes_back_with_its_colours() -> None:
    """Smooth content loses little; a wrong colour matrix or range would cost about ten levels."""
    frames = moving_picture(10, 96, 128)
    again = decode_mp4(encode_mp4(frames, 10)).astype(int)
    assert again.shape == frames.shape
    assert np.abs(again - frames).mean() < 4
    for colour in ([255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [30, 60, 200]):
        flat = np.broadcast_to(np.array(colour, np.uint8), (2, 32, 32, 3))
        assert np.abs(decode_mp4(encode_mp4(flat, 10)) - np.array(colour)).max() <= 3


def test_same_frames_give_the_same_bytes() -> None:
    frames = moving_picture(10)
    assert encode_mp4(frames, 10) == encode_mp4(frames.copy(), 10)
    assert encode_mp4(frames, 10) != encode_mp4(255 - frames, 10)
    other_order = np.ascontiguousarray(frames.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    assert encode_mp4(frames, 10) == encode_mp4(other_order, 10)


def test_mp4_is_tagged_bt709_and_begins_with_its_index(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(5), fps=10)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert b"Lavf" not in content
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    log = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False).stderr
    assert "h264" in log
    assert "yuv420p(tv, bt709, progressive)" in log
    assert "10 fps" in log


def test_the_rate_of_television_is_kept_to_the_last_digit(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(3), fps=30000 / 1001)
    assert inspect_video(path).fps == pytest.approx(30000 / 1001, rel=1e-9)


def test_odd_sizes_and_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="found frames of 64x47, expected an even width and height"):
        encode_mp4(np.zeros((2, 47, 64, 3), np.uint8), 10)
    for wrong in (np.zeros((2, 48, 64), np.uint8), np.zeros((2, 48, 64, 3)), np.zeros((0, 48, 64, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"expected uint8 \[T, H, W, 3\], not empty"):
            encode_mp4(wrong, 10)
    for fps in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="fps"):
            encode_mp4(moving_picture(2), fps)


def test_stacked_views_lie_from_top_to_bottom(tmp_path: Path) -> None:
    """As bytes or as files, in the order given, frame for frame."""
    views = [moving_picture(6, 48, 64, seed) for seed in range(3)]
    sources = [encode_mp4(views[0], 10), write(tmp_path / "b.mp4", views[1]), encode_mp4(views[2], 10)]
    stacked = stack_views(sources, fps=10)
    (tmp_path / "stacked.mp4").write_bytes(stacked)
    info = inspect_video(tmp_path / "stacked.mp4")
    assert (info.frames, info.height, info.width, info.fps) == (6, 144, 64, 10.0)
    difference = decode_mp4(stacked).astype(int) - np.concatenate(views, axis=1)
    assert np.abs(difference).mean() < 4
    assert stack_views(sources, fps=10) == stacked
    one = decode_mp4(stack_views(sources[:1], fps=10))
    assert one.shape == views[0].shape


def test_views_that_do_not_fit_are_not_stacked() -> None:
    short, long = encode_mp4(moving_picture(3), 10), encode_mp4(moving_picture(4), 10)
    with pytest.raises(ValueError, match=r"\[\(3, 48, 64\), \(4, 48, 64\)\]"):
        stack_views([short, long], 10)
    with pytest.raises(ValueError, match="no videos"):
        stack_views([], 10)


def test_png_is_lossless_and_jpeg_close(tmp_path: Path) -> None:
    picture = moving_picture(1, 45, 61)[0]

    def read(data: bytes) -> np.ndarray:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "image2pipe", "-i", "-"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        raw = subprocess.run(command, input=data, capture_output=True, check=True).stdout
        return np.frombuffer(raw, np.uint8).reshape(picture.shape)

    png, fine, coarse = encode_png(picture), encode_jpeg(picture, 95), encode_jpeg(picture, 5)
    assert png.startswith(b"\x89PNG")
    assert fine.startswith(b"\xff\xd8\xff")
    assert np.array_equal(read(png), picture)
    assert np.abs(read(fine).astype(int) - picture).mean() < 3
    assert len(coarse) < len(fine)
    with pytest.raises(ValueError, match="found quality 0, expected 1 to 100"):
        encode_jpeg(picture, 0)


def test_a_view_becomes_a_video_and_a_picture_a_picture() -> None:
    frames = moving_picture(3)
    assert encode_view("rear", frames, 7) == encode_mp4(frames, 7)
    assert encode_view("video", frames, 7) == encode_mp4(frames, 7)
    assert encode_view("picture", frames, 7) == encode_png(frames[0])
    assert (file_of("rear"), file_of("picture")) == ("rear.mp4", "picture.png")


def test_what_decides_the_bytes_is_the_same_in_every_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quality, speed, and the number of threads, which shows in the bytes."""
    told: list[tuple[str, ...]] = []

    def run(arguments: tuple[str, ...], data: bytes) -> bytes:
        told.append(arguments)
        Path(arguments[-1].removeprefix("file:")).touch()
        return b""

    monkeypatch.setattr(module, "run", run)
    encode_mp4(moving_picture(2), 24)
    (said,) = told
    for name, value in (
        ("-crf", "15"),
        ("-preset", "medium"),
        ("-threads", "4"),
        ("-framerate", "24"),
        ("-c:v", "libx264"),
    ):
        assert said[said.index(name) + 1] == value


def test_jpeg_has_the_whole_scale_of_its_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(module, "run", lambda arguments, data: told.append(arguments) or b"")
    for quality in (1, 50, 85, 100):
        encode_jpeg(moving_picture(1)[0], quality)
    encode_jpeg(moving_picture(1)[0])
    assert [int(said[said.index("-q:v") + 1]) for said in told] == [31, 17, 6, 2, 6]
    with pytest.raises(ValueError, match="found quality 101"):
        encode_jpeg(moving_picture(1)[0], 101)
