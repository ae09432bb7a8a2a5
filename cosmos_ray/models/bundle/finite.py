"""Weights that are no numbers, found by their bits. No torch, no Ray."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cosmos_ray.models.bundle.headers import FLOATS, Header, item_bytes

#: Bits of an exponent: all of them are set in what is infinite or no number, and in nothing else.
_EXPONENT = {"float64": 0x7FF << 52, "float32": 0xFF << 23, "float16": 0x1F << 10, "bfloat16": 0xFF << 7}
_AT_ONCE = 2**22


def not_finite(path: Path, names: Iterable[str], header: Header) -> list[str]:
    """Which of these tensors of a local file have an infinite number in them, or none. Each is read once."""
    raw = np.memmap(path, np.uint8, mode="r")
    return [name for name in names if header.tensors[name].dtype in FLOATS and _has_strange(raw, name, header)]


def _has_strange(raw: np.ndarray, name: str, header: Header) -> bool:
    entry = header.tensors[name]
    width, mask = item_bytes(entry.dtype), _EXPONENT[entry.dtype]
    first, count = entry.offset, math.prod(entry.shape)
    for start in range(0, count, _AT_ONCE):
        stop = min(start + _AT_ONCE, count)
        bits = np.frombuffer(raw[first + start * width : first + stop * width].tobytes(), f"<u{width}")
        if np.any(bits & np.array(mask, bits.dtype) == mask):
            return True
    return False
