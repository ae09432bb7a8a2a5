"""What kinds of values a request's fields may have: whoever makes one by hand is told at once, and by the field's name.

What a model makes of them (so many views, frames of such a size) is the generator's to say.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from cosmos_ray.errors import UsageError
from cosmos_ray.foreign import shown_value


def check_fields(request: Any) -> None:
    """Raises UsageError for the first field of a ClipRequest whose value is of another kind. Lists become tuples."""
    for field in dataclasses.fields(request):
        fits, expected = _KINDS[field.name]
        value = getattr(request, field.name)
        if not fits(value):
            found = shown_value(value) if isinstance(value, str | float | list | tuple) else type(value).__name__
            raise UsageError(f"ClipRequest, field `{field.name}`: found {found}, expected {expected}")
        if isinstance(value, list):
            object.__setattr__(request, field.name, tuple(value))


def short(of: Any) -> str:
    """How a dataclass is written where a person looks at it: of arrays kind and shape, of long texts the beginning."""
    said = ", ".join(f"{field.name}={_short(getattr(of, field.name))}" for field in dataclasses.fields(of))
    return f"{type(of).__name__}({said})"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, tuple) and any(isinstance(one, np.ndarray) for one in value):
        return f"({', '.join(map(_short, value))})"
    return shown_value(value)


def _is_text(value: Any) -> bool:
    """Without halves of characters, which no file can have."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_text, value))


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_integer_or_none(value: Any) -> bool:
    return value is None or _is_integer(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_array(value: Any) -> bool:
    return value is None or isinstance(value, np.ndarray)


def _is_clip_text(value: Any) -> bool:
    return value is None or hasattr(value, "positive")


_TEXT = (_is_text, "a text")
_TEXTS = (_are_texts, "a list of texts")
_INTEGER = (_is_integer, "an integer")
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "id": _TEXT,
    "prompts": _TEXTS,
    "negative_prompt": _TEXT,
    "n_views": _INTEGER,
    "num_conditional_frames": _INTEGER,
    "seed": _INTEGER,
    "guidance": (_is_finite, "a finite number"),
    "num_steps": _INTEGER,
    "frames": (_is_array, "a numpy array, or None"),
    "text": (_is_clip_text, "a ClipText, or None"),
    "noise": (_is_array, "a numpy array, or None"),
    "attempt": _INTEGER,
    "chosen_views": _TEXTS,
    "controls": (_is_array, "a numpy array, or None"),
    "control_weight": (_is_finite, "a finite number"),
    "num_chunks": _INTEGER,
    "chunk_overlap": (_is_integer_or_none, "an integer, or None"),
    "picture_text": (_is_clip_text, "a ClipText, or None"),
}
