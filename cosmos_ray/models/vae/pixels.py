"""Bytes of frames to numbers that the video tokenizer reads, and back, by the reference pipeline's rules."""

from __future__ import annotations

import torch
from torch import Tensor


def normalise_frames(frames_u8: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes 0..255 to [-1, 1], each operation rounded to `dtype` as the reference does."""
    return frames_u8.to(dtype) / 127.5 - 1.0


def signed_to_uint8(video: Tensor) -> Tensor:
    """A video in [-1, 1] as bytes, rounded half up.

    The reference takes a clip without a dark pixel, nowhere below -0.5, for one in [0, 1], which darkens it.
    """
    return (((video + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)


def truncated_to_uint8(video: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A video in [-1, 1] as bytes, rounded down, as the models from Predict2.5 on are written. dtype: of the sums."""
    return (((video.to(dtype) + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0).to(torch.uint8)
