"""One Parquet file of a stranger's, read in pieces that hold no more than is promised (docs/security.md)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.pages import MAX_ROWS, CheckedFile, TextsRepeat
from cosmos_ray.manifest.schema import as_stored, convert
from cosmos_ray.store.faults import retrying
from cosmos_ray.store.regular import check_regular
from cosmos_ray.store.storage import filesystem_of
from cosmos_ray.store.uris import scheme_of
from cosmos_ray.words import counted

#: Columns, those within structs counted, bytes of the footer of one file, and bytes of what is read at once.
MAX_COLUMNS, MAX_FOOTER, MAX_BATCH = 10_000, 2**28, 2**30
#: Bytes of a table that is read whole.
MAX_TABLE = 2**31
#: Bytes behind a footer: its length, and four letters.
_TAIL = 8
#: Bytes of one row group as it is in the file, and of a footer, times how often it is read.
_MAX_GROUP, _MAX_FOOTERS = 2**32, 2**33


def footer_of(uri: str) -> pq.FileMetaData:
    """Raises FileNotFoundError, ManifestError for what is too large, OSError for its store, pa.ArrowException for no
    Parquet."""
    return _parsed(retrying(lambda: _end_of(_open(uri), uri), f"reading {uri}"), uri)


def schema_of(metadata: pq.FileMetaData) -> pa.Schema:
    """As readers give it, extension types and all; what a footer itself says of it has none."""
    return pq.ParquetFile(pa.BufferReader(b""), metadata=metadata).schema_arrow


def batches_of(uri: str, group: int, rows: int = MAX_ROWS) -> Iterator[pa.RecordBatch]:
    """One row group, at most `rows` rows at a time (MAX_ROWS at most). Long texts that repeat come as dictionaries.

    Raises as `footer_of` does; ManifestError for what would take too much memory, before it takes it.
    """
    file = retrying(lambda: _open(uri), f"reading {uri}")
    return batches_in(file, uri, group, rows)


def batches_in(file: Any, uri: str, group: int, rows: int = MAX_ROWS) -> Iterator[pa.RecordBatch]:
    """`batches_of` an open file. uri: for messages."""
    metadata = _parsed(retrying(lambda: _end_of(file, uri), f"reading {uri}"), uri)
    _check_packed(metadata, group, uri)
    given, rows = 0, min(rows, MAX_ROWS)
    try:
        for batch in _read(file, uri, metadata, group, rows):
            given += 1
            yield batch
    except TextsRepeat:  # slower: each text is looked for among those before it
        words = _texts_with_dictionaries(metadata, group)
        yield from itertools.islice(_read(file, uri, metadata, group, rows, words), given, None)


def table_of(uri: str) -> pa.Table:
    """All of a file. Raises as `batches_of` does; ManifestError for more than MAX_TABLE bytes."""
    metadata = footer_of(uri)
    given, size, batches = schema_of(metadata), 0, []
    schema = pa.schema([field.with_type(as_stored(field.type)) for field in given], given.metadata)
    for group in range(metadata.num_row_groups):
        for batch in batches_of(uri, group):
            size += sum(map(size_of, batch.columns))
            if size > MAX_TABLE:
                raise ManifestError(
                    f"{uri} holds more than {MAX_TABLE} bytes, which is more than is read at once: write several tables"
                )
            columns = [convert(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
            batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    return pa.Table.from_batches(batches, schema)


def _read(
    file: Any, uri: str, metadata: pq.FileMetaData, group: int, rows: int, dictionaries: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """dictionaries: columns whose dictionaries are kept; None: all texts are written out. Raises TextsRepeat."""
    checked = CheckedFile(file, uri, keeps_dictionaries=dictionaries is not None)
    source = pq.ParquetFile(checked, metadata=metadata, read_dictionary=dictionaries, pre_buffer=False)
    checked.expect(metadata, group)
    try:
        for batch in source.iter_batches(rows, row_groups=[group]):
            batch.validate(full=True)  # text that is not UTF-8
            _check_size(batch, uri)
            yield batch
    except OSError as error:  # pyarrow's own, too, for what is wrong with a file's content
        if checked.store_failed:
            raise
        raise pa.ArrowInvalid(str(error)) from error


def _open(uri: str) -> Any:
    fs, path = filesystem_of(uri)
    if scheme_of(uri) == "file":
        check_regular(path)
    return fs.open(path, "rb")


def _end_of(file: Any, uri: str) -> bytes:
    """What Parquet says of itself, which is read whole: a footer of gigabytes is refused, unread."""
    size = file.seek(0, 2)
    file.seek(max(size - _TAIL, 0))
    end = file.read(_TAIL)
    length = int.from_bytes(end[:4], "little")
    if end[4:] == b"PARE":
        raise ManifestError(f"the manifest {uri} is encrypted, expected plain Parquet: write it without encryption")
    if MAX_FOOTER < length < size:
        raise ManifestError(f"the manifest {uri} has a footer of {length} bytes, expected at most {MAX_FOOTER}")
    file.seek(max(size - _TAIL - (length if length < size else 0), 0))
    return bytes(file.read())


def _parsed(end: bytes, uri: str) -> pq.FileMetaData:
    """Of bytes that are here: whatever is wrong with them is the file's fault, and no store is asked again."""
    try:
        found = pq.read_metadata(pa.BufferReader(end))
    except OSError as error:
        raise pa.ArrowInvalid(str(error)) from error
    if found.num_columns > MAX_COLUMNS:
        raise ManifestError(f"the manifest {uri} has {found.num_columns} columns, expected at most {MAX_COLUMNS}")
    length = len(end) - _TAIL
    if found.num_row_groups * length > _MAX_FOOTERS:
        raise ManifestError(
            f"the manifest {uri} has {found.num_row_groups} row groups and {length} bytes that say where they are, "
            "which are read for each of them: write larger row groups, or several files"
        )
    return found


def _check_packed(metadata: pq.FileMetaData, group: int, uri: str) -> None:
    """A reader takes its columns whole before it unpacks them."""
    chunks = metadata.row_group(group)
    size = sum(chunks.column(number).total_compressed_size for number in range(metadata.num_columns))
    if size > _MAX_GROUP:
        raise ManifestError(
            f"the manifest {uri} has a row group of {size} bytes, expected at most {_MAX_GROUP}: write smaller ones"
        )


def _texts_with_dictionaries(metadata: pq.FileMetaData, group: int) -> list[str]:
    """Columns of which a text that stands in a million rows need not be made a million times."""
    return [
        metadata.schema.column(number).path
        for number in range(metadata.num_columns)
        if metadata.schema.column(number).physical_type == "BYTE_ARRAY"
        and metadata.row_group(group).column(number).has_dictionary_page
    ]


def _check_size(batch: pa.RecordBatch, uri: str) -> None:
    sizes = {name: size_of(batch.column(number)) for number, name in enumerate(batch.schema.names)}
    size = sum(sizes.values())
    if size > MAX_BATCH:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ManifestError(
            f"the manifest {uri}: {counted(batch.num_rows, 'row')} of it hold {size} bytes, most of them in column "
            f"`{largest}`, expected at most {MAX_BATCH}: name large contents by their URIs"
        )


def size_of(array: pa.Array) -> int:
    """Bytes of it with each text written out."""
    kind = array.type
    if kinds.is_dictionary(kind):
        words = array.dictionary
        if not _is_text(words.type):
            return len(array) * 16
        lengths = pc.fill_null(pc.binary_length(words).cast(pa.int64()), 0)
        return int(pc.sum(lengths.take(array.indices.drop_null())).as_py() or 0) + 4 * len(array)
    if kinds.is_struct(kind):
        return len(array) + sum(size_of(one) for one in array.flatten())
    if kinds.is_map(kind):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return 4 * len(array) + sum(size_of(one[first:last]) for one in (array.keys, array.items))
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        return 4 * len(array) + size_of(array.flatten())
    return int(array.nbytes)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_binary(kind) or kinds.is_large_binary(kind)
    )
