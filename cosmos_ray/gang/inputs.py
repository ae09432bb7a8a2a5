"""Fetching what a clip is made from, all of it at once, and whose fault it is if that fails.

A store that does not answer is no row's fault: the clip is tried again later. An object that can never be read is: a
row that names one must end as a failed row, not as a job that never ends. Most answers tell (no such file, a folder, a
name too long, an archived object). "Forbidden" and "bad request" do not: they are the object's own fault only if the
same store gives another one at the same moment, one that this process has read before, or the job's manifest. Nor does
a bucket that is missing: it is the row's fault if the same service gives an object of another one, or if the job needs
nothing else of that service: then the rest is made, whatever is the matter with it.
"""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cosmos_ray.clip.parts import PartFile
from cosmos_ray.errors import RowError, UsageError, column_error
from cosmos_ray.foreign import shown_uri
from cosmos_ray.gang.shared_output import home_is_missing, is_missing
from cosmos_ray.limits import in_this_limit, time_left
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.store import probe, storage
from cosmos_ray.store.faults import BucketMissingError, explain
from cosmos_ray.store.places import place_of, service_of
from cosmos_ray.store.reach import ANYWHERE, PlaceError, Reach
from cosmos_ray.store.regular import TooLargeError
from cosmos_ray.store.storage import Stat, beside, fetch_to_file, read_bytes, stat_of
from cosmos_ray.store.uris import normalise_uri, scheme_of

T = TypeVar("T")

#: Most inputs of a clip that are fetched at a time.
_AT_ONCE = 16
#: Longest name of an object, bytes of UTF-8: Amazon's and Google's; Azure counts characters.
_LONGEST_KEY = 1024
#: Objects in the same folder that are tried where one is forbidden.
_BESIDE = 10
#: Other buckets that are tried where one is missing.
_BUCKETS = 3
#: Videos of so many bytes and more are read in parts.
LARGE = 4 * 2**20
#: Largest input, bytes. Files of a store come to the node's disk.
MAX_BYTES = 32 * 2**30
#: What a store says of an object that lies in an archive: Amazon's and Azure's names.
_ARCHIVED = re.compile(r"InvalidObjectState|BlobArchived|not valid for the object's storage class", re.IGNORECASE)
_OWN = {
    errno.ENOENT: "a file that exists",
    errno.EISDIR: "a file, not a folder",
    errno.ENOTDIR: "a file that exists: a part of its path is a file, not a folder",
    errno.ENAMETOOLONG: "a name that its store allows: it is too long",
    errno.ELOOP: "a file that exists: its symbolic links lead in a circle",
}
_UNCLEAR = frozenset({errno.EINVAL, errno.EACCES, errno.EPERM})


@dataclass(frozen=True)
class Source:
    """Whose inputs these are. witness: URI of something else that can be read, the manifest. reach: where they may
    lie. rare: services (`places.service_of`) that fewer than half of the job's rows name something of."""

    witness: str = ""
    reach: Reach = ANYWHERE
    rare: tuple[str, ...] = ()


NO_SOURCE = Source()

#: An object of each store that this process has read or looked at, newest.
_read_before: dict[str, str] = {}


def fetch_inputs(
    column: str, uris: Sequence[str], folder: Path, source: Source = NO_SOURCE, max_bytes: int = MAX_BYTES
) -> list[tuple[Path, Stat]]:
    """Download the URIs into `folder`; (local file, the store's size and version) of each.

    column: of the row, for messages. max_bytes: of each; more is refused unread.
    Raises RowError for an object that can never be read, OSError for a store that does not answer.
    """

    def fetch(place: str, path: Path) -> tuple[Path, Stat]:
        return _fetch(place, path, max_bytes)

    return _fetched(column, uris, folder, source, fetch)


def fetch_videos(
    column: str, uris: Sequence[str], folder: Path, source: Source = NO_SOURCE
) -> list[tuple[Path | PartFile, Stat]]:
    """As `fetch_inputs`, but of large files only the index and the beginning; what else is needed is fetched later.

    Then it may be another file: `check_unchanged`.
    """
    return _fetched(column, uris, folder, source, _fetch_parts)


def check_unchanged(uris: Sequence[str], found: Sequence[tuple[object, Stat]]) -> None:
    """After files were read in parts. Raises OSError if one was replaced; another attempt sees the new one."""
    for uri, (source, before) in zip(uris, found, strict=True):
        if isinstance(source, PartFile) and stat_of(uri) != before:
            raise OSError(f"{shown_uri(uri)} was replaced while it was read")


def _fetched(
    column: str, uris: Sequence[str], folder: Path, source: Source, fetch: Callable[[str, Path], tuple[T, Stat]]
) -> list[tuple[T, Stat]]:
    named = list(enumerate(uris))

    def fetch_one(one: tuple[int, str]) -> tuple[T, Stat] | OSError | RowError:
        number, uri = one
        try:
            return _try(lambda: fetch(_check(column, uri, source.reach), folder / f"{number}.input"))
        except TooLargeError as error:
            return _too_large(column, uri, error.size, error.most)

    with ThreadPoolExecutor(max(1, min(len(named), _AT_ONCE))) as pool:
        fetched = list(pool.map(in_this_limit(fetch_one), named))
    for (_, uri), result in zip(named, fetched, strict=True):
        if isinstance(result, OSError) and (expected := own_fault(result, uri, source.witness, source.rare)):
            raise column_error(column, uri, expected) from None
    for result in fetched:
        if isinstance(result, Exception):
            raise result
    return [result for result in fetched if not isinstance(result, Exception)]


def check_size(column: str, uri: str, max_bytes: int, source: Source = NO_SOURCE, perhaps: str = "") -> None:
    """Before anything is read: is it a file, and no larger than it can be? perhaps: what a larger one may be. Raises
    like `fetch_inputs`."""
    size = input_size(column, uri, source)
    if size > max_bytes:
        raise _too_large(column, uri, size, max_bytes, perhaps)


def input_size(column: str, uri: str, source: Source = NO_SOURCE) -> int:
    """Bytes of an input, asked without reading it. Raises like `fetch_inputs`."""
    size = _try(lambda: _size(column, uri, source.reach))
    if isinstance(size, OSError) and (expected := own_fault(size, uri, source.witness, source.rare)):
        raise column_error(column, uri, expected) from None
    if isinstance(size, Exception):
        raise size
    return size


def inputs_answer(clip: Clip, source: Source, timeout_s: float) -> bool:
    """Do the stores of a clip's inputs give them now, each within so many seconds? Asked for a byte of each, once.

    What lies on a disk is not asked for: it may be another machine's.
    """
    named = dict.fromkeys(uri for _, uri in clip.references)
    remote = [uri for uri in named if scheme_of(uri) != "file"][:_AT_ONCE]

    def answers(uri: str) -> bool:
        try:
            fs, path = storage.filesystem_of(source.reach.check(uri))
        except (PlaceError, UsageError):
            return True  # no store's fault
        return probe.answers(fs, path, timeout_s, reads=True)

    with ThreadPoolExecutor(max(1, len(remote))) as pool:
        return all(pool.map(answers, remote))


def _too_large(column: str, uri: str, size: int, max_bytes: int, perhaps: str = "") -> RowError:
    found = f"found a file of {size} bytes, expected at most {max_bytes}{perhaps}"
    return RowError(f"column `{column}`: {shown_uri(uri)}: {found}")


def own_fault(error: OSError, uri: str, witness: str = "", rare: Collection[str] = ()) -> str | None:
    """What was expected instead, if the object itself is to blame for `error`; None if its store may be. witness, rare:
    as in `Source`. Raises GangBrokenError if this node has not what the driver reads."""
    if isinstance(error, BucketMissingError):
        elsewhere = _elsewhere(uri, witness)
        # Where none was ever read, nobody can tell a wrong bucket from a wrong service. The job is well without either.
        is_well = any(map(_answers, elsewhere)) if elsewhere else service_of(uri) in rare
        return "an object of a bucket that exists" if is_well and _store(uri) not in _read_before else None
    kinds = {FileNotFoundError: errno.ENOENT, IsADirectoryError: errno.EISDIR, NotADirectoryError: errno.ENOTDIR}
    number = next((number for kind, number in kinds.items() if isinstance(error, kind)), error.errno)
    if number in _OWN:
        if number == errno.ENOENT and (folder := _missing_home(uri, witness)):
            raise home_is_missing(folder)
        return _OWN[number]
    said = explain(error)
    if _ARCHIVED.search(said) or (error.__cause__ is not None and _ARCHIVED.search(str(error.__cause__))):
        return "an object that can be read: it lies in an archive (restore it first)"
    others = itertools.chain(_others(uri, witness), _beside(uri))
    if is_unclear(error) and any(map(_answers, others)):
        return f"an object that can be read: its store gives others, but of this one says {said}"
    return None


def _missing_home(uri: str, witness: str) -> Path | None:
    """The manifest's local folder, if the input lies below it and nothing of it is here: then no row is to blame."""
    if not witness or scheme_of(uri) != "file" or scheme_of(witness) != "file":
        return None
    folder = Path(normalise_uri(witness)).parent
    return folder if is_missing(folder) and Path(normalise_uri(uri)).is_relative_to(folder) else None


def is_unclear(error: OSError) -> bool:
    """Whether other objects have to tell whose fault it is."""
    return isinstance(error, PermissionError | BucketMissingError) or error.errno in _UNCLEAR


def _fetch(place: str, path: Path, max_bytes: int = MAX_BYTES) -> tuple[Path, Stat]:
    found = fetch_to_file(place, path, max_bytes)
    if not path.is_file():  # fsspec makes a folder of a folder
        raise IsADirectoryError(errno.EISDIR, "is a folder", place)
    _read_before[_store(place)] = place
    return path, found


def _fetch_parts(place: str, path: Path) -> tuple[Path | PartFile, Stat]:
    found = stat_of(place)
    if LARGE <= found.size <= MAX_BYTES:
        parts = PartFile(path, found.size, lambda start, stop: _piece(place, start, stop), lambda: _fetch(place, path))
        if parts.lay():
            _read_before[_store(place)] = place
            return parts, found
    return _fetch(place, path)


def _piece(place: str, start: int, stop: int) -> bytes:
    time_left(1, f"fetching {shown_uri(place)}")
    return read_bytes(place, start, stop)


def _size(column: str, uri: str, reach: Reach) -> int:
    place = _check(column, uri, reach)
    found = stat_of(place)
    if found.is_archived:  # which it still is after it was restored
        read_bytes(place, 0, 1)
    _read_before.setdefault(_store(place), place)
    return found.size


def _check(column: str, uri: str, reach: Reach) -> str:
    """What to open. RowError for what must not even be opened, before any client is made; OSError for what a store
    could only answer in words that say less."""
    try:
        place = reach.check(uri)
    except PlaceError as error:
        raise column_error(column, uri, str(error)) from None
    if scheme_of(uri) == "file":
        return place
    key = uri.partition("://")[2].partition("/")[2].strip("/")
    if not key:
        raise IsADirectoryError(errno.EISDIR, "is a bucket", uri)
    if len(key.encode(errors="replace")) > _LONGEST_KEY:
        raise OSError(errno.ENAMETOOLONG, "name too long", uri)
    return place


def _try(operation: Callable[[], T]) -> T | OSError | RowError:
    try:
        return operation()
    except TooLargeError:
        raise
    except (OSError, RowError) as error:
        return error


def _store(uri: str) -> str:
    """Bucket or account and container; one for all local files."""
    return "file" if scheme_of(uri) == "file" else "/".join(place_of(uri).split("/")[:3])


def _others(uri: str, witness: str) -> list[str]:
    """Other objects of the same store, of which one was read before."""
    known = [_read_before.get(_store(uri), ""), witness]
    return [other for other in known if other and other != uri and _store(other) == _store(uri)]


def _elsewhere(uri: str, witness: str) -> list[str]:
    """Objects in other buckets of the same service, some."""
    known = [*list(_read_before.values())[-_BUCKETS:], witness]
    return [other for other in known if other and service_of(other) == service_of(uri) and _store(other) != _store(uri)]


def _beside(uri: str) -> Iterator[str]:
    """Some of the same folder; none where it cannot be listed."""
    try:
        yield from beside(uri, _BESIDE)
    except OSError:
        return


def _answers(uri: str) -> bool:
    """Whether the store gives this one now."""
    try:
        fs, path = storage.filesystem_of(uri)
        with fs.open(path, "rb", block_size=2**16) as file:
            file.read(1)
    except Exception:  # noqa: BLE001 - whatever a store's library makes of it, it is no answer
        return False
    return True
