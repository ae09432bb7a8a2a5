"""What is told of a view's frames while they are in memory: seven numbers, at a small part of the clip's time.

No picture is looked at in full but a few: what changes slowly over a picture shows in a part of its pixels, and what
changes slowly over time in a part of its frames. numpy alone.

Legend: T frames, H/W height/width, h/w those of a small picture, K given frames.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import numpy as np

#: Lines of the pictures on which levels are counted, about: every so many pixels is taken.
_LINES = 88
#: Lines of the small pictures, at least, and how many there are of a clip.
_SMALL_LINES, _SMALL_FRAMES = 44, 8
#: A picture of which less than a hundredth is brighter than this is black; a colour from this level on is at its end.
_DARK, _FULL = 24, 254
_BRIGHT_SHARE = 0.01
#: Mean change (levels) from a frame to the next below which the picture stands still: a decoder's noise is above it.
_STILL = 0.1
_SHARP_FRAMES = 3
#: dB of equal pictures, which have no ratio.
MAX_PSNR_DB = 100.0


@dataclass(frozen=True)
class Scores:
    """Of one view, or the worst of a clip's views.

    black, frozen, saturated: shares, 0 to 1: of frames that are black, of steps from a frame to the next in which
    nothing changes, of pixels with a colour at its upper end. flicker: mean jump to and fro of the brightness, in
    levels of 255. sharpness: root mean square of the difference between neighbouring pixels, in levels. given_psnr_db:
    the first frames beside those that were given; None without. agreement: with the neighbouring views, 1 for the same
    pictures where they meet, about 0 for what has nothing to do with each other; None for a view without neighbours.
    """

    black: float
    frozen: float
    saturated: float
    flicker: float
    sharpness: float
    given_psnr_db: float | None = None
    agreement: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


#: Names of all scores, and of those of which more is better.
MEASURES = tuple(field.name for field in fields(Scores))
BETTER_ABOVE = ("sharpness", "given_psnr_db", "agreement")


@dataclass(frozen=True)
class Looked:
    """What remains of a view's frames once they are gone: scores without agreement, and small pictures for that,
    uint8 [T, h, w, 3]."""

    scores: Scores
    small_ThwC: np.ndarray


def look_at(frames_THWC: np.ndarray, given_KHWC: np.ndarray | None = None) -> Looked:
    """frames: uint8 [T, H, W, 3]. given: the frames that the first K of them should be, of the same size."""
    step = max(1, frames_THWC.shape[1] // _LINES)
    thin = frames_THWC[:, step // 2 :: step, step // 2 :: step].astype(np.float32)
    brightness_T = thin.mean(axis=(1, 2, 3))
    scores = Scores(
        black=_share((thin.max(axis=-1) > _DARK).mean(axis=(1, 2)) < _BRIGHT_SHARE),
        frozen=_share(np.abs(np.diff(thin, axis=0)).mean(axis=(1, 2, 3)) < _STILL),
        saturated=_share(thin.max(axis=-1) >= _FULL),
        flicker=_rounded(np.abs(np.diff(brightness_T, n=2)).mean() / 2) if len(thin) > 2 else 0.0,
        sharpness=_sharpness(frames_THWC),
        given_psnr_db=None if given_KHWC is None or not len(given_KHWC) else _given_psnr_db(frames_THWC, given_KHWC),
    )
    return Looked(scores, small(frames_THWC))


def psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    """Of two arrays of bytes of one shape; MAX_PSNR_DB for equal ones."""
    difference = first.astype(np.float32) - second
    error = float(np.mean(np.square(difference), dtype=np.float64))
    return MAX_PSNR_DB if error == 0 else min(MAX_PSNR_DB, _rounded(10 * math.log10(255**2 / error)))


def small(frames_THWC: np.ndarray) -> np.ndarray:
    """A few of the frames, evenly over the clip, as small pictures: uint8 [t, h, w, 3], means of every fourth pixel or
    more."""
    total, height, width, _ = frames_THWC.shape
    which = np.unique(np.linspace(0, total - 1, _SMALL_FRAMES).round().astype(int))
    part = max(1, height // _SMALL_LINES)
    rows, columns = height // part, width // part
    step = max(1, part // 4)
    taken = frames_THWC[which, : rows * part, : columns * part][:, ::step, ::step]
    blocks = taken.reshape(len(which), rows, -(-part // step), columns, -(-part // step), 3)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32).round(), np.uint8)


def _share(which: np.ndarray) -> float:
    return _rounded(which.mean()) if which.size else 0.0


def _sharpness(frames_THWC: np.ndarray) -> float:
    """On the green of a few whole frames: the eye's own measure of detail, nearly."""
    which = np.unique(np.linspace(0, len(frames_THWC) - 1, _SHARP_FRAMES).round().astype(int))
    squares = []
    for frame in which:
        green = frames_THWC[frame, :, :, 1].astype(np.int16)
        squares += [np.square(np.diff(green, axis=axis), dtype=np.float32).mean() for axis in (0, 1)]
    return _rounded(math.sqrt(float(np.mean(squares))))


def _given_psnr_db(frames_THWC: np.ndarray, given_KHWC: np.ndarray) -> float:
    count = min(len(frames_THWC), len(given_KHWC))
    return psnr_db(frames_THWC[:count], given_KHWC[:count])


def _rounded(value: float) -> float:
    return round(float(value), 4)
