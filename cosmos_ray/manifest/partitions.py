"""Hive partitions: columns that stand in the names of a file's folders, as pandas, Spark and DuckDB write them.

`m/seed=100/weather=rain/part-0.parquet` has the columns `seed` and `weather`. Names and values are percent-decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

import pyarrow as pa

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.columns import COLUMNS, is_number

_NULL = "__HIVE_DEFAULT_PARTITION__"

#: (column, text of its value; None for null), from the outermost folder on.
Partitions = tuple[tuple[str, str | None], ...]


def partitions_of(path: str, top: str) -> Partitions:
    """Of a file below the folder `top`: all folders in between, and those next above them without a gap.

    Folders above `top` count because a manifest may be named by one of its folders, or a file of it: what is asked
    for must not depend on that. Raises ManifestError for names that are no text, or say two things of one column.
    """
    above = top.rstrip("/").split("/")
    below = path[len(top) :].strip("/").split("/")[:-1]
    first = len(above)
    while first > 0 and "=" in above[first - 1]:
        first -= 1
    found: dict[str, str | None] = {}
    for folder in (*above[first:], *(part for part in below if "=" in part)):
        name, _, value = folder.partition("=")
        name, text = _decoded(name, path), None if value == _NULL else _decoded(value, path)
        if found.setdefault(name, text) != text:
            raise ManifestError(f"{path}: its folders say {name}={found[name]} and {name}={text}")
    return tuple(found.items())


def _decoded(text: str, path: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: {text!r}, in the name of a folder, is no UTF-8 text") from None


def partition_type(name: str, values: Sequence[str | None]) -> pa.DataType:
    """The type of a column that only folders' names have: int32 if all its values are such, else string, as pyarrow.

    One of the manifest's own is text or a number, as it has to be. Raises ManifestError if it can be neither.
    """
    given = pa.array([value for value in values if value is not None], pa.string())
    if name in COLUMNS and not is_number(name):
        if not COLUMNS[name].accepts(pa.string()):
            raise ManifestError(f"column `{name}`: found it in the name of a folder, expected it in the files")
        return pa.string()
    for kind in (pa.int64(), pa.float64()) if is_number(name) else (pa.int32(),):
        try:
            given.cast(kind)
        except pa.ArrowInvalid:
            continue
        return kind
    if is_number(name):
        wrong = next(value for value in values if value is not None and not _is_number(value))
        raise ManifestError(f"column `{name}`: found the folder {name}={wrong}, expected {COLUMNS[name].expected}")
    return pa.string()


def _is_number(text: str) -> bool:
    try:
        pa.scalar(text).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def partition_value(name: str, value: str | None, kind: pa.DataType) -> pa.Scalar:
    """Raises ManifestError if the folder's value is none of this type."""
    try:
        return pa.scalar(value, pa.string()).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise ManifestError(
            f"column `{name}`: found the folder {name}={value}, expected a value of type {kind}, as in the files"
        ) from None
