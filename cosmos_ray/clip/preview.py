"""A clip to look at: all its views, small, in one video and one picture. numpy and ffmpeg.

One video of all views is in step by itself, and one thing to fetch. Views are in the rig's order, line by line, in two
lines if they are more than three; what is left of the last line is black.

Legend: T frames, H/W height/width in pixels, h/w those of a small picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cosmos_ray.clip.ffmpeg import run
from cosmos_ray.scratch import scratch

#: Pixels that a small picture is wide, or somewhat more: frames are divided by a whole number.
WIDTH = 160
#: Samples of a pixel, a side: enough to calm edges, and a fortieth of reading all of a frame.
_TAPS = 4
#: Of JPEG: 2 (best) to 31.
_QUALITY = 6
_CRF = 28


def shrink(frames_THWC: np.ndarray, least: int = WIDTH) -> np.ndarray:
    """uint8 [T, h, w, 3] of uint8 [T, H, W, 3], about `least` wide; the frames themselves if they are no wider."""
    _, height, width, _ = frames_THWC.shape
    factor = max(1, width // least)
    if factor == 1 or height < factor:
        return frames_THWC
    h, w, taps = height // factor, width // factor, min(_TAPS, factor)
    offsets = [(2 * tap + 1) * factor // (2 * taps) for tap in range(taps)]
    total = np.zeros((len(frames_THWC), h, w, 3), np.uint16)
    for y in offsets:
        for x in offsets:
            total += frames_THWC[:, y::factor, x::factor][:, :h, :w]
    return (total // taps**2).astype(np.uint8)


def columns_of(views: int) -> int:
    """Views in a line."""
    return math.ceil(views / 2) if views > 3 else views


def mosaic(views_VThwC: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 [T, lines * h, columns * w, 3], even in both. All views have one shape."""
    frames, height, width, _ = views_VThwC[0].shape
    columns = columns_of(len(views_VThwC))
    lines = math.ceil(len(views_VThwC) / columns)
    shape = (frames, lines * height, columns * width)
    whole = np.zeros((shape[0], shape[1] + shape[1] % 2, shape[2] + shape[2] % 2, 3), np.uint8)
    for place, view in enumerate(views_VThwC):
        top, left = place // columns * height, place % columns * width
        whole[:, top : top + height, left : left + width] = view
    return whole


def encode_preview(views_VThwC: Sequence[np.ndarray], fps: float) -> tuple[bytes, bytes]:
    """(mp4, JPEG of its middle frame) of small views in the rig's order, by one ffmpeg."""
    whole = mosaic(views_VThwC)
    frames, height, width, _ = whole.shape
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", str(fps))
    colours = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,setparams=range=tv:colorspace=bt709"
    middle = f"select=eq(n\\,{frames // 2}),scale=out_color_matrix=bt601:out_range=pc,format=yuv420p,setparams=range=pc"
    codec = ("-c:v", "libx264", "-preset", "veryfast", "-crf", str(_CRF), "-threads", "2", "-movflags", "+faststart")
    with scratch() as folder:
        video, picture = folder / "preview.mp4", folder / "preview.jpg"
        run(
            (
                *(*source, "-i", "pipe:0", "-map", "0:v", "-vf", colours, *codec, "-f", "mp4", f"file:{video}"),
                *("-map", "0:v", "-vf", middle, "-frames:v", "1", "-c:v", "mjpeg", "-q:v", str(_QUALITY)),
                *("-f", "image2", "-update", "1", f"file:{picture}"),
            ),
            whole.tobytes(),
        )
        return video.read_bytes(), picture.read_bytes()
