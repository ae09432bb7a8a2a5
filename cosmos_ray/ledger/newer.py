"""What only a newer release writes into an output is found and refused.

Who goes on without knowing it would take a clip's record for damaged and make the clip again, or drop what the record
says when records move into parts. Names alone decide: a new kind of fact has a new name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from cosmos_ray.errors import UsageError
from cosmos_ray.foreign import shown
from cosmos_ray.ledger.record import RECORDS, record_path

_RECORD = pa.struct(list(RECORDS))
#: What records of all releases have; what lacks some of it is damaged.
_OF_ALL = frozenset({"id", "generation", "status", "class", "attempt", "error", "row_hash", "epoch"})
#: Names that are told.
_TOLD = 3


def refuse_newer(uri: str, names: Iterable[str]) -> None:
    """Raises UsageError where there are any names."""
    if strange := sorted(set(names)):
        raise UsageError(f"{uri} is not of this version: {told(strange)}")


def told(names: list[str]) -> str:
    """What is said of names that nobody knows here."""
    return f"found {', '.join(map(shown, names[:_TOLD]))}, which a newer release may know"


def names_in_object(path: str, data: bytes) -> list[str]:
    """Of a commit record's object, what no record of this release has. [] of one that is damaged, too."""
    try:
        facts = json.loads(data)
        if not facts.keys() >= _OF_ALL or record_path(facts["id"], facts["generation"]) != path:
            return []
    except (AttributeError, TypeError, ValueError, RecursionError):
        return []
    return list(_beyond(facts, _RECORD, ""))


def names_in_part(found: pa.Schema, known: pa.Schema) -> list[str]:
    """Columns, and fields of columns, that no part of this release has."""
    return list(_beyond_type(pa.struct(list(found)), pa.struct(list(known)), ""))


def _beyond(value: Any, kind: pa.DataType, at: str) -> Iterator[str]:
    """In JSON. What is by view there, is a list of rows in a table."""
    if pa.types.is_list(kind) and isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _beyond(one, kind.value_type, at)
    elif pa.types.is_struct(kind) and isinstance(value, dict):
        known = {field.name: field.type for field in kind}
        for name, inner in value.items():
            if name not in known:
                yield f"{at}{name}"
            else:
                yield from _beyond(inner, known[name], f"{at}{name}.")


def _beyond_type(found: pa.DataType, known: pa.DataType, at: str) -> Iterator[str]:
    if pa.types.is_list(found) and pa.types.is_list(known):
        yield from _beyond_type(found.value_type, known.value_type, at)
    elif pa.types.is_struct(found) and pa.types.is_struct(known):
        types = {field.name: field.type for field in known}
        for field in found:
            if field.name not in types:
                yield f"{at}{field.name}"
            else:
                yield from _beyond_type(field.type, types[field.name], f"{at}{field.name}.")
