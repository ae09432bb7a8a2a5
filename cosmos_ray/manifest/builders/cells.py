"""One cell of a table, as the manifest's column wants it.

An empty cell says nothing in any column. In columns of numbers, references and lists so do the words that spreadsheets
and pandas write for nothing; in a text they are refused, for a video of the caption "nan" is nobody's wish.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.captions import is_sheets_error, parsed
from cosmos_ray.manifest.columns import is_number, is_whole

_NOTHING = frozenset({"nan", "na", "n/a", "#n/a", "#na", "<na>", "null", "none", "nat", "-"})
_GROUPED = re.compile(r"[+-]?\d{1,3}(\.\d{3})+")
_TEXTS = frozenset({"id", "prompt", "negative_prompt"})


def cell(column: str, value: Any, where: str, decimal_comma: bool = False) -> Any:
    """The value of one of the manifest's columns; None for nothing. Raises ManifestError."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if is_sheets_error(value):
        raise ManifestError(f"{where}: `{column}` is {value!r}, an error of the spreadsheet: mend it there")
    if column == "id":
        return _id(value)
    if column in _TEXTS:
        if says_nothing(value):
            raise ManifestError(
                f"{where}: `{column}` is {value!r}, which tables write for nothing: leave the cell empty, or say more"
            )
        return parsed(value) if column == "prompt" else value
    if says_nothing(value):
        return None
    if is_whole(column):
        number = _number(value, decimal_comma)
        if number is None or number != math.floor(number):
            raise ManifestError(f"{where}: `{column}` is {value!r}, expected an integer")
        return int(number)
    if is_number(column):
        if (number := _number(value, decimal_comma)) is None or abs(number) > sys.float_info.max:
            raise ManifestError(f"{where}: `{column}` is {value!r}, expected a number")
        return float(number)
    return parsed(value.strip() if isinstance(value, str) else value)


def says_nothing(value: Any) -> bool:
    """Whether a cell is empty, as tables and programs write that."""
    return value is None or (isinstance(value, str) and value.strip().lower() in {"", *_NOTHING})


def _id(value: Any) -> Any:
    """Clips that are numbered have their number as id, also where a gap elsewhere made it 7.0."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(value: Any, decimal_comma: bool) -> int | float | None:
    """None for what is no finite number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if decimal_comma and _GROUPED.fullmatch(text):
            return None  # 1.000 is a thousand where commas are decimal; elsewhere it is one
        text = text.replace(",", ".") if decimal_comma else text
        try:
            value = int(text)
        except ValueError:
            try:
                value = float(text)
            except ValueError:
                return None
    if not isinstance(value, int):
        try:
            value = float(value)  # decimals too
        except (TypeError, ValueError):
            return None
    return value if isinstance(value, int) or math.isfinite(value) else None
