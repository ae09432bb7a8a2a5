"""What the pages of a Parquet column unpack to, told by their own headers before anything is unpacked.

A reader makes as much room for a page as its header says, whatever the footer says. So each column of a row group is
gone through as the reader gets it, page by page: a kilobyte may stand for gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.page_headers import DICTIONARY, PREFIXES, Page, pages_of

#: Rows that are read at once, at most, and bytes that reading them may take.
MAX_ROWS, MAX_HELD = 8192, 2**32
#: Pages of one row group, whose headers take their time, and bytes of one.
MAX_PAGES, _MAX_PAGE = 200_000, 2**29
#: Of a value in a list: where it begins and ends, and at which levels.
_LIST_VALUE = 16
#: Of a column whose dictionary is written out for each row: bytes at most, and of a dictionary that is looked through.
_WRITTEN_OUT, _LOOKED_THROUGH = 2**28, 2**22


@dataclass(frozen=True)
class _Column:
    """One column of a row group. values: that the footer says it has. width: of one value, bytes; 0 for texts.
    has_dictionary, codec: as the footer says."""

    name: str
    values: int
    width: int
    in_list: bool
    has_dictionary: bool
    codec: str


class TextsRepeat(Exception):
    """Written out for every row, a text of a dictionary would take too much memory: dictionaries have to stay."""


class CheckedFile:
    """A Parquet file for pyarrow, which raises ManifestError for what unpacks to more than MAX_HELD bytes at once.

    keeps_dictionaries: texts that have one are read as one; else they are written out, and TextsRepeat is raised where
    that is too much. store_failed: a read has failed; any other fault is of what was read.
    """

    closed = False

    def __init__(self, file: Any, uri: str, keeps_dictionaries: bool) -> None:
        self._file, self._uri, self._keeps_dictionaries = file, uri, keeps_dictionaries
        self._columns: dict[int, list[_Column]] | None = None
        self._held = self._pages = 0
        self.store_failed = False

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
            column = _Column(kind.path, chunk.num_values, width, in_list, chunk.has_dictionary_page, chunk.compression)
            self._columns.setdefault(start, []).append(column)

    def read(self, size: int = -1) -> bytes:
        place = self._file.tell()
        try:
            data: bytes = self._file.read(size)
        except OSError:
            self.store_failed = True
            raise
        if self._columns is not None and data:
            if place not in self._columns:
                raise ValueError(f"its reader asks for byte {place}, where no column begins")
            for column in self._columns[place]:
                self._check(column, data)
        return data

    def _check(self, column: _Column, data: bytes) -> None:
        pages = list(pages_of(data, column.values, MAX_PAGES + 1))
        words = [page for page in pages if page.kind == DICTIONARY]
        if words and not column.width:
            if not self._keeps_dictionaries:
                self._check_words(column, words, pages, data)
            elif not column.has_dictionary:
                raise ValueError(f"column `{column.name}` has a dictionary that the footer does not tell of")
        self._pages += len(pages)
        self._held += held(pages, column.width, column.in_list)
        if self._pages > MAX_PAGES:
            raise ManifestError(
                f"the manifest {self._uri} has a row group of more than {MAX_PAGES} pages: write it again"
            )
        if self._held > MAX_HELD or any(page.unpacked > _MAX_PAGE for page in pages):
            raise ManifestError(
                f"the manifest {self._uri}: column `{column.name}` unpacks to more than may be held at once: expected "
                f"at most {_MAX_PAGE} bytes a page, and {MAX_HELD} of all columns for {MAX_ROWS} rows, or for the "
                "lists of a row group. Write smaller row groups, and name large contents by their URIs"
            )

    def _check_words(self, column: _Column, words: list[Page], pages: list[Page], data: bytes) -> None:
        rows = sum(page.values for page in pages if page.kind != DICTIONARY) if column.in_list else MAX_ROWS
        written_out = rows * max(_longest(page, column.codec, data) for page in words)
        self._held += written_out
        if written_out > _WRITTEN_OUT or self._held > MAX_HELD:
            raise TextsRepeat

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


def held(pages: Sequence[Page], width: int, in_list: bool) -> int:
    """Bytes that reading MAX_ROWS rows of a column may take: of lists nobody knows which row they are of."""
    dictionaries = sum(page.unpacked for page in pages if page.kind == DICTIONARY)
    data = [page for page in pages if page.kind != DICTIONARY]
    sizes = [page.unpacked * (min(page.values, MAX_ROWS) if page.encoding == PREFIXES else 1) for page in data]
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


def _longest(page: Page, codec: str, data: bytes) -> int:
    """Bytes of the longest text of a dictionary; of the whole where it is too large to be looked through."""
    if page.unpacked > _LOOKED_THROUGH:
        return page.unpacked
    content = data[page.begins : page.begins + page.packed]
    if codec != "UNCOMPRESSED":
        try:
            content = pa.Codec(codec.lower()).decompress(content, page.unpacked, asbytes=True)
        except (OSError, ValueError):  # of a name that differs from that of the codec, or damaged, as the reader finds
            return page.unpacked
    longest = at = 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        longest, at = max(longest, length), at + 4 + length
    return min(longest, page.unpacked)
