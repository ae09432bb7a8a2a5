"""One folder of an object store or of a local disk, and the few operations that the ledger rests on.

Everything is fsspec; what is written here is only what fsspec leaves open:

* create-if-absent (`write_if_absent`), the primitive under leases and commit records. On S3, GCS and Azure it is a
  condition checked at the server; on a local disk a finished temporary file is hard-linked into place, which fails if
  the name exists (POSIX `link`), also over NFS.
* paths that cannot leave the folder (`uris`: what references may name);
* retries with backoff and jitter of faults that pass, none of those that are final.

Credentials come from the environment, as each store's own library reads them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import posixpath
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from cosmos_ray.errors import UsageError
from cosmos_ray.store import traffic
from cosmos_ray.store.accounts import check_connection
from cosmos_ray.store.buckets import check_bucket
from cosmos_ray.store.content import typed
from cosmos_ray.store.download import download, second_name
from cosmos_ray.store.faults import explain_store, retrying
from cosmos_ray.store.patience import patiently, within
from cosmos_ray.store.places import check_lasts
from cosmos_ray.store.probe import answers
from cosmos_ray.store.regular import TooLargeError, read_regular
from cosmos_ray.store.uploads import Removed, abort_uploads, remove_temporary_files
from cosmos_ray.store.uris import SCHEMES, normalise_uri, scheme_of
from cosmos_ray.store.whole_file import TEMPORARY, whole_file
from cosmos_ray.words import counted

#: The package's extra that brings each scheme's library.
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
#: What a store takes in one request for sure: the condition of a create holds for single requests only (measured:
#: Ceph's gateway ignores it when a multipart upload is completed).
MAX_CREATE_BYTES = 64 * 2**20
#: Amazon's storage classes from which nothing is read before it is restored.
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
#: What `check_writable` writes and removes at once; left only by a process that was killed in between.
PROBES = "_cosmos_ray/probes"
#: What the first objects of a job take, lease and settings, and some more.
_PROBE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Stat:
    """size in bytes; version: what changes when the content does (ETag, or mtime where there is none).

    is_archived: kept where it has to be restored before it can be read; it stays so afterwards.
    """

    size: int
    version: str
    is_archived: bool = False


def filesystem_of(uri: str) -> tuple[Any, str]:
    """(fsspec filesystem, path in it). Listings are never cached: other processes write here too."""
    scheme = scheme_of(uri)
    if scheme not in SCHEMES:
        raise UsageError(f"{uri!r}: scheme {scheme!r} is not one of {', '.join(sorted(SCHEMES))}")
    # gcsfs would ask for each bucket's layout first, with a permission that a reader of objects need not have.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    # It logs with a traceback whatever it raises.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    options = {} if scheme == "file" else {"use_listings_cache": False}
    try:
        check_connection(uri)
        return fsspec.core.url_to_fs(normalise_uri(uri), **options)
    except ImportError as error:
        extra = EXTRAS.get(scheme, "")
        mend = f": pip install '.[{extra}]' brings it" if extra else ""
        raise UsageError(f"{uri!r} needs another package: {error}{mend}") from error
    except ValueError as error:  # adlfs, if the environment has no account, or a malformed one
        raise UsageError(f"{uri!r} cannot be reached: {explain_store(error)}") from error


def fetch_to_file(uri: str, target: Path, max_bytes: int | None = None) -> Stat:
    """Download `uri` into a local file; the store's own size and version of it. A file of this machine gets a second
    name (a symbolic link), whatever its size.

    Raises TooLargeError for one of more than `max_bytes`, unread; TimeIsUp where `limits` says so, and then nothing
    goes on.
    """
    fs, path = filesystem_of(uri)

    def get() -> Stat:
        try:
            info = fs.info(path, **within(fs))
            if info.get("type") == "directory":
                raise IsADirectoryError(errno.EISDIR, "is a folder", uri)
            found = _stat(info)
            if max_bytes is not None and found.size > max_bytes:
                raise TooLargeError(found.size, max_bytes)
            if scheme_of(uri) == "file":
                second_name(path, target)
            else:
                download(fs, path, target, f"fetching {uri}", found.size)
        except FileNotFoundError:
            check_bucket(fs, path, uri)
            raise
        return found

    stat = retrying(get, f"fetching {uri}")
    traffic.count(read=stat.size)
    return stat


def read_bytes(uri: str, start: int | None = None, stop: int | None = None, max_bytes: int | None = None) -> bytes:
    """The object at `uri`; its bytes from number `start` on, up to before `stop`, where those are given.

    Raises TooLargeError, unread, for more than `max_bytes`; OSError for a local path that is no regular file: a pipe or
    a device would have no end.
    """

    def read(fs: Any, path: str) -> bytes:
        if scheme_of(uri) == "file" and start is None:
            return read_regular(path, max_bytes)
        if max_bytes is not None and (size := int(fs.info(path, **within(fs)).get("size") or 0)) > max_bytes:
            raise TooLargeError(size, max_bytes)
        return bytes(patiently(fs, path, partial(fs.cat_file, path, start=start, end=stop)))

    data: bytes = _asked(uri, read, "reading")
    traffic.count(read=len(data))
    return data


def stat_of(uri: str) -> Stat:
    """Raises FileNotFoundError if there is nothing, IsADirectoryError if it is a folder."""
    info = _asked(uri, lambda fs, path: fs.info(path, **within(fs)), "looking at")
    if info.get("type") == "directory":
        raise IsADirectoryError(errno.EISDIR, "is a folder", uri)
    return _stat(info)


def beside(uri: str, most: int) -> list[str]:
    """URIs of some other objects in the same folder, of a store that can be asked for a few; each may be forbidden too.

    Raises OSError.
    """
    if scheme_of(uri) not in ("s3", "s3a"):
        return []
    fs, path = filesystem_of(uri)
    bucket, _, key = path.partition("/")
    folder = key[: key.rfind("/") + 1]
    page = retrying(
        lambda: fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=folder, MaxKeys=most), f"listing beside {uri}"
    )
    keys = [found["Key"] for found in page.get("Contents", ())]
    return [f"{scheme_of(uri)}://{bucket}/{found}" for found in keys if found != key]


def _asked(uri: str, ask: Callable[[Any, str], Any], doing: str) -> Any:
    fs, path = filesystem_of(uri)

    def once() -> Any:
        try:
            return ask(fs, path)
        except FileNotFoundError:
            check_bucket(fs, path, uri)
            raise

    return retrying(once, f"{doing} {uri}")


def _stat(info: dict[str, Any]) -> Stat:
    version = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or ""
    if info.get("islink"):  # of a local file: the time is the link's, whatever is written to what it names
        version = os.stat(info["name"]).st_mtime
    tier = info.get("StorageClass")
    return Stat(int(info["size"] or 0), str(version).strip('"'), tier in _ARCHIVES)


class Storage:
    """Reads and writes below one URI. Paths are relative, with `/`, and cannot leave it. Picklable."""

    def __init__(self, uri: str) -> None:
        self.uri = normalise_uri(uri)
        self.local = scheme_of(self.uri) == "file"
        self._fs: Any = None
        self._root = ""

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return Storage, (self.uri,)

    def _at(self, path: str) -> tuple[Any, str]:
        parts = path.split("/")
        if not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"not a relative path inside {self.uri}: {path!r}")
        if self._fs is None:
            self._fs, self._root = filesystem_of(self.uri)
        return self._fs, f"{self._root}/{path}"

    def uri_of(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        fs, full = self._at(path)
        data = bytes(retrying(lambda: patiently(fs, full, partial(fs.cat_file, full)), f"reading {path}"))
        traffic.count(read=len(data))
        return data

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Many small objects at once; the ones deleted meanwhile are left out."""
        wanted = list(paths)
        if not wanted:
            return {}
        if self.local:
            return {path: data for path in wanted if (data := self._read_if_there(path)) is not None}
        fs, _ = self._at(wanted[0])
        by_full = {self._at(path)[1]: path for path in wanted}
        ask = partial(fs.cat, list(by_full), on_error="return")
        found = retrying(lambda: patiently(fs, next(iter(by_full)), ask), f"reading {counted(len(by_full), 'object')}")
        result: dict[str, bytes] = {}
        for full, data in found.items():
            path = by_full[full]
            if isinstance(data, FileNotFoundError):
                continue
            if not isinstance(data, Exception):
                result[path] = bytes(data)
                traffic.count(read=len(data))
            elif (content := self._read_if_there(path)) is not None:
                result[path] = content
        return result

    def _read_if_there(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        """Write or replace; readers see the old content or the new, never a part."""
        fs, full = self._at(path)
        if self.local:
            retrying(lambda: self._write_local(full, data, os.replace), f"writing {path}")
        else:
            kind = typed(scheme_of(self.uri), path)
            retrying(lambda: fs.pipe_file(full, data, **kind, **within(fs, len(data))), f"writing {path}")
        traffic.count(written=len(data))

    def write_file(self, path: str, source: Path) -> None:
        """As `write`, of a local file too large for memory."""
        fs, full = self._at(path)
        if self.local:
            with open(source, "rb") as whole, whole_file(full, os.replace) as file:
                shutil.copyfileobj(whole, file)
        else:
            kind = typed(scheme_of(self.uri), path)
            limit = within(fs, source.stat().st_size)
            retrying(lambda: fs.put_file(str(source), full, **kind, **limit), f"writing {path}")
        traffic.count(written=source.stat().st_size)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        """Create `path` with `data`; False if somebody else had created it. Exactly one of many callers gets True.

        A conditional write whose answer was lost is sent again by the store's client and then meets itself: content
        equal to ours counts as ours, so callers put something unique to them into `data`.

        Raises ValueError for more than MAX_CREATE_BYTES.
        """
        fs, full = self._at(path)
        if len(data) > MAX_CREATE_BYTES:
            raise ValueError(f"{path}: found {len(data)} bytes to create, expected at most {MAX_CREATE_BYTES}")

        def create() -> bool:
            if self.local:
                try:
                    self._write_local(full, data, os.link)
                except FileExistsError:
                    return False
                return True
            try:
                fs.pipe_file(full, data, mode="create", **within(fs, len(data)))
            except FileExistsError:
                return False
            except OSError as error:
                # Ceph's gateway (2021) answers a failed condition with something that s3fs shows as EINVAL.
                if error.errno == errno.EINVAL and self.exists(path):
                    return False
                raise
            return True

        created = retrying(create, f"creating {path}")
        if created:
            traffic.count(written=len(data))
        return created or self._read_if_there(path) == data

    @staticmethod
    def _write_local(full: str, data: bytes, put_in_place: Callable[[str, str], None]) -> None:
        with whole_file(full, put_in_place) as file:
            file.write(data)

    def exists(self, path: str) -> bool:
        return self.stat(path) is not None

    def answers(self, timeout_s: float) -> bool:
        """See `probe.answers`."""
        return answers(*self._at(PROBES), timeout_s)

    def stat(self, path: str) -> Stat | None:
        """None if there is no such object."""
        fs, full = self._at(path)
        try:
            info = retrying(lambda: fs.info(full, **within(fs)), f"looking at {path}")
            return None if info.get("type") == "directory" else _stat(info)
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> Iterator[str]:
        """Relative paths of all objects below the folder `prefix`; one listing, never on a clip's path."""
        fs, full = self._at(prefix)
        for found in retrying(lambda: patiently(fs, full, partial(fs.find, full)), f"listing {prefix}"):
            if not posixpath.basename(found).startswith(TEMPORARY):
                yield found[len(self._root) :].lstrip("/")

    def list_files(self, folder: str = "") -> Sequence[str]:
        """Relative paths of the objects directly in `folder`, or in this one, not of those below."""
        fs, full = self._at(f"{folder}/any" if folder else "any")
        full = posixpath.dirname(full)
        try:
            found = retrying(lambda: patiently(fs, full, partial(fs.ls, full, detail=True)), f"listing {folder}")
        except FileNotFoundError:
            return []
        names = [posixpath.basename(one["name"]) for one in found if one["type"] == "file"]
        return [posixpath.join(folder, name) for name in names if name and not name.startswith(TEMPORARY)]

    def delete(self, path: str) -> None:
        """No error if it is gone already."""
        fs, full = self._at(path)
        with contextlib.suppress(FileNotFoundError):
            retrying(lambda: fs.rm_file(full, **within(fs)), f"deleting {path}")

    def delete_folder(self, folder: str) -> None:
        """With all that is below it. No error if it is gone already."""
        fs, full = self._at(folder)
        with contextlib.suppress(FileNotFoundError):
            retrying(lambda: fs.rm(full, recursive=True), f"deleting {folder}")

    def remove_unfinished(self, older_than_s: float | None = None) -> Removed:
        """What writers that were killed have left half done: temporary files, and on S3 the parts of uploads.

        Azure and Google drop the parts of unfinished uploads themselves, after a week. Only for the folder's owner, or
        of what was begun so long ago that nobody is at it.
        """
        before = math.inf if older_than_s is None else time.time() - older_than_s
        if self.local:
            return remove_temporary_files(self.uri, TEMPORARY, before)
        return abort_uploads(*self._at("any"), before) if scheme_of(self.uri) in ("s3", "s3a") else Removed(0, 0)

    def check_writable(self) -> None:
        """Raises UsageError (with the store's own words) if this folder cannot be written, or will not last."""
        check_lasts(self.uri, "the output")
        probe = f"{PROBES}/{uuid.uuid4().hex}"
        try:
            self.write(probe, bytes(_PROBE_BYTES))  # an empty file finds room on a full disk
            self.delete(probe)
        except (OSError, ImportError) as error:
            raise UsageError(f"the output {self.uri} is not writable: {explain_store(error)}") from error
