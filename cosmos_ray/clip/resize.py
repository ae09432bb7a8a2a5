"""Pictures of any shape as pictures of a model's: cropped, padded or stretched. numpy alone.

Legend: T frames, h/w the source's height/width, H/W the target's, C channels (RGB). All frames are uint8.
"""

from __future__ import annotations

import math

import numpy as np

#: Rows of a picture that are worked on at a time.
BAND = 64
#: From this share of the rows or columns on, cropping is worth a warning.
_MUCH = 0.1


def fit_frame(frame_HWC: np.ndarray, size_hw: tuple[int, int], fit: str) -> np.ndarray:
    """One picture as `size_hw`: `crop`, `pad` (black round it) or `stretch`."""
    if fit == "crop":
        return resize_crop(frame_HWC[None], size_hw)[0]
    (height, width), (target_h, target_w) = frame_HWC.shape[:2], size_hw
    if fit == "stretch":
        return _resize(frame_HWC, size_hw, size_hw)
    scale = min(target_h / height, target_w / width)
    inner = tuple(min(max(round(scale * side), 1), full) for side, full in zip((height, width), size_hw, strict=True))
    out = np.zeros((*size_hw, 3), np.uint8)
    top, left = ((full - part) // 2 for full, part in zip(size_hw, inner, strict=True))
    out[top : top + inner[0], left : left + inner[1]] = _resize(frame_HWC, (inner[0], inner[1]), (inner[0], inner[1]))
    return out


def stretch_frame(frame_HWC: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """One picture as `size_hw`, its shape not kept, and bytes rounded to the nearest: as Predict2.5 takes its input."""
    if frame_HWC.shape[:2] == size_hw:
        return frame_HWC
    image = _scaled(frame_HWC, size_hw, size_hw)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def crop_warning(height: int, width: int, size_hw: tuple[int, int]) -> str | None:
    """What is said of a picture that loses much by being cropped to `size_hw`; None if it does not."""
    scale = max(size_hw[0] / height, size_hw[1] / width)
    lost = {"rows": 1 - size_hw[0] / (scale * height), "columns": 1 - size_hw[1] / (scale * width)}
    side = max(lost, key=lambda name: lost[name])
    if lost[side] <= _MUCH:
        return None
    return f"cropped by {100 * lost[side]:.0f} % of its {side} to fit {size_hw[1]}x{size_hw[0]} (inputs.fit)"


def stretch_warning(height: int, width: int, size_hw: tuple[int, int]) -> str | None:
    """What is said of a picture whose shape changes much by being stretched to `size_hw`; None if it does not."""
    wider = (size_hw[1] / width) / (size_hw[0] / height)
    if max(wider, 1 / wider) <= 1 + _MUCH:
        return None
    what = f"{wider:.2f} times wider" if wider > 1 else f"{1 / wider:.2f} times taller"
    return f"stretched to {size_hw[1]}x{size_hw[0]}, {what} than it was (inputs.fit)"


def resize_crop(frames_THWC: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Scale uint8 [T, h, w, 3] to cover `size_hw`, then crop the centre: uint8 [T, H, W, 3].

    Antialiased bilinear on [0, 1] in float32, result x 255 truncated, as Cosmos-Predict2 prepares its input
    (torch's `interpolate(antialias=True)`, to one level). The taps of a pixel are added up in a fixed order rather
    than in a matrix product, so that every machine gets the same bytes.
    """
    if frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3 or frames_THWC.dtype != np.uint8:
        raise ValueError(f"found frames {frames_THWC.dtype} {list(frames_THWC.shape)}, expected uint8 [T, h, w, 3]")
    height, width = frames_THWC.shape[1:3]
    if (height, width) == size_hw:
        return frames_THWC
    scale = max(size_hw[1] / width, size_hw[0] / height)
    out = np.empty((len(frames_THWC), *size_hw, 3), np.uint8)
    for target, frame in zip(out, frames_THWC, strict=True):
        target[:] = _resize(frame, (math.ceil(scale * height), math.ceil(scale * width)), size_hw)
    return out


def _resize(frame_HWC: np.ndarray, scaled_hw: tuple[int, int], size_hw: tuple[int, int]) -> np.ndarray:
    """One picture scaled to `scaled_hw`, of which the `size_hw` in the middle are computed."""
    image = _scaled(frame_HWC, scaled_hw, size_hw, 255)
    return np.clip(image * np.float32(255), 0, 255).astype(np.uint8)  # which truncates


def _scaled(
    image_HWC: np.ndarray, scaled_hw: tuple[int, int], size_hw: tuple[int, int], divisor: int = 1
) -> np.ndarray:
    """`_resize` of numbers whatever their range, divided by `divisor` first. float32.

    Rows are narrowed some at a time, so that a large picture is never in memory as float32.
    """
    rows = _crop_taps(image_HWC.shape[0], scaled_hw[0], size_hw[0])
    columns = _crop_taps(image_HWC.shape[1], scaled_hw[1], size_hw[1])
    narrow = np.empty((image_HWC.shape[0], size_hw[1], image_HWC.shape[2]), np.float32)
    for first in range(0, len(narrow), BAND):
        band = image_HWC[first : first + BAND].astype(np.float32) / np.float32(divisor)
        narrow[first : first + BAND] = _apply_taps(band.swapaxes(0, 1), columns).swapaxes(0, 1)
    return _apply_taps(narrow, rows)


def _crop_taps(size: int, scaled: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Source positions int [target, K] and weights float32 [target, K] of an antialiased bilinear resize `size` ->
    `scaled`, for the `target` pixels in the middle that a centre crop keeps.

    A triangle of half-width max(1, size / scaled) source pixels round each output pixel's centre, normalised.
    """
    scale = size / scaled
    support = max(scale, 1.0)
    start = round((scaled - target) / 2)  # banker's rounding, as in the published pipeline
    centre = scale * (np.arange(start, start + target) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(int), 0)
    end = np.minimum((centre + support + 0.5).astype(int), size)
    position = first[:, None] + np.arange((end - first).max())
    distance = np.abs(position + 0.5 - centre[:, None]) / support
    weight = np.where(position < end[:, None], np.maximum(1 - distance, 0), 0)
    weight /= weight.sum(axis=1, keepdims=True)
    used = weight.any(axis=0)  # a size that stays needs one tap, not two
    return np.minimum(position, size - 1)[:, used], weight[:, used].astype(np.float32)


def _apply_taps(image: np.ndarray, taps: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Resize axis 0 of float32 [size, other, C] to [target, other, C]."""
    positions, weights = taps
    out = np.zeros((len(positions), *image.shape[1:]), np.float32)
    for position, weight in zip(positions.T, weights.T, strict=True):
        out += image[position] * weight[:, None, None]
    return out
