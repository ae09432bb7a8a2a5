"""How near two videos of the same clip are: PSNR of their colours and SSIM of their luma, by ffmpeg's own filters.

Both files are decoded side by side and compared frame by frame; nothing of them is kept. PSNR is of RGB, 8 bits a
colour, over all pixels of all frames; SSIM (Wang et al. 2004) is of luma in windows of 8x8, a window every 4 pixels,
the mean over frames.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cosmos_ray.clip.checks import MAX_PSNR_DB
from cosmos_ray.clip.ffmpeg import run
from cosmos_ray.scratch import scratch

#: Frames by their number: two files may have other clocks.
_IN_STEP = "settb=1/1000,setpts=N*40"
_PRINTED = re.compile(r"^lavfi\.(?:psnr\.mse_avg|ssim\.Y)=(\S+)$", re.M)


@dataclass(frozen=True)
class Likeness:
    """Of a view. mean_square: of the difference of colours, in levels of 255. ssim: 1 for equal pictures."""

    mean_square: float
    ssim: float


def likeness(first: Path, second: Path) -> Likeness:
    """Of two videos, or pictures, of the same size and number of frames. Raises FfmpegFailed for what is none."""
    graph = (
        f"[0:v]{_IN_STEP},split[a][c];[1:v]{_IN_STEP},split[b][d];"
        "[a]format=gbrp[e];[b]format=gbrp[f];[e][f]psnr,metadata=print:file=psnr[g];"
        "[c]format=yuv420p[h];[d]format=yuv420p[i];[h][i]ssim,metadata=print:file=ssim[j]"
    )
    with scratch() as folder:
        for name in ("psnr", "ssim"):
            graph = graph.replace(f"file={name}", f"file={Path(folder, name)}")
        inputs = (*("-i", f"file:{first.absolute()}"), *("-i", f"file:{second.absolute()}"))
        nowhere = ("-f", "null", "-")
        run(("-threads", "1", *inputs, "-filter_complex", graph, "-map", "[g]", *nowhere, "-map", "[j]", *nowhere))
        squares, ssims = (_printed(Path(folder, name)) for name in ("psnr", "ssim"))
    return Likeness(sum(squares) / len(squares), sum(ssims) / len(ssims))


def psnr_db(mean_squares: Iterable[float]) -> float:
    """Of views together; at most MAX_PSNR_DB, which equal ones have."""
    squares = list(mean_squares)
    mean = sum(squares) / len(squares)
    return MAX_PSNR_DB if mean <= 0 else min(MAX_PSNR_DB, 10 * math.log10(255**2 / mean))


def _printed(path: Path) -> list[float]:
    """A number a frame."""
    return [float(value) for value in _PRINTED.findall(path.read_text(encoding="ascii"))]
