"""References of a manifest as an output may keep them: without user, password and query, for which jobs refuse them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from cosmos_ray.foreign import shown_uri
from cosmos_ray.manifest.columns import COLUMNS, fields_of, is_any_list

#: The columns of ours that have references, or nothing that a secret could be in.
_REFERENCES = COLUMNS.keys() - {"id", "prompt", "negative_prompt", "views"}
#: What is looked at one by one: few references have an `@`, or a name and a value behind a `?` or `#`.
_SUSPECT = r"(?is)[?#].*=|%3f.*(?:=|%3d)|%23.*(?:=|%3d)|:.*@"


def without_secrets(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with its references so; columns that are only carried are the user's, and stay as they are."""
    columns = [
        _cleaned(column) if name in _REFERENCES and _is_suspect(column) else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _is_suspect(column: pa.Array) -> bool:
    return any(pc.any(pc.match_substring_regex(texts, _SUSPECT)).as_py() for texts in _texts(column))


def _texts(found: pa.Array) -> Iterator[pa.Array]:
    if kinds.is_struct(found.type):
        for number in range(len(fields_of(found.type))):
            yield from _texts(pc.struct_field(found, [number]))
    elif kinds.is_map(found.type):
        yield from _texts(found.items)
    elif is_any_list(found.type):
        yield from _texts(found.flatten())
    elif kinds.is_string(found.type):
        yield found


def _cleaned(column: pa.Array) -> pa.Array:
    return pa.array([_clean(value) for value in column.to_pylist()], column.type)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return shown_uri(value, most=10 * len(value) + 10) if re.search(_SUSPECT, value) else value
    if isinstance(value, dict):
        return {name: _clean(of) for name, of in value.items()}
    if isinstance(value, tuple):  # of a map
        return (value[0], _clean(value[1]))
    if isinstance(value, list):
        return [_clean(of) for of in value]
    return value
