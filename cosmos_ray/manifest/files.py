"""Where a manifest's rows lie: one Parquet file, all of a folder, or all that a pattern names; on disk or in a store.

Files are taken in the order of their names. They may have been written by different tools: `schema` makes one schema
of theirs, to which the names of their folders add (`partitions`). They are listed once a job: one that is added later
belongs to the next run. Relative references start from the folder of their row's file.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import itertools
import posixpath
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from cosmos_ray.clip.container import HEAD, PARQUET, UNKNOWN, kind_of
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.columns import COLUMNS, check_schema
from cosmos_ray.manifest.other_tables import ROWS, check_no_lake, way_out_of, way_out_of_folder
from cosmos_ray.manifest.pages import MAX_ROWS
from cosmos_ray.manifest.parquet import batches_of, footer_of, schema_of
from cosmos_ray.manifest.partitions import Partitions, partitions_of
from cosmos_ray.manifest.schema import FileSchema, conform, unify
from cosmos_ray.store.faults import explain, explain_store, retrying
from cosmos_ray.store.patience import patiently, within
from cosmos_ray.store.places import place_of
from cosmos_ray.store.storage import Stat, filesystem_of, stat_of
from cosmos_ray.store.uris import normalise_uri, parent_uri, scheme_of

_SUFFIX = ".parquet"
PARQUET_SUFFIXES = (_SUFFIX, ".parq", ".pq")
_TEXT_WAY_OUT = "under its own suffix (.csv, .tsv, .jsonl) `cosmos-ray manifest from-table` makes a manifest of a table"
_OPENERS = 8
_CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class ManifestFile:
    """name: for messages, relative to the manifest; "" where the manifest is this one file. rows: of each row group.

    partitions: columns that the names of its folders give to all of its rows. stat: as it was when it was opened.
    """

    uri: str
    name: str
    rows: tuple[int, ...]
    partitions: Partitions = ()
    stat: Stat | None = None

    @property
    def base(self) -> str:
        """URI of the folder that relative references start from."""
        return parent_uri(self.uri)

    def where(self, row: int) -> str:
        """The place of a row, for a message."""
        return f"{self.name}: row {row}" if self.name else f"row {row}"

    def check_unchanged(self) -> None:
        """Raises ManifestError once it was written since it was opened: its rows are others than those that were
        checked, planned and kept."""
        try:
            is_same = self.stat is None or stat_of(self.uri) == self.stat
        except FileNotFoundError:
            raise ManifestError(f"there is no manifest at {self.uri}") from None
        except OSError as error:
            raise unreadable(self.uri, error) from error
        if not is_same:
            raise ManifestError(
                f"the manifest {self.uri} was written while it was read, so its rows are not those that were checked: "
                "the same command again takes it as it is now"
            )


@dataclass(frozen=True)
class Manifest:
    """uri: as it was asked for. schema: of all files together. unread: names of files in its folder that are no
    Parquet, and may have been meant."""

    uri: str
    files: tuple[ManifestFile, ...]
    schema: pa.Schema
    unread: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(sum(file.rows) for file in self.files)

    @property
    def home(self) -> str:
        """URI of the folder that all files lie in: where the pattern or the folder begins that was asked for."""
        bases = [file.base.split("/") for file in self.files]
        first, last = min(bases, default=[]), max(bases, default=[])
        common = [
            part for part, other in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
        ]
        return "/".join(common) or "/"

    def batches(self, batch_rows: int = MAX_ROWS) -> Iterator[tuple[ManifestFile, pa.RecordBatch]]:
        """All rows in their order, a batch in memory at a time, each with the file that it is of. Raises
        ManifestError."""
        for file in self.files:
            for number in range(len(file.rows)):
                for batch in row_group_batches(file, number, self.schema, batch_rows):
                    yield file, batch

    @property
    def carried(self) -> tuple[str, ...]:
        """Columns that decide no video: they go into the index as they are."""
        return tuple(name for name in self.schema.names if name not in COLUMNS)

    def check_not_read(self, out: str) -> None:
        """Raises ManifestError for a place of this manifest, where the next reader would find more rows than it has."""
        place, asked = place_of(out), place_of(self.uri)
        is_read = place in {place_of(file.uri) for file in self.files}
        if self.files[0].name and place.lower().endswith(PARQUET_SUFFIXES):
            is_in_pattern = fnmatch.fnmatchcase(place, asked) and place.count("/") == asked.count("/")
            is_read |= is_in_pattern or place.startswith(f"{asked}/")
        if is_read:
            raise ManifestError(f"--out: found {out}, which is read, expected another place")

    def sha256(self) -> str:
        """Of the file's bytes; of all files' names and hashes where there are several."""
        if len(self.files) == 1 and not self.files[0].name:
            return _sha256(self.files[0])
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.name}\0{_sha256(file)}\n".encode())
        return digest.hexdigest()


def version_of(uri: str) -> str:
    """What changes when a file of the manifest is written, added or removed; one request a file, and nothing is read.

    "" where that cannot be told: `open_manifest` says why.
    """
    try:
        found, _ = _find(uri)
        with ThreadPoolExecutor(_OPENERS) as pool:
            stats = list(pool.map(lambda one: stat_of(one[0]), found))
    except (OSError, ManifestError):
        return ""
    digest = hashlib.sha256()
    for (_, name, _), stat in zip(found, stats, strict=True):
        digest.update(f"{name}\0{stat.size}\0{stat.version}\n".encode())
    return digest.hexdigest()


def open_manifest(uri: str) -> Manifest:
    """Raises ManifestError if there is none, or if a file of it is no Parquet file or has other columns."""
    found, unread = _find(uri)
    with ThreadPoolExecutor(_OPENERS) as pool:
        opened = list(pool.map(lambda one: _open(*one), found))
    files = tuple(file for file, _ in opened)
    schema = unify([FileSchema(file.name or file.uri, schema, file.partitions) for file, schema in opened])
    if not any(rows for file in files for rows in file.rows):
        raise ManifestError(f"the manifest {uri} is empty")
    return Manifest(uri, files, schema, unread)


def _find(uri: str) -> tuple[list[tuple[str, str, Partitions]], tuple[str, ...]]:
    """(URI, name, partitions) of each file; names of others that may hold rows."""
    fs, path = filesystem_of(uri)
    try:
        there = _type(fs, path, uri)
        if there == "directory":
            found, top, kind = _listed(fs, path, fs.find, uri), path, "folder"
        elif there is None and any(sign in path for sign in "*?["):
            found, top, kind = _listed(fs, path, fs.glob, uri), _before_pattern(path), "pattern"
        else:
            return [(normalise_uri(uri), "", partitions_of(path, posixpath.dirname(path)))], ()
        names = [file[len(top) :].lstrip("/") for file in found] if kind == "folder" else []
        retrying(lambda: check_no_lake(fs, top, names), f"listing {uri}")
    except OSError as error:
        raise unreadable(uri, error) from error
    prefix = "" if scheme_of(uri) == "file" else f"{scheme_of(uri)}://"
    files, unread = [], []
    for file in sorted(found):
        name = file[len(top) :].lstrip("/")
        if any(_is_hidden(part) for part in name.split("/")):
            continue
        if file.lower().endswith(PARQUET_SUFFIXES):
            files.append((prefix + file, name, partitions_of(file, top)))
        elif file.lower().endswith(ROWS):
            unread.append(name)
    if not files:
        if kind == "folder" and (way := way_out_of_folder(uri, found)):
            raise ManifestError(f"there is no {_SUFFIX} file in the {kind} {uri}; {way}")
        others = sorted(filter(way_out_of, found))
        if others:
            raise unreadable(prefix + others[0], ValueError("no Parquet file"))
        raise ManifestError(f"there is no {_SUFFIX} file in the {kind} {uri}")
    return files, tuple(unread)


def _listed(fs: Any, path: str, ask: Callable[..., list[str]], uri: str) -> list[str]:
    return retrying(lambda: patiently(fs, path, partial(ask, path)), f"listing {uri}")


def _is_hidden(part: str) -> bool:
    """As Spark has it: what begins so is not data, a partition aside."""
    return part.startswith(".") or (part.startswith("_") and "=" not in part)


def _type(fs: Any, path: str, uri: str) -> str | None:
    """`file`, `directory`, or None. A file is asked for first, which takes no permission to list."""
    try:
        return str(retrying(lambda: fs.info(path, **within(fs)), f"looking at {uri}")["type"])
    except FileNotFoundError:
        return None


def _before_pattern(path: str) -> str:
    """The folder that everything the pattern names lies in."""
    first = min(path.index(sign) for sign in "*?[" if sign in path)
    return posixpath.dirname(path[:first])


def _open(uri: str, name: str, partitions: Partitions) -> tuple[ManifestFile, pa.Schema]:
    try:
        stat = stat_of(uri)  # first: what is written from now on is noticed
        footer = footer_of(uri)
    except FileNotFoundError:
        raise ManifestError(f"there is no manifest at {uri}") from None
    except (OSError, pa.ArrowException) as error:
        raise unreadable(uri, error) from error
    schema = schema_of(footer)
    try:
        check_schema(schema, [column for column, _ in partitions])
    except ManifestError as error:
        raise ManifestError(f"{name}: {error}" if name else str(error)) from None
    rows = tuple(footer.row_group(number).num_rows for number in range(footer.num_row_groups))
    return ManifestFile(uri, name, rows, partitions, stat), schema.remove_metadata()


def unreadable(uri: str, error: Exception) -> ManifestError:
    """What is said of a manifest, or a file of it, that is damaged or something else."""
    if way := way_out_of(uri):
        return ManifestError(f"the manifest {uri} is no Parquet file; {way}")
    if isinstance(error, OSError) and error.errno == errno.EINVAL and scheme_of(uri) == "file":
        return ManifestError(f"the manifest {uri} is a pipe, a device or a socket, expected a regular file")
    found = explain_store(error) if isinstance(error, OSError) else _kind_of(uri) or explain(error)
    return ManifestError(f"the manifest {uri} cannot be read as Parquet: {found}")


def _kind_of(uri: str) -> str:
    """What a file is that was opened and is no Parquet, with the way out; "" where nobody knows."""
    fs, path = filesystem_of(uri)
    try:
        with fs.open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:
        return ""
    kind, way = kind_of(head)
    if kind == UNKNOWN and _is_text(head):
        return f"it is text; {_TEXT_WAY_OUT}"
    return "" if kind in (UNKNOWN, PARQUET) else f"it is {kind}" + (f" ({way})" if way else "")


def _is_text(head: bytes) -> bool:
    """The last letter may be cut."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4
    return b"\0" not in head


def row_group_batches(
    file: ManifestFile, number: int, schema: pa.Schema, batch_rows: int = MAX_ROWS
) -> Iterator[pa.RecordBatch]:
    """One row group, a batch in memory at a time, in the manifest's schema. Raises ManifestError."""
    first_row = sum(file.rows[:number])
    for batch in _batches(file, number, batch_rows):
        try:
            found = conform(batch, schema, file.partitions)
        except pa.ArrowException as error:
            raise ManifestError(f"{file.where(first_row)} and the rows after it cannot be read: {error}") from error
        if found.differs is not None:
            row, what = found.differs
            raise ManifestError(f"{file.where(first_row + row)}: {what}")
        yield found.batch
        first_row += batch.num_rows


def _batches(file: ManifestFile, number: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
    try:
        for batch in batches_of(file.uri, number, batch_rows):
            file.check_unchanged()
            yield batch
    except FileNotFoundError:
        raise ManifestError(f"there is no manifest at {file.uri}") from None
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:  # damaged pages, text that is not UTF-8
        if isinstance(error, ManifestError):
            raise
        file.check_unchanged()  # row groups that are no more, pages of one file by the footer of another
        raise unreadable(file.uri, error) from error


def _sha256(of: ManifestFile) -> str:
    fs, path = filesystem_of(of.uri)
    digest = hashlib.sha256()
    with fs.open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    of.check_unchanged()
    return digest.hexdigest()
