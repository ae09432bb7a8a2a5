"""A pandas DataFrame, read as a table in a file is: columns as Parquet has them, or texts where no type holds them."""

from __future__ import annotations

import datetime
import decimal
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.carried import AS_TEXT
from cosmos_ray.manifest.builders.notes import Notes
from cosmos_ray.manifest.builders.table_files import Source, source_of
from cosmos_ray.manifest.columns import COLUMNS

#: What messages call it.
_NAME = "the DataFrame"
#: Written as they are read.
_WRITTEN: tuple[type, ...] = (os.PathLike, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID)
#: Values that one column of Parquet holds together.
_ALIKE: tuple[tuple[type, ...], ...] = (
    (bool,), (int, float, decimal.Decimal), (str, bytes), (list, tuple, np.ndarray), (Mapping,), (datetime.datetime,),
)  # fmt: skip


def source_of_frame(frame: Any, notes: Notes) -> Source:
    """Raises ManifestError for what no file could hold, with column and row."""
    names = list(frame.columns)
    if other := [name for name in names if not isinstance(name, str)]:
        raise ManifestError(f"{_NAME} has the column {other[0]!r}: expected a text as its name")
    if not frame.columns.is_unique:
        raise ManifestError(f"{_NAME} has several columns of one name: {', '.join(map(repr, names))}")
    held, values = {}, {}
    for name in names:
        if (column := _column(frame, name)) is not None:
            held[name] = column
        else:
            values[name] = [_plain(value, name, row) for row, value in enumerate(frame[name])]
            if name not in COLUMNS and len(_kinds(frame[name])) > 1 and {*map(type, values[name])} <= {str, type(None)}:
                notes.warn(AS_TEXT, f"`{name}`")
    if not held:
        return Source(_NAME, values, [f"row {row}" for row in range(len(frame))])
    source = source_of(_NAME, pa.table(held), notes)
    columns = source.columns | values
    return replace(source, columns={name: columns[name] for name in names if name in columns})


def _column(frame: Any, name: str) -> pa.ChunkedArray | None:
    """As a Parquet file would give it back; None if there is no type for its values.

    Arrow is not asked where they differ in kind: beside a date it takes 7 for the 8th of January 1970.
    """
    if frame[name].dtype == object and len(_kinds(frame[name])) > 1:
        return None
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(pa.Table.from_pandas(frame[[name]], preserve_index=False), sink)
    except (pa.ArrowException, OverflowError, UnicodeError):
        return None
    return pq.read_table(pa.BufferReader(sink.getvalue())).column(name)


def _kinds(values: Iterable[Any]) -> set[Any]:
    plain = (value.item() if isinstance(value, np.generic) else value for value in values if not _is_nothing(value))
    return {next((kinds for kinds in _ALIKE if isinstance(value, kinds)), type(value)) for value in plain}


def _is_nothing(value: Any) -> bool:
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _plain(value: Any, name: str, row: int) -> Any:
    """A value as JSON could have it."""
    if isinstance(value, np.generic):
        value = value.item()
    if _is_nothing(value):
        return None
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, _WRITTEN):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, name, row) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(inner, name, row) for inner in value]
    raise ManifestError(
        f"row {row} of {_NAME}: column `{name}` has a {type(value).__name__}, which cannot be written as Parquet"
    )
