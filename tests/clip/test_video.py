"""What reading and writing videos promises, tried on real files made and cut here.

Legend: V views, T frames, n conditioning frames, H/W height/width, C channels (RGB).
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from safetensors import safe_open
from support.paths import GOLDEN

from cosmos_ray.clip import video
from cosmos_ray.errors import RowError


def moving_picture(frames: int = 12, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth colours that move, uint8 [T, H, W, 3]: something that a video codec carries well."""
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    time, y, x = np.meshgrid(np.arange(frames) / 10, np.arange(height) / 15, np.arange(width) / 15, indexing="ij")
    return np.stack([127.5 + 110 * np.sin(x + y * k + time + phase[k]) for k in range(3)], -1).astype(np.uint8)


def numbered(frames: int, height: int = 32, width: int = 32, first: int = 0) -> np.ndarray:
    """Frame number k is a flat grey of 10 + 6 (first + k): tells which frames have been taken."""
    levels = 10 + 6 * (first + np.arange(frames))
    return np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)).astype(np.uint8)


def numbers(frames: np.ndarray) -> list[int]:
    """The frame numbers that `numbered` wrote, from [..., H, W, 3]."""
    return np.rint((frames.mean(axis=(-3, -2, -1)) - 10) / 6).astype(int).ravel().tolist()


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def write(path: Path, frames: np.ndarray, fps: float = 10) -> Path:
    path.write_bytes(video.encode_mp4(frames, fps))
    return path


def index_at_the_end(source: Path, target: Path) -> Path:
    ffmpeg("-i", source, "-c", "copy", target)
    assert target.read_bytes().index(b"mdat") < target.read_bytes().index(b"moov")
    return target


# --- probe ---


def test_probe_counts_frames_and_knows_size_and_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(29, 48, 64), fps=10)
    assert video.probe(path) == video.VideoInfo(frames=29, height=48, width=64, fps=10.0)
    ntsc = write(tmp_path / "ntsc.mp4", moving_picture(7), fps=30000 / 1001)
    assert video.probe(ntsc).fps == pytest.approx(29.97, abs=0.01)
    assert video.probe(write(tmp_path / "one.mp4", moving_picture(1))).frames == 1


def test_probe_counts_what_an_edit_list_leaves(tmp_path: Path) -> None:
    """A cut without re-encoding keeps the packets before the cut and hides them: they are not frames."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=10:duration=4", "-g", "20", tmp_path / "whole.mp4")
    ffmpeg("-ss", "0.7", "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "cut.mp4")
    info = video.probe(tmp_path / "cut.mp4")
    assert info.frames == 33
    shown = video.read_frames(tmp_path / "cut.mp4", [0], info)
    assert np.array_equal(shown[0], video.decode_mp4(tmp_path / "whole.mp4")[7])


def test_rotated_video_is_read_upright(tmp_path: Path) -> None:
    frames = moving_picture(2, 48, 64)
    write(tmp_path / "flat.mp4", frames)
    ffmpeg("-display_rotation", "90", "-i", tmp_path / "flat.mp4", "-c", "copy", tmp_path / "turned.mp4")
    info = video.probe(tmp_path / "turned.mp4")
    assert (info.height, info.width) == (64, 48)
    turned = video.decode_mp4(tmp_path / "turned.mp4").astype(int)
    assert np.abs(turned - np.rot90(frames, 1, axes=(1, 2))).mean() < 4


@pytest.mark.parametrize("kept", [0.99, 0.7, 0.4])
def test_truncated_file_with_index_in_front_is_found(tmp_path: Path, kept: float) -> None:
    """faststart: the index is complete and promises frames that are not there."""
    whole = video.encode_mp4(moving_picture(20, 144, 192), 10)
    assert whole.index(b"moov") < whole.index(b"mdat") < kept * len(whole)
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(RowError, match=r"^truncated: box 'mdat' has \d+ of its \d+ bytes"):
        video.probe(path)


@pytest.mark.parametrize("kept", [0.95, 0.5])
def test_truncated_file_with_index_at_the_end_is_found(tmp_path: Path, kept: float) -> None:
    whole = index_at_the_end(write(tmp_path / "a.mp4", moving_picture(20)), tmp_path / "b.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(RowError, match=r"^truncated: "):
        video.probe(path)
    path.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(RowError, match=r"^truncated: there is no index \(box 'moov'\)"):
        video.probe(path)


def test_truncation_is_found_where_the_data_box_claims_no_size(tmp_path: Path) -> None:
    """Size 0 means "up to the end of the file": only the decoder can tell."""
    whole = bytearray(video.encode_mp4(moving_picture(20), 10))
    start = whole.index(b"mdat") - 4
    whole[start : start + 4] = bytes(4)
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole)
    assert video.probe(path).frames == 20
    path.write_bytes(whole[: int(0.6 * len(whole))])
    with pytest.raises(RowError, match=r"^damaged: "):
        video.probe(path)


def test_a_file_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    assert [video.probe(write(path, moving_picture(count))).frames for count in (3, 5, 4)] == [3, 5, 4]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RowError, match=r"^truncated: "):
        video.probe(path)


def test_damaged_data_is_found(tmp_path: Path) -> None:
    whole = bytearray(video.encode_mp4(moving_picture(20, 96, 128), 10))
    middle = (whole.index(b"mdat") + len(whole)) // 2
    whole[middle : middle + 400] = bytes(400)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(whole)
    with pytest.raises(RowError, match=r"^damaged: "):
        video.probe(path)


def test_files_that_are_no_videos_are_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    for content in (b"", b"hello", b"a text file that somebody has renamed", bytes(4000), os.urandom(5000)):
        path.write_bytes(content)
        with pytest.raises(RowError, match=r"^not an mp4: ") as caught:
            video.probe(path)
        assert caught.value.failure_class == "input"
    path.unlink()
    with pytest.raises(RowError, match=r"^no such file: clip\.mp4$"):
        video.probe(path)
    with pytest.raises(RowError, match="not a regular file"):
        video.probe(tmp_path)
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", path)
    with pytest.raises(RowError, match=r"^no video stream$"):
        video.probe(path)


def test_errors_say_what_ffmpeg_says_without_folders_or_addresses(tmp_path: Path) -> None:
    content = video.encode_mp4(moving_picture(3), 10).replace(b"stsz", b"none")
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(RowError, match=r"^damaged: stream 0, missing mandatory atoms, broken header$"):
        video.probe(path)


# --- safety ---


def one_frame(path: Path) -> np.ndarray:
    """Straight to ffmpeg, past our own look at the file."""
    return video.read_frames(path, [0], video.VideoInfo(1, 48, 64, 10.0))


@pytest.mark.parametrize("kind", ["hls", "concat"])
@pytest.mark.parametrize("read", [video.probe, one_frame], ids=["whole way", "ffmpeg alone"])
def test_a_playlist_renamed_mp4_fails_and_nothing_it_names_is_opened(
    tmp_path: Path, kind: str, read: Callable[[Path], object]
) -> None:
    """The file named is a fifo: if anybody opened it for reading, the writer waiting at its other end would wake."""
    secret = tmp_path / "secret"
    os.mkfifo(secret)
    opened = threading.Event()

    def wait_for_a_reader() -> None:
        with secret.open("wb"):
            opened.set()

    writer = threading.Thread(target=wait_for_a_reader, daemon=True)
    writer.start()
    playlist = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{secret}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{secret}'\n",
    }[kind]
    path = tmp_path / "clip.mp4"
    path.write_text(playlist)
    try:
        with pytest.raises(RowError, match=r"^(not an mp4|damaged)"):
            read(path)
        assert not opened.is_set()
    finally:
        reader = os.open(secret, os.O_RDONLY | os.O_NONBLOCK)
        writer.join(timeout=600)
        os.close(reader)


def test_file_names_are_names_and_never_options_or_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-y.mp4", "concat:a|b.mp4", "%03d.mp4", "http:x.mp4", "it's.mp4"):
        assert video.probe(write(Path(name), moving_picture(3))).frames == 3


def test_a_picture_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(2, 48, 64))
    monkeypatch.setattr(video, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(RowError, match="damaged: "):
        video.probe(path)


def test_a_decoder_that_hangs_is_a_timeout_of_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(2))
    monkeypatch.setattr(video, "TIMEOUT_S", 0.001)
    with pytest.raises(RowError, match=r"clip\.mp4 took more than") as caught:
        video.probe(path)
    assert caught.value.failure_class == "timeout"


# --- conditioning frames ---


def test_one_file_gives_the_last_frames_of_each_view(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", numbered(21))
    frames = video.read_conditioning(path, n_views=3, num_frames=5, size_hw=(32, 32))
    assert frames.shape == (3, 5, 32, 32, 3)
    assert frames.dtype == np.uint8
    assert numbers(frames) == [2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 16, 17, 18, 19, 20]


def test_one_file_a_view_gives_the_last_frames_of_each(tmp_path: Path) -> None:
    """Each view may have a length of its own."""
    paths = [write(tmp_path / f"{k}.mp4", numbered(5 + k, first=10 * k)) for k in range(3)]
    frames = video.read_conditioning(paths, n_views=3, num_frames=1, size_hw=(32, 32))
    assert numbers(frames) == [4, 15, 26]


def test_files_and_arrays_give_the_same_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", moving_picture(14, 50, 70))
    from_file = video.read_conditioning(path, 7, 1, (32, 48))
    from_array = video.conditioning_frames(video.decode_mp4(path), 7, 1, (32, 48))
    assert np.array_equal(from_file, from_array)


def test_frames_that_are_missing_are_named(tmp_path: Path) -> None:
    short = write(tmp_path / "short.mp4", moving_picture(3))
    long = write(tmp_path / "long.mp4", moving_picture(8))
    with pytest.raises(RowError, match=r"^view cross_right: found 3 frames, expected at least 5$"):
        video.read_conditioning([long, short], 2, 5, (48, 64))
    with pytest.raises(RowError, match=r"found 4 frames \(8 / 2 views\), expected at least 5"):
        video.read_conditioning(long, 2, 5, (48, 64))
    with pytest.raises(RowError, match="found 8 frames in all, expected a multiple of 7"):
        video.read_conditioning(long, 7, 1, (48, 64))
    with pytest.raises(RowError, match="found 2 videos, expected 7"):
        video.read_conditioning([long, short], 7, 1, (48, 64))


def test_fault_of_one_views_file_names_the_view(tmp_path: Path) -> None:
    good = write(tmp_path / "good.mp4", moving_picture(3))
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(good.read_bytes()[:-50])
    with pytest.raises(RowError, match=r"^view rear_right: truncated: "):
        video.read_conditioning([good, good, bad], 3, 1, (48, 64))


@pytest.mark.parametrize(
    "spec", json.loads((GOLDEN / "preprocess.json").read_text())["specs"], ids=lambda spec: str(spec["index"])
)
def test_conditioning_frames_equal_the_published_pipelines(spec: dict) -> None:
    """Byte for byte where no resize is needed, to one level where there is one."""
    with safe_open(GOLDEN / "preprocess.safetensors", "np") as file:
        clip_THWC = file.get_tensor(f"{spec['index']}.video_in_THWC_u8")
        expected_1CTHW = file.get_tensor(f"{spec['index']}.out_1CTHW_u8")
    n_views, count = spec["n_views"], {0: 0, 1: 1, 2: 5}[spec["num_latent_conditional_frames"]]
    expected = expected_1CTHW[0].transpose(1, 2, 3, 0)
    expected = expected.reshape(n_views, -1, *expected.shape[1:])[:, :count]
    found = video.conditioning_frames(clip_THWC, n_views, count, tuple(spec["target_hw"]))
    assert found.shape == expected.shape
    worst = np.abs(found.astype(int) - expected).max(initial=0)
    assert worst <= (0 if spec["in_hw"] == spec["target_hw"] else 1)


@pytest.mark.parametrize(
    ("source", "target"), [((90, 160), (64, 112)), ((37, 51), (16, 16)), ((20, 30), (64, 112)), ((64, 130), (64, 112))]
)
def test_resize_is_torchs_antialiased_bilinear(source: tuple[int, int], target: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    frames = np.random.default_rng(0).integers(0, 256, (2, *source, 3), np.uint8)
    scale = max(target[0] / source[0], target[1] / source[1])
    size = [int(np.ceil(scale * side)) for side in source]
    floats = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    scaled = torch.nn.functional.interpolate(floats, size, mode="bilinear", align_corners=False, antialias=True)
    top, left = (round((full - part) / 2) for full, part in zip(size, target, strict=True))
    scaled = scaled[..., top : top + target[0], left : left + target[1]].permute(0, 2, 3, 1)
    expected = (scaled * 255).clamp(0, 255).to(torch.uint8).numpy()
    difference = np.abs(video.resize_crop(frames, target).astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_resize_refuses_what_is_no_picture() -> None:
    with pytest.raises(ValueError, match=r"found frames float32 \[1, 4, 4, 3\], expected uint8"):
        video.resize_crop(np.zeros((1, 4, 4, 3), np.float32), (2, 2))


# --- writing ---


def test_mp4_comes_back_with_its_colours() -> None:
    """Smooth content loses little; a wrong colour matrix or range would cost about ten levels."""
    frames = moving_picture(10, 96, 128)
    again = video.decode_mp4(video.encode_mp4(frames, 10)).astype(int)
    assert again.shape == frames.shape
    assert np.abs(again - frames).mean() < 4
    for colour in ([255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [30, 60, 200]):
        flat = np.broadcast_to(np.array(colour, np.uint8), (2, 32, 32, 3))
        assert np.abs(video.decode_mp4(video.encode_mp4(flat, 10)) - np.array(colour)).max() <= 3


def test_same_frames_give_the_same_bytes() -> None:
    frames = moving_picture(10)
    assert video.encode_mp4(frames, 10) == video.encode_mp4(frames.copy(), 10)
    assert video.encode_mp4(frames, 10) != video.encode_mp4(255 - frames, 10)
    other_order = np.ascontiguousarray(frames.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    assert video.encode_mp4(frames, 10) == video.encode_mp4(other_order, 10)


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


def test_odd_sizes_and_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="found frames of 64x47, expected an even width and height"):
        video.encode_mp4(np.zeros((2, 47, 64, 3), np.uint8), 10)
    for wrong in (np.zeros((2, 48, 64), np.uint8), np.zeros((2, 48, 64, 3)), np.zeros((0, 48, 64, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"expected uint8 \[T, H, W, 3\], not empty"):
            video.encode_mp4(wrong, 10)
    for fps in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="fps"):
            video.encode_mp4(moving_picture(2), fps)


def test_stacked_views_lie_from_top_to_bottom(tmp_path: Path) -> None:
    """As bytes or as files, in the order given, frame for frame."""
    views = [moving_picture(6, 48, 64, seed) for seed in range(3)]
    sources = [video.encode_mp4(views[0], 10), write(tmp_path / "b.mp4", views[1]), video.encode_mp4(views[2], 10)]
    stacked = video.stack_views(sources, fps=10)
    (tmp_path / "stacked.mp4").write_bytes(stacked)
    assert video.probe(tmp_path / "stacked.mp4") == video.VideoInfo(6, 144, 64, 10.0)
    difference = video.decode_mp4(stacked).astype(int) - np.concatenate(views, axis=1)
    assert np.abs(difference).mean() < 4
    assert video.stack_views(sources, fps=10) == stacked
    one = video.decode_mp4(video.stack_views(sources[:1], fps=10))
    assert one.shape == views[0].shape


def test_views_that_do_not_fit_are_not_stacked() -> None:
    short, long = video.encode_mp4(moving_picture(3), 10), video.encode_mp4(moving_picture(4), 10)
    with pytest.raises(ValueError, match=r"\[\(3, 48, 64\), \(4, 48, 64\)\]"):
        video.stack_views([short, long], 10)
    with pytest.raises(ValueError, match="no videos"):
        video.stack_views([], 10)


def test_png_is_lossless_and_jpeg_close(tmp_path: Path) -> None:
    picture = moving_picture(1, 45, 61)[0]

    def read(data: bytes) -> np.ndarray:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "image2pipe", "-i", "-"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        raw = subprocess.run(command, input=data, capture_output=True, check=True).stdout
        return np.frombuffer(raw, np.uint8).reshape(picture.shape)

    png, fine, coarse = video.encode_png(picture), video.encode_jpeg(picture, 95), video.encode_jpeg(picture, 5)
    assert png.startswith(b"\x89PNG")
    assert fine.startswith(b"\xff\xd8\xff")
    assert np.array_equal(read(png), picture)
    assert np.abs(read(fine).astype(int) - picture).mean() < 3
    assert len(coarse) < len(fine)
    with pytest.raises(ValueError, match="found quality 0, expected 1 to 100"):
        video.encode_jpeg(picture, 0)
