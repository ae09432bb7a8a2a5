"""Values of strangers' tables as a page may have them: texts, numbers, truths and nothing, as JSON knows them."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from cosmos_ray.foreign import shown_lines, shown_value
from cosmos_ray.manifest.columns import fields_of, is_any_list
from cosmos_ray.manifest.python_values import values_in

Value = str | int | float | bool | None

#: Characters of a text or of a list that a page shows; whoever needs more of it has the index.
_MOST = 4000
#: The largest whole number that every browser tells from its neighbours; a larger one is written as text.
_EXACT = 2**53
#: Digits that any number of eight bytes keeps. More of them, and the last ones are what reckoning has left.
_DIGITS, _SHOWN_DIGITS = 15, 12
_SMALL = {pa.float16(): np.float16, pa.float32(): np.float32}


def values_of(column: pa.ChunkedArray | pa.Array) -> list[Value]:
    """One a row. Texts are as `foreign.shown_lines` has them; what is no number, text or truth is told in words.

    A number of two or four bytes is that of its fewest digits: 0.1, not 0.10000000149011612.
    """
    kind = column.type.value_type if kinds.is_dictionary(column.type) else column.type
    if _is_written_so(kind):
        return [_value(one) for one in values_in(column)]
    return [_value(_as_written(one, kind)) for one in values_in(column)]


def _is_written_so(kind: pa.DataType) -> bool:
    """Most columns, of pages with thousands of rows."""
    is_text = kinds.is_string(kind) or kinds.is_large_string(kind)
    return bool(is_text or kinds.is_integer(kind) or kinds.is_float64(kind) or kinds.is_boolean(kind))


def _as_written(one: Any, kind: pa.DataType) -> Any:
    """A value as a person would write it, what is in it too."""
    if kinds.is_dictionary(kind):
        return _as_written(one, kind.value_type)
    if one is None or isinstance(one, str):
        return one
    if kind in _SMALL:
        return float(str(_SMALL[kind](one)))
    if isinstance(one, decimal.Decimal):
        near = float(one)
        return near if len(one.as_tuple().digits) <= _DIGITS and math.isfinite(near) else str(one)
    if isinstance(one, datetime.date | datetime.time | datetime.timedelta):
        return str(one)
    if isinstance(one, bytes):
        return f"({len(one)} bytes)"
    if kinds.is_struct(kind):
        return {field.name: _inside(one[field.name], field.type) for field in fields_of(kind)}
    if kinds.is_map(kind):
        return [(_inside(key, kind.key_type), _inside(value, kind.item_type)) for key, value in one]
    if is_any_list(kind):
        return [_inside(value, kind.value_type) for value in one]
    return one


def _inside(one: Any, kind: pa.DataType) -> Any:
    """Of a list or the like, which is a text on the page: by what it shows it is told, not by what it weighs."""
    found = _as_written(one, kind)
    if isinstance(found, float) and math.isfinite(found) and len(_digits(found)) > _DIGITS:
        return float(f"{found:.{_SHOWN_DIGITS}g}")
    return found


def _digits(number: float) -> str:
    return repr(abs(number)).partition("e")[0].replace(".", "").strip("0")


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
