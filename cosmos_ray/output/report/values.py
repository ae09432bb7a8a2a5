"""Values of strangers' tables as a page may have them: texts, numbers, truths and nothing, as JSON knows them."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from cosmos_ray.foreign import shown_lines, shown_value

Value = str | int | float | bool | None

#: Characters of a text or of a list that a page shows; whoever needs more of it has the index.
_MOST = 4000
#: The largest whole number that every browser tells from its neighbours; a larger one is written as text.
_EXACT = 2**53


def values_of(column: pa.ChunkedArray | pa.Array) -> list[Value]:
    """One a row. Texts are as `foreign.shown_lines` has them; what is no number, text or truth is told in words."""
    kind = column.type.value_type if kinds.is_dictionary(column.type) else column.type
    if kinds.is_temporal(kind):
        try:
            return [None if one is None else str(one) for one in column.to_pylist()]
        except ValueError:  # a moment that Python does not know
            column = pc.cast(column, pa.int64())
    if kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind):
        return [None if one is None else f"({len(one)} bytes)" for one in column.to_pylist()]
    return [_value(one) for one in column.to_pylist()]


def _value(one: Any) -> Value:
    if isinstance(one, str):
        return text(one)
    if one is None or isinstance(one, bool):
        return one
    if isinstance(one, int):
        return one if abs(one) <= _EXACT else str(one)
    if isinstance(one, float):
        return one if math.isfinite(one) else str(one)
    return shown_value(one, _MOST)


def text(words: str) -> str:
    """What a stranger wrote, as the page shows it: several lines, not too many."""
    shown = shown_lines(words[:_MOST])
    return shown if len(words) <= _MOST else f"{shown} …"


def kind_of(values: list[Value]) -> str:
    """`number` if that is all there is: they are ordered by size, everything else by its words."""
    known = [one for one in values if one is not None]
    is_number = bool(known) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in known)
    return "number" if is_number else "text"


def as_json(values: Any) -> str:
    """ASCII that is JSON, JavaScript, and without meaning in HTML, whatever the strings in it are."""
    packed = json.dumps(values, allow_nan=False, separators=(",", ":"))
    return packed.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
