"""What the pages of a Parquet column unpack to, told by their own headers before anything is unpacked.

A reader makes as much room for a page as its header says, whatever the footer says. So each column of a row group is
gone through as the reader gets it, page by page: a kilobyte may stand for gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from cosmos_ray.errors import ManifestError

#: Rows that are read at once, at most, and bytes that reading them may take.
MAX_ROWS, MAX_HELD = 8192, 2**32
#: Pages of one row group, whose headers take their time, and bytes of one.
MAX_PAGES, _MAX_PAGE = 200_000, 2**29
#: Of a value in a list: where it begins and ends, and at which levels.
_LIST_VALUE = 16
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PREFIXES = 7  # DELTA_BYTE_ARRAY: a value takes the beginning of the one before it
#: Kinds of Thrift's compact form, and how deep they may be within each other.
_TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, 9, 10, 12
_MAX_DEPTH = 8


@dataclass(frozen=True)
class _Column:
    """One column of a row group. values: that the footer says it has. width: of one value, bytes; 0 for texts.
    has_dictionary: as the footer says, by which it was chosen how it is read."""

    name: str
    values: int
    width: int
    in_list: bool
    has_dictionary: bool


class Page(NamedTuple):
    """unpacked: bytes. values: in lists too, nulls included."""

    kind: int
    unpacked: int
    values: int
    encoding: int


class CheckedFile:
    """A Parquet file for pyarrow, which raises ManifestError for what unpacks to more than `most` bytes at once."""

    closed = False

    def __init__(self, file: Any, uri: str, most: int = MAX_HELD) -> None:
        self._file, self._uri, self._most = file, uri, most
        self._columns: dict[int, list[_Column]] | None = None
        self._held = self._pages = 0

    def expect(self, metadata: pq.FileMetaData, group: int) -> None:
        """From now on nothing but the columns of this row group is read, each at once."""
        self._columns, self._held, self._pages = {}, 0, 0
        chunks = metadata.row_group(group)
        for number in range(metadata.num_columns):
            kind, chunk = metadata.schema.column(number), chunks.column(number)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                start = chunk.dictionary_page_offset
            width = 0 if kind.physical_type == "BYTE_ARRAY" else max(kind.length, 8)
            in_list = kind.max_repetition_level > 0
            column = _Column(kind.path, chunk.num_values, width, in_list, chunk.has_dictionary_page)
            self._columns.setdefault(start, []).append(column)

    def read(self, size: int = -1) -> bytes:
        place = self._file.tell()
        data: bytes = self._file.read(size)
        if self._columns is not None and data:
            if place not in self._columns:
                raise ValueError(f"its reader asks for byte {place}, where no column begins")
            for column in self._columns[place]:
                self._check(column, data)
        return data

    def _check(self, column: _Column, data: bytes) -> None:
        pages = list(pages_of(data, column.values, MAX_PAGES + 1))
        if not column.has_dictionary and any(page.kind == _DICTIONARY for page in pages):
            raise ValueError(f"column `{column.name}` has a dictionary that the footer does not tell of")
        self._pages += len(pages)
        self._held += held(pages, column.width, column.in_list)
        if self._pages > MAX_PAGES:
            raise ManifestError(
                f"the manifest {self._uri} has a row group of more than {MAX_PAGES} pages: write it again"
            )
        if self._held > self._most or any(page.unpacked > _MAX_PAGE for page in pages):
            raise ManifestError(
                f"the manifest {self._uri}: column `{column.name}` unpacks to more than may be held at once, expected at "
                f"most {_MAX_PAGE} bytes a page, and {self._most} of all columns for {MAX_ROWS} rows, or for the lists of "
                "a row group: write smaller row groups, and name large contents by their URIs"
            )

    def seek(self, place: int, whence: int = 0) -> int:
        return int(self._file.seek(place, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()


def held(pages: list[Page], width: int, in_list: bool) -> int:
    """Bytes that reading MAX_ROWS rows of a column may take: of lists nobody knows which row they are of."""
    dictionaries = sum(page.unpacked for page in pages if page.kind == _DICTIONARY)
    data = [page for page in pages if page.kind != _DICTIONARY]
    sizes = [page.unpacked * (min(page.values, MAX_ROWS) if page.encoding == _PREFIXES else 1) for page in data]
    if in_list:
        values = sum(page.values for page in data)
        return dictionaries + sum(sizes) + values * (_LIST_VALUE + width)
    most = together = values = first = 0
    for size, page in zip(sizes, data, strict=True):
        together, values = together + size, values + page.values
        # Rows that are read together begin in none before which there are enough between it and this one.
        while values - data[first].values - page.values >= MAX_ROWS:
            together, values, first = together - sizes[first], values - data[first].values, first + 1
        most = max(most, together)
    return dictionaries + most + MAX_ROWS * width


def pages_of(data: bytes, values: int, most: int) -> Iterator[Page]:
    """Pages of one column, until there are `values` values, or `most` pages. Raises ValueError for no page."""
    at = found = 0
    for _ in range(most):
        if found >= values or at >= len(data):
            return
        try:
            header, at = _struct(data, at, 0)
        except IndexError:
            raise ValueError("the header of a page ends too early") from None
        kind, unpacked, packed = (header.get(number) for number in (1, 2, 3))
        if not isinstance(kind, int) or not isinstance(unpacked, int) or not isinstance(packed, int):
            raise ValueError("the header of a page is damaged")
        if unpacked < 0 or packed < 0:
            raise ValueError("a page of a negative size")
        of_kind = header.get({_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(kind, 6), {})
        number = of_kind.get(1, 0) if isinstance(of_kind, dict) else 0
        encoding = of_kind.get(4 if kind == _DATA_V2 else 2, 0) if isinstance(of_kind, dict) else 0
        if number < 0:
            raise ValueError("a page of a negative number of values")
        if kind in (_DATA, _DATA_V2):
            found += number
        yield Page(kind, unpacked, number, encoding)
        at += packed


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """The numbers and structs in a struct of Thrift's compact form, by field; where it ends. Raises IndexError."""
    if depth > _MAX_DEPTH:
        raise ValueError("the header of a page nests too deep")
    fields: dict[int, Any] = {}
    field = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = _signed(data, at)
        fields[field], at = _value(data, at, head & 15, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int, in_list: bool = False) -> tuple[Any, int]:
    """None for what is passed over."""
    if kind in (_TRUE, _FALSE):
        return None, at + in_list
    if kind == _BYTE:
        return None, at + 1
    if kind in _INTEGERS:
        return _signed(data, at)
    if kind == _DOUBLE:
        return None, at + 8
    if kind == _BINARY:
        length, at = _unsigned(data, at)
        return None, at + length
    if kind in (_LIST, _SET):
        head, at = data[at], at + 1
        length = head >> 4
        if length == 15:
            length, at = _unsigned(data, at)
        for _ in range(length):
            _, at = _value(data, at, head & 15, depth + 1, in_list=True)
            data[at - 1]  # no further than there is something: a list of a million million booleans is none
        return None, at
    if kind == _STRUCT:
        return _struct(data, at, depth + 1)
    raise ValueError("the header of a page is damaged")


def _signed(data: bytes, at: int) -> tuple[int, int]:
    found, at = _unsigned(data, at)
    return (found >> 1) ^ -(found & 1), at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    found = 0
    for shift in range(0, 70, 7):
        found |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return found, at
    raise ValueError("a number without an end")
