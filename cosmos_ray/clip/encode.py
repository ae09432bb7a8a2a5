"""Writing videos and pictures: mp4, JPEG and PNG of uint8 RGB. numpy and ffmpeg, no torch.

Legend: T frames, H/W height/width in pixels. The same frames give the same bytes, on every machine of one architecture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from cosmos_ray.clip.ffmpeg import run
from cosmos_ray.clip.frames import inspect_video, spill
from cosmos_ray.clip.request import PICTURE
from cosmos_ray.scratch import scratch

#: x264 divides its work by the number of threads, and the division shows in the bytes: never "as many as there are".
ENCODER_THREADS = 4

_SWS = "flags=bicubic+accurate_rnd+full_chroma_int+bitexact"
_BT709 = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"


def encode_mp4(frames_THWC: np.ndarray, fps: float) -> bytes:
    """H.264 mp4 (yuv420p, bt709, crf 15, index first) of uint8 [T, H, W, 3]; the same frames give the same bytes.

    Raises ValueError for anything else than uint8 [T >= 1, even H, even W, 3] and a positive fps.
    """
    _check_pictures(frames_THWC, 4)
    _, height, width, _ = frames_THWC.shape
    if height % 2 or width % 2:
        raise ValueError(f"found frames of {width}x{height}, expected an even width and height (4:2:0 chroma)")
    source = (*_raw_input(height, width), "-framerate", _rate(fps), "-i", "pipe:0")
    picture = f"scale=out_color_matrix=bt709:out_range=tv:{_SWS},format=yuv420p,{_BT709}"
    return _encode_h264((*source, "-vf", picture), np.ascontiguousarray(frames_THWC).tobytes())


def encode_view(view: str, frames_THWC: np.ndarray, fps: float) -> bytes:
    """The file that a view becomes (`request.file_of`): a PNG of a picture, an mp4 of a video."""
    return encode_png(frames_THWC[0]) if view == PICTURE else encode_mp4(frames_THWC, fps)


def stack_views(videos: Sequence[bytes | Path], fps: float) -> bytes:
    """One mp4 with the views stacked from top to bottom in the order given, as the published example writes them.

    Raises ValueError if the videos differ in frames or size, RowError if one cannot be read.
    """
    if not videos:
        raise ValueError("found no videos, expected at least one")
    with scratch() as folder:
        paths = [spill(video, folder / f"{index}.mp4") for index, video in enumerate(videos)]
        shapes = [(info.frames, info.height, info.width) for info in map(inspect_video, paths)]
        if len(set(shapes)) > 1:
            raise ValueError(f"found videos of different [frames, height, width] {shapes}, expected all the same")
        inputs = [part for path in paths for part in ("-f", "mov", "-i", f"file:{path.absolute()}")]
        pads = "".join(f"[{index}:V:0]" for index in range(len(paths)))
        stack = f"{pads}vstack=inputs={len(paths)}," if len(paths) > 1 else pads
        graph = f"{stack}settb=AVTB,setpts=N/(({_rate(fps)})*TB),format=yuv420p,{_BT709}[out]"
        return _encode_h264((*inputs, "-filter_complex", graph, "-map", "[out]", "-r", _rate(fps)), b"")


def encode_jpeg(image_HWC: np.ndarray, quality: int = 85) -> bytes:
    """JPEG of uint8 [H, W, 3]; quality 1 (smallest) to 100 (best)."""
    if not 1 <= quality <= 100:
        raise ValueError(f"found quality {quality}, expected 1 to 100")
    scale = round(31 - (quality - 1) * 29 / 99)  # mjpeg's own runs from 31 (smallest) to 2 (best)
    picture = f"scale=out_color_matrix=bt601:out_range=pc:{_SWS},format=yuv444p,setparams=range=pc"
    return _encode_image(image_HWC, ("-vf", picture, "-c:v", "mjpeg", "-q:v", str(scale)))


def encode_png(image_HWC: np.ndarray) -> bytes:
    """PNG of uint8 [H, W, 3], lossless."""
    return _encode_image(image_HWC, ("-c:v", "png", "-pix_fmt", "rgb24"))


def _encode_h264(source: Sequence[str], data: bytes) -> bytes:
    """Encode what `source` describes to an mp4. The file is a real one because its index is moved to the front."""
    codec = ("-c:v", "libx264", "-preset", "medium", "-crf", "15", "-threads", str(ENCODER_THREADS))
    clean = ("-an", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact")
    with scratch() as folder:
        path = folder / "out.mp4"
        target = ("-movflags", "+faststart", "-f", "mp4", f"file:{path}")
        run((*source, *codec, *clean, *target), data)
        return path.read_bytes()


def _encode_image(image_HWC: np.ndarray, codec: Sequence[str]) -> bytes:
    _check_pictures(image_HWC, 3)
    height, width, _ = image_HWC.shape
    source = (*_raw_input(height, width), "-i", "pipe:0")
    target = ("-frames:v", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-f", "image2pipe", "pipe:1")
    return run((*source, *codec, *target), np.ascontiguousarray(image_HWC).tobytes())


def _raw_input(height: int, width: int) -> tuple[str, ...]:
    return ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}")


def _rate(fps: float) -> str:
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"found fps {fps}, expected a positive number")
    return str(Fraction(fps).limit_denominator(1001))


def _check_pictures(pictures: np.ndarray, ndim: int) -> None:
    shape = "[T, H, W, 3]" if ndim == 4 else "[H, W, 3]"
    good = pictures.ndim == ndim and pictures.shape[-1] == 3 and pictures.size and pictures.dtype == np.uint8
    if not good:
        raise ValueError(f"found {pictures.dtype} {list(pictures.shape)}, expected uint8 {shape}, not empty")
