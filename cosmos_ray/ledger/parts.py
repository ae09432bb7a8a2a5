"""Parts: Parquet files of many commit records each, which take the place of the records' own objects.

    _cosmos_ray/ledger/<epoch>-<random>.parquet   written by the owner of that epoch

A part never changes, and every row of it is a record that was an object first, so any number of parts may overlap and
all of them together are always right. Three rules keep it so, in whatever order writers die, sleep and wake:

* an object is removed only after a part with its record can be read back;
* a part is removed only an hour after another one that holds all its rows (and says so: `replaces`) was written;
* readers read objects first and then list parts, so a record that moves meanwhile is seen at one of its places.
"""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.errors import CosmosRayError
from cosmos_ray.ledger.layout import LEDGER
from cosmos_ray.ledger.newer import names_in_part, refuse_newer
from cosmos_ray.ledger.record import RECORDS, with_all_columns
from cosmos_ray.store.faults import explain, retrying
from cosmos_ray.store.storage import Storage, filesystem_of

#: Beside the record: the epoch of the owner that moved it here. Of two records of one outcome the later owner's holds.
PART_SCHEMA = RECORDS.append(pa.field("compacted_by", pa.int64()))
SUFFIX = ".parquet"
_REPLACES, _WRITTEN = b"replaces", b"written"
_ROW_GROUP = 10_000
_READERS = 8


@dataclass(frozen=True)
class Part:
    """replaces: paths of parts whose rows are all in this one. written: seconds since 1970, by its writer's clock."""

    path: str
    rows: tuple[int, ...]
    replaces: frozenset[str]
    written: float

    @property
    def num_rows(self) -> int:
        return sum(self.rows)


def list_parts(storage: Storage) -> list[Part]:
    """Every part there is, those that another one replaces too. Raises FileNotFoundError if one goes meanwhile, and
    UsageError for one that a newer release wrote."""
    paths = sorted(path for path in storage.list_files(LEDGER) if path.endswith(SUFFIX))
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda path: _read_footer(storage, path), paths))


def live_parts(parts: Sequence[Part]) -> list[Part]:
    """Those that no other one replaces."""
    replaced = replaced_paths(parts)
    return [part for part in parts if part.path not in replaced]


def replaced_paths(parts: Iterable[Part]) -> frozenset[str]:
    """Parts that these have taken the place of."""
    return frozenset().union(*(part.replaces for part in parts))


def open_part(storage: Storage, path: str) -> pq.ParquetFile:
    """Raises FileNotFoundError, and CosmosRayError for a file that is damaged."""
    fs, full = filesystem_of(storage.uri_of(path))
    with damage_named(storage, path):
        # Only what is asked for is fetched: a part has 40 MB, the columns that most readers want a tenth of that.
        return retrying(
            lambda: pq.ParquetFile(fs.open(full, "rb", cache_type="none"), pre_buffer=True), f"reading {path}"
        )


def read_columns(storage: Storage, parts: Sequence[Part], columns: list[str]) -> list[pa.Table]:
    """These columns of each part, in its order."""

    def read(part: Part) -> pa.Table:
        file = open_part(storage, part.path)
        with damage_named(storage, part.path):
            return file.read(columns, use_threads=False)

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, parts))


def row_groups(storage: Storage, part: Part) -> Iterator[pa.Table]:
    """The part's rows, some thousands at a time."""
    file = open_part(storage, part.path)
    for number in range(file.num_row_groups):
        with damage_named(storage, part.path):
            group = file.read_row_group(number)
        yield with_all_columns(group, PART_SCHEMA)


def write_part(storage: Storage, epoch: int, tables: Iterable[pa.Table], replaces: Iterable[str] = ()) -> str:
    """Write tables of PART_SCHEMA into one new part; its path. Raises OSError if it does not read back as written."""
    path = f"{LEDGER}/{epoch:08d}-{uuid.uuid4().hex}{SUFFIX}"
    facts = {_REPLACES: json.dumps(sorted(replaces)).encode(), _WRITTEN: repr(time.time()).encode()}
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, PART_SCHEMA.with_metadata(facts), compression="zstd") as writer:
        for table in _regrouped(tables):
            writer.write_table(table)
    data = buffer.getvalue()
    storage.write(path, data)
    if storage.read(path) != data:
        raise OSError(f"{path}: what was read back is not what was written")
    return path


def _regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of _ROW_GROUP."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        while rows >= _ROW_GROUP:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, _ROW_GROUP)
            waiting, rows = [whole.slice(_ROW_GROUP)], rows - _ROW_GROUP
    if rows:
        yield pa.concat_tables(waiting)


def _read_footer(storage: Storage, path: str) -> Part:
    metadata = open_part(storage, path).metadata
    facts = metadata.metadata or {}
    try:
        replaces, written = frozenset(json.loads(facts[_REPLACES])), float(facts[_WRITTEN])
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(storage, path, error) from error
    refuse_newer(storage.uri_of(path), names_in_part(metadata.schema.to_arrow_schema(), PART_SCHEMA))
    rows = tuple(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    return Part(path, rows, replaces, written)


@contextmanager
def damage_named(storage: Storage, path: str) -> Iterator[None]:
    """CosmosRayError for a part that is damaged. Parquet complains of some damage in the words of a store that is out:
    if the store then gives the file's bytes, it is the file."""
    try:
        yield
    except pa.ArrowInvalid as error:
        raise _damaged(storage, path, error) from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise
        storage.read(path)
        raise _damaged(storage, path, error) from error


def _damaged(storage: Storage, path: str, error: Exception) -> CosmosRayError:
    return CosmosRayError(
        f"{storage.uri_of(path)} holds commit records and cannot be read ({explain(error)}): bring it back from a "
        "copy, or remove it to have its clips made again"
    )
