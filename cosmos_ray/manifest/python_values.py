"""Values of columns as Python has them, whatever moments are in them.

Arrow knows years that Python's calendar does not, and databases write `infinity` as one.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

from cosmos_ray.manifest.columns import is_any_list

#: What is raised for a moment or a span of time that Python does not know.
_UNKNOWN = (OverflowError, ValueError)


def values_in(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """What `to_pylist` has; for a moment beyond Python's years its number, as a text."""
    try:
        return list(column.to_pylist())
    except _UNKNOWN:
        return [_value_of(scalar) for scalar in column]


def rows_in(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """A dict a row, of such values."""
    try:
        return list(batch.to_pylist())
    except _UNKNOWN:
        columns = [values_in(column) for column in batch.columns]
        return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _value_of(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except _UNKNOWN:
        kind = scalar.type
    if kinds.is_struct(kind):
        return {name: _value_of(value) for name, value in scalar.items()}
    if kinds.is_map(kind):
        return [tuple(_value_of(value) for value in pair.values()) for pair in scalar.values]
    if is_any_list(kind):
        return [_value_of(value) for value in scalar.values]
    inner = scalar.value
    return _value_of(inner) if isinstance(inner, pa.Scalar) else str(inner)
