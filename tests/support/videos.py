"""Videos that tests make: pictures that tell which frame they are, and ffmpeg to make files of any kind.

They are made and compared by the binary of the package `imageio-ffmpeg`, also where IMAGEIO_FFMPEG_EXE names another
for the code that is tested: `IMAGEIO_FFMPEG_EXE=/usr/bin/ffmpeg pytest tests/clip` shows what it makes of them.

Legend: T frames, H/W height/width.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from cosmos_ray.clip.encode import encode_mp4

_MAKER = str(next(Path(imageio_ffmpeg.__file__).parent.glob("binaries/ffmpeg-*"), "ffmpeg"))


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


def blocks(frame: np.ndarray) -> int:
    """The number that a case's frame carries along its top: eight bright or dark blocks, the most significant first."""
    bits = frame[: frame.shape[0] // 16].mean(axis=(0, 2)).reshape(8, -1).mean(axis=1) > 128
    return int("".join(map(str, bits.astype(int))), 2)


def ffmpeg(*arguments: str | Path) -> None:
    command = [_MAKER, "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def encode(path: Path, frames: np.ndarray, *arguments: str, fps: float = 10) -> Path:
    """A file of the frames, by ffmpeg with `arguments` between the input and the output."""
    height, width = frames.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", str(fps)]
    command = [_MAKER, "-v", "error", "-y", *source, "-i", "pipe:0", *arguments, str(path)]
    subprocess.run(command, check=True, capture_output=True, input=np.ascontiguousarray(frames).tobytes())
    return path


def write(path: Path, frames: np.ndarray, fps: float = 10) -> Path:
    path.write_bytes(encode_mp4(frames, fps))
    return path


def whole_decode(path: Path, size_hw: tuple[int, int], stream: int = 0) -> np.ndarray:
    """Every frame, as plain ffmpeg gives it without being told where to look: uint8 [T, H, W, 3]."""
    command = [_MAKER, "-v", "error", "-i", str(path), "-map", f"0:v:{stream}"]
    command += ["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    raw = subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, *size_hw, 3)
