"""Bytes of frames to numbers that the video tokenizer reads, and back, by the reference pipeline's rules."""

from __future__ import annotations

import torch
from torch import Tensor


def normalise_frames(frames_u8: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes 0..255 to [-1, 1], each operation rounded to `dtype` as the reference does."""
    return frames_u8.to(dtype) / 127.5 - 1.0


def signed_to_uint8(video: Tensor) -> Tensor:
    """A video in [-1, 1] as bytes, rounded half up."""
    return _to_bytes((video + 1.0) / 2.0)


def truncated_to_uint8(video: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A video in [-1, 1] as bytes, rounded down, as the models from Predict2.5 on are written. dtype: of the sums."""
    return (((video.to(dtype) + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0).to(torch.uint8)


def to_uint8(video: Tensor) -> Tensor:
    """The reference's rule for a whole clip: below -0.5 anywhere, it is taken for [-1, 1], else for [0, 1].

    `signed_to_uint8` is the same for every clip with a dark pixel, and right for those without one.
    """
    return signed_to_uint8(video) if video.min() < -0.5 else _to_bytes(video)


def _to_bytes(video: Tensor) -> Tensor:
    return (video.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)
