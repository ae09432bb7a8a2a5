"""Columns that no clip is made from: carried as they are, or as text where a Parquet column could not hold them all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.notes import Notes

AS_TEXT = "columns whose values have no type in common, which are carried as text"
#: Lists and objects within each other; Parquet's readers stop at about twice as many.
_MOST_DEEP = 32
#: What values are called; `bool` before `int`, which it is too.
_KINDS: tuple[tuple[Any, str], ...] = (
    (str, "a text"), (bool, "true or false"), ((int, float), "a number"), (Mapping, "an object"), (list, "a list"),
)  # fmt: skip


def array_of(name: str, values: Sequence[Any]) -> pa.Array:
    """A column of these values. Raises ManifestError where no type holds them all.

    An object without keys is null: Parquet has no type for it.
    """
    try:
        return _array(name, values)
    except OverflowError:
        raise ManifestError(f"column `{name}` has an integer beyond 64 bits") from None
    except UnicodeEncodeError:
        raise ManifestError(f"column `{name}` has a text that is no Unicode: half of a surrogate pair") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ManifestError(f"column `{name}` has values of different types: {error}") from error


def carried_array(name: str, values: Sequence[Any], where: Callable[[int], str], notes: Notes) -> pa.Array:
    """As `array_of`, of a column that is only carried: where no type holds its values they are texts, each that is none
    written as JSON, and that is a warning. where: the place of a row."""
    try:
        return _array(name, values)
    except (OverflowError, pa.ArrowInvalid, pa.ArrowTypeError):
        first: dict[str, int] = {}
        for row, value in enumerate(values):
            if value is not None:
                first.setdefault(_kind(value), row)
        met = ", ".join(f"{kind} in {where(row)}" for kind, row in first.items())
        notes.warn(AS_TEXT, f"`{name}`: {met}")
        values = [None if value is None else _text(value) for value in values]
    except UnicodeEncodeError:
        pass  # told of by the next line
    return array_of(name, values)


def _array(name: str, values: Sequence[Any]) -> pa.Array:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ManifestError(f"column {name!r}: its name is no Unicode: half of a surrogate pair") from None
    try:
        found = pa.array(values)
    except OverflowError:
        with suppress(OverflowError, TypeError, pa.ArrowException):
            return pa.array(values, pa.uint64())
        raise
    _check_depth(name, found.type)
    return pa.array(map(_without_empty, values)) if _has_empty(found.type) else found


def _check_depth(name: str, kind: pa.DataType) -> None:
    depth, inside = 0, [kind]
    while inside := [outer.field(number).type for outer in inside for number in range(outer.num_fields)]:
        depth += 1
    if depth > _MOST_DEEP:
        raise ManifestError(
            f"column `{name}`: found lists and objects {depth} deep, expected at most {_MOST_DEEP}, which Parquet can "
            "hold; as a text it may say anything"
        )


def _has_empty(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and not kind.num_fields:
        return True
    return any(_has_empty(kind.field(number).type) for number in range(kind.num_fields))


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_empty(one) for key, one in value.items()} or None
    return [_without_empty(one) for one in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _kind(value: Any) -> str:
    return next((words for kind, words in _KINDS if isinstance(value, kind)), type(value).__name__)
