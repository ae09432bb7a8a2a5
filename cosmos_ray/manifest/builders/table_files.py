"""Reading a table of any of three kinds, column by column: CSV as spreadsheets and pandas write it, JSONL, Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.carried import carried_array
from cosmos_ray.manifest.builders.notes import Notes
from cosmos_ray.manifest.builders.sources import (
    JSON_MARKS,
    MAX_TABLE_BYTES,
    UTF16,
    check_no_pipe,
    check_values,
    from_json,
    kind_in_words,
    suffix_of,
    twice_in_words,
)
from cosmos_ray.manifest.captions import parsed
from cosmos_ray.manifest.columns import COLUMNS, is_bytes
from cosmos_ray.manifest.files import PARQUET_SUFFIXES, unreadable
from cosmos_ray.manifest.other_tables import way_out_of
from cosmos_ray.manifest.parquet import table_of
from cosmos_ray.manifest.partitions import partition_type, partition_value, partitions_of
from cosmos_ray.manifest.python_values import values_in
from cosmos_ray.store.regular import TooLargeError
from cosmos_ray.store.storage import filesystem_of, read_bytes

if TYPE_CHECKING:
    import pandas

#: With which Windows begins a text of Unicode.
_MARK = "\ufeff"
_SEPARATORS = ",;\t|"
#: How many lines are looked at for the names of columns.
_MOST_ABOVE = 10
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
#: An identifier, a hash, a time in nanoseconds: a double would change its last digits.
_LONG = re.compile(r"-?\d{16,}")


@dataclass(frozen=True)
class Source:
    """columns: values by name, None for nothing. places: of each row, for messages. arrow: what Parquet has them as.

    A column that Parquet has no type for is not in `arrow`. texts: whether all values are texts, as CSV has them.
    decimal_comma: whether a number may be written 7,5.
    """

    uri: str
    columns: dict[str, list[Any]]
    places: list[str]
    arrow: pa.Table | None = None
    texts: bool = False
    decimal_comma: bool = False

    def where(self, row: int) -> str:
        return f"{self.places[row]} of {self.uri}"

    def carried(self, names: list[str], notes: Notes) -> pa.Table:
        """These columns as they are; texts of CSV that are numbers one and all, as numbers."""
        held = self.arrow.column_names if self.arrow is not None else ()
        if self.arrow is not None and all(name in held for name in names):
            return self.arrow.select(names)
        return pa.table({
            name: self.arrow.column(name)
            if self.arrow is not None and name in held
            else self._array(name, self.columns[name], notes)
            for name in names
        })  # fmt: skip

    def _array(self, name: str, values: list[Any], notes: Notes) -> pa.Array:
        if all(value is None for value in values):
            return pa.nulls(len(values), pa.string())
        if self.texts and (numbers := _numbers(values)) is not None:
            return numbers
        return carried_array(name, values, self.where, notes)


def read_source(uri: str, notes: Notes, encoding: str | None = None) -> Source:
    """Raises ManifestError for a file of another kind, with the way out, and for a damaged one."""
    return _with_folders(_read(uri, notes, encoding))


def _read(uri: str, notes: Notes, encoding: str | None) -> Source:
    check_no_pipe(uri)
    suffix = suffix_of(uri)
    if suffix in PARQUET_SUFFIXES:
        return _parquet(uri, notes)
    if suffix not in (".csv", ".tsv", ".jsonl", ".ndjson"):
        way = way_out_of(uri) or "rename it"
        raise ManifestError(f"{uri}: expected a .csv, .tsv, .jsonl or .parquet; {way}")
    text = _text(uri, encoding)
    return _jsonl(uri, text) if suffix in (".jsonl", ".ndjson") else _csv(uri, text, notes)


def _with_folders(source: Source) -> Source:
    """With the columns that stand in the names of its folders (`seed=100/`), which rows may not contradict."""
    path = filesystem_of(source.uri)[1]
    columns, arrow, rows = dict(source.columns), source.arrow, len(source.places)
    for name, text in partitions_of(path, posixpath.dirname(path)):
        kind = partition_type(name, [text])
        said = text if source.texts else partition_value(name, text, kind).as_py()
        found = columns.get(name, [None] * rows)
        for row, value in enumerate(found):
            if value is not None and text is not None and not _is_same(value, text):
                raise ManifestError(f"{source.where(row)}: `{name}` is {value!r}, but its folder says {name}={text}")
        columns[name] = [said if value is None else value for value in found]
        if arrow is not None and name not in source.columns:
            arrow = arrow.append_column(name, pa.array(columns[name], kind))
    return replace(source, columns=columns, arrow=arrow)


def _is_same(value: Any, text: str) -> bool:
    try:
        return str(value) == text or float(value) == float(text)
    except (TypeError, ValueError):
        return False


def read_records(uri: str) -> list[dict[str, Any]]:
    """The rows of a table as they are, lists in texts as lists."""
    source = read_source(uri, Notes())
    return [{name: parsed(values[row]) for name, values in source.columns.items()} for row in range(len(source.places))]


def _text(uri: str, encoding: str | None) -> str:
    data = _bytes(uri)
    if encoding is None:
        encoding = "utf-16" if data.startswith(UTF16) else "utf-8-sig"
    try:
        text = data.decode(encoding).removeprefix(_MARK)
    except LookupError:
        raise ManifestError(f"--encoding: found {encoding!r}, expected a name like utf-8 or cp1252") from None
    except UnicodeDecodeError as error:
        said = kind_in_words(data) or (
            f"{error.reason} at byte {error.start}; `--encoding cp1252` reads what Excel writes in Western Europe"
        )
        raise ManifestError(f"{uri} is no {encoding.removesuffix('-sig').upper()} text: {said}") from error
    if "\0" in text:
        said = kind_in_words(data) or "if it is UTF-16 without a mark, `--encoding utf-16-le` reads it"
        raise ManifestError(f"{uri} is no text; {said}")
    return text


def _bytes(uri: str) -> bytes:
    try:
        return read_bytes(uri, max_bytes=MAX_TABLE_BYTES)
    except TooLargeError as error:
        raise ManifestError(
            f"{uri}: found {error.size} bytes, expected at most {error.most}: write several tables, or Parquet"
        ) from error
    except OSError as error:
        raise ManifestError(f"{uri} cannot be read: {type(error).__name__}") from error


def _csv(uri: str, text: str, notes: Notes) -> Source:
    import pandas

    told = re.match(r"sep=(.)\r?\n", text)  # a first line with which Excel says what separates
    text = text[told.end() :] if told else text
    if not text.strip():
        raise ManifestError(f"{uri} is empty")
    if "\n" not in text:  # as spreadsheets once wrote it on a Mac
        text = text.replace("\r", "\n")
    _check_header(uri, text)
    separator = told[1] if told else _separator(text)
    check_values(uri, text, separator + "\n")
    try:
        header = [name.strip() for name in next(_rows(text, separator), [])]
        try:
            frame = _frame(text, separator)
        except pandas.errors.ParserError as error:
            frame = _with_empty_ends(text, separator, len(header), error)
    except (pandas.errors.ParserError, csv.Error) as error:
        raise ManifestError(
            f"{uri}: {' '.join(str(error).split())}; texts with {separator!r} stand in quotes"
        ) from None
    _check_names(uri, header)
    frame = frame.iloc[1:].fillna("")
    if len(frame.columns) != len(header):
        raise ManifestError(f"{uri}: found rows of {len(frame.columns)} cells below a header of {len(header)}")
    empty = (frame.map(str.strip) == "").all(axis=1)
    for number in frame.index[empty]:
        notes.warn("rows without anything in them, which are left out", f"row {number} of {uri}")
    frame = frame[~empty]
    if "" in header:
        notes.warn("columns without a name, which are left out", f"column {header.index('') + 1} of {uri}")
    columns = {
        name: [value if value.strip() else None for value in frame[number]]
        for number, name in enumerate(header)
        if name
    }
    places = [f"row {number}" for number in frame.index]  # the first below the header is row 1
    return Source(uri, columns, places, texts=True, decimal_comma=separator == ";")


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    """Blanks after a separator are none of a cell's: before a quote they would make it a part of the text."""
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)


def _frame(text: str, separator: str, width: int | None = None) -> pandas.DataFrame:
    import pandas

    names = None if width is None else range(width)
    return pandas.read_csv(
        io.StringIO(text), sep=separator, header=None, names=names, dtype=str, keep_default_na=False,
        skipinitialspace=True,
    )  # fmt: skip


def _with_empty_ends(text: str, separator: str, width: int, error: Exception) -> pandas.DataFrame:
    """Of rows that end with separators which the header lacks. Raises `error` if something stands behind them."""
    widest = max(map(len, _rows(text, separator)), default=0)
    frame = _frame(text, separator, widest)
    if (frame.iloc[:, width:].fillna("").map(str.strip) != "").any(axis=None):
        raise error
    return frame.iloc[:, :width]


def _check_header(uri: str, text: str) -> None:
    """Raises ManifestError where the names stand further down: below a title, or below cells that span some columns."""
    lines = text.split("\n", _MOST_ABOVE)[:_MOST_ABOVE]
    named = [any({"id", "prompt"} <= set(map(str.strip, line.split(one))) for one in _SEPARATORS) for line in lines]
    if any(named) and not named[0]:
        line = named.index(True) + 1
        raise ManifestError(f"{uri}: the names of the columns stand in line {line}, expected them in the first")


def _separator(text: str) -> str:
    """That which makes the most names of the header."""
    header = text.partition("\n")[0]
    return max(_SEPARATORS, key=lambda one: len(next(csv.reader([header], delimiter=one), [])))


def _check_names(uri: str, names: list[str]) -> None:
    if repeated := sorted(name for name, count in Counter(names).items() if name and count > 1):
        raise ManifestError(f"{uri}: found several columns {', '.join(map(repr, repeated))}, expected each name once")


def _jsonl(uri: str, text: str) -> Source:
    check_values(uri, text, JSON_MARKS)
    rows = dict(_objects(uri, text))
    names = dict.fromkeys(name for row in rows.values() for name in row)
    columns = {name: [_gap(row.get(name)) for row in rows.values()] for name in names}
    return Source(uri, columns, [f"line {number}" for number in rows])


def _objects(uri: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = from_json(line)
        except json.JSONDecodeError as error:
            raise ManifestError(f"line {number} of {uri} is no JSON, expected an object a line: {error}") from error
        except RecursionError as error:
            raise ManifestError(f"line {number} of {uri} is JSON that nests too deep to be read") from error
        except ManifestError as error:
            raise ManifestError(f"line {number} of {uri}: {error}") from None
        except ValueError as error:  # a number of thousands of digits
            raise ManifestError(f"line {number} of {uri} is JSON that cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise ManifestError(f"line {number} of {uri}: found {type(found).__name__}, expected an object")
        yield number, found


def _parquet(uri: str, notes: Notes) -> Source:
    try:
        table = table_of(uri)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise unreadable(uri, error) from error
    return source_of(uri, table, notes)


def source_of(uri: str, table: pa.Table, notes: Notes) -> Source:
    """Of a table as Parquet has it. uri: its name, for messages."""
    _check_names(uri, table.column_names)
    for name in table.column_names:
        if re.fullmatch(r"__index_level_\d+__|Unnamed: \d+|", name):  # pandas' row numbers
            notes.warn("columns without a name, which are left out", f"{name!r} of {uri}")
            table = table.drop_columns([name])
    columns = {name: list(map(_gap, _texts(uri, name, table.column(name)))) for name in table.column_names}
    found = Source(uri, columns, [f"row {number}" for number in range(table.num_rows)], table)
    for name in filter(COLUMNS.__contains__, columns):
        for row, value in enumerate(columns[name]):
            if _is_map(value):
                raise ManifestError(f"{found.where(row)}: `{name}`: {twice_in_words(key for key, _ in value)}")
    return found


def _texts(uri: str, name: str, column: pa.ChunkedArray) -> list[Any]:
    """Values; of a column of ours, bytes are text that its writer has not called so."""
    if name not in COLUMNS or not is_bytes(column.type):
        return values_in(column)
    try:
        return list(column.cast(pa.string()).to_pylist())
    except pa.ArrowInvalid:
        raise ManifestError(f"{uri}: column `{name}` has bytes that are no UTF-8 text") from None


def _gap(value: Any) -> Any:
    """A map as a dict, or as it is if a key repeats; NaN as nothing."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if _is_map(value) and len(found := dict(value)) == len(value):
        return found
    return value


def _is_map(value: Any) -> bool:
    """As pyarrow gives one."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, tuple) and len(one) == 2 for one in value)


def _numbers(values: list[str | None]) -> pa.Array | None:
    """None unless they are numbers one and all."""
    texts = [value for value in values if value is not None]
    for form, kind, convert in ((_WHOLE, pa.int64(), int), (_DECIMAL, pa.float64(), float)):
        if texts and all(form.fullmatch(text) for text in texts):
            if convert is float and any(map(_LONG.fullmatch, texts)):
                break
            return pa.array([None if value is None else convert(value) for value in values], kind)
    return None
