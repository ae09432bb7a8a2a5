"""Columns of a batch as numpy's and pyarrow's arrays: what `table` looks at a million rows with."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def column_of(batch: pa.RecordBatch, name: str) -> pa.Array | None:
    """None if there is no such column, or nothing in it."""
    if name not in batch.schema.names:
        return None
    column = batch.column(name)
    return None if pa.types.is_null(column.type) else column


def text_of(batch: pa.RecordBatch, name: str) -> pa.StringArray:
    """A column as texts; nulls where there is none."""
    column = column_of(batch, name)
    return pa.nulls(batch.num_rows, pa.string()) if column is None else column.cast(pa.string())


def floats_of(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """NaN is a gap, as is null."""
    column = column_of(batch, name)
    if column is None:
        return np.full(batch.num_rows, np.nan)
    return np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False))


def integers_of(
    batch: pa.RecordBatch, name: str, default: np.ndarray, low: int, high: int
) -> tuple[np.ndarray, np.ndarray]:
    """(int64 values, whether they are integers from low to high); a default need not be."""
    found = floats_of(batch, name)
    gap = np.isnan(found)
    whole = gap | ((found == np.floor(found)) & (found >= low) & (found <= high))
    return np.where(gap | ~whole, default, found).astype(np.int64), whole


def matches(texts: pa.StringArray, pattern: str) -> np.ndarray:
    """bool; a null matches nothing."""
    return np.asarray(pc.fill_null(pc.match_substring_regex(texts, pattern), False).to_numpy(zero_copy_only=False))


def is_there(texts: pa.Array) -> np.ndarray:
    """bool, one a value: it is not null."""
    return np.asarray(pc.is_valid(texts).to_numpy(zero_copy_only=False))


def flat(lists: pa.ListArray) -> tuple[pa.StringArray, np.ndarray, np.ndarray]:
    """(all values, the list of each, length of each list: 0 for a null)."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy(), lengths
