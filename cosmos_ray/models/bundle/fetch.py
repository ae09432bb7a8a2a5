"""A bundle's files from object storage into the node's cache, resuming what was cut off. No torch, no Ray.

Bytes are appended to `NAME.part` in order, so its length is how far a download came, whoever made it. Only what has
the expected size and sha256 gets the final name.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.cache import content_sha256, node_lock, put_in_place
from cosmos_ray.store.accounts import foreign_account
from cosmos_ray.store.faults import retrying
from cosmos_ray.store.patience import patiently, within
from cosmos_ray.store.regular import TooLargeError, read_regular
from cosmos_ray.store.storage import filesystem_of
from cosmos_ray.store.uris import scheme_of

logger = logging.getLogger(__name__)

#: One request, and how many are under way at once: enough for some hundred MB/s from an object store.
CHUNK_BYTES = 8 * 2**20
CHUNKS_AT_ONCE = 8
_OTHERS = frozenset({"file", "local", "http", "https", "hf", "memory"})
_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})


def open_store(uri: str) -> tuple[Any, str]:
    """(fsspec filesystem, path in it). UsageError for chained URIs, plain http(s), stores without their package, hosts
    and accounts that are not of this process's environment, and URIs with user or password in them."""
    if "::" in uri:
        raise UsageError(f"chained URIs are not supported: {uri!r}")
    scheme = scheme_of(uri)
    if scheme in ("http", "https"):
        if os.environ.get("COSMOS_RAY_ALLOW_HTTP") != "1":
            raise UsageError(f"{uri}: models are not fetched over {scheme}; COSMOS_RAY_ALLOW_HTTP=1 allows it")
        if "@" in uri.partition("://")[2].partition("/")[0] or "?" in uri:
            raise UsageError(f"{uri}: a URI with user, password or a signature in it is not taken")
    if scheme in _STORES:
        if (account := foreign_account(uri)) is not None:
            raise UsageError(
                f"{uri}: its account {account} is not the environment's (AZURE_STORAGE_ACCOUNT_NAME or "
                "AZURE_STORAGE_CONNECTION_STRING), and credentials are sent to no other"
            )
        return filesystem_of(uri)
    if scheme not in _OTHERS and scheme in fsspec.available_protocols():
        raise UsageError(f"{uri}: models are read from disks and object stores, not over {scheme}")
    try:
        return fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{uri}: no way to read it ({error})") from error


def read_small(uri: str, max_bytes: int) -> bytes:
    """All of a small file; OSError, unread, for a larger one, and for what is no regular file."""
    filesystem, path = open_store(uri)

    def read() -> bytes:
        if "file" in filesystem.protocol:
            return read_regular(path, max_bytes)
        if (size := int(filesystem.info(path, **within(filesystem)).get("size") or 0)) > max_bytes:
            raise TooLargeError(size, max_bytes)
        return bytes(filesystem.cat_file(path, start=0, end=max_bytes, **within(filesystem, size)))

    return retrying(read, f"reading {uri}")


def size_of(uri: str) -> int:
    """Bytes of a file, or of all files of a folder. FileNotFoundError; other OSErrors if the store does not answer."""
    filesystem, path = open_store(uri)

    def ask() -> int:
        info = filesystem.info(path, **within(filesystem))
        if info.get("type") == "directory":
            return sum(entry["size"] or 0 for entry in filesystem.find(path, detail=True).values())
        return int(info["size"] or 0)

    return retrying(ask, f"asking for {uri}")


def fetch(uri: str, target: Path, sha256: str) -> None:
    """Bring a file or folder to `target`, which then has this sha256; once a node, others wait.

    A download that ends with another sha256 is thrown away and made once more. UsageError if that is no better, or if
    there is nothing at `uri`.
    """
    if _is_there(target, sha256):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with node_lock(str(target), f"fetching {uri}"):
        if _is_there(target, sha256):
            return
        if target.exists():
            logger.warning("%s: no longer what was fetched; fetching it again", target)
            _discard(target)
        filesystem, path = open_store(uri)
        try:
            is_folder = _asked(filesystem, path, uri).get("type") == "directory"
            get = _folder if is_folder else _file
            found = get(filesystem, path, target, sha256)
            if found != sha256:
                logger.warning("%s: fetched bytes have sha256 %s, expected %s; once more", uri, found, sha256)
                found = get(filesystem, path, target, sha256)
        except FileNotFoundError as error:
            raise UsageError(f"{uri} not found") from error
        if found != sha256:
            raise UsageError(f"{uri}: found sha256 {found}, expected {sha256} (fetched twice)")


def _asked(filesystem: Any, path: str, what: str) -> dict[str, Any]:
    found: dict[str, Any] = retrying(lambda: filesystem.info(path, **within(filesystem)), f"asking for {what}")
    return found


def _listed(filesystem: Any, path: str, what: str) -> dict[str, Any]:
    """Files below a folder, as fsspec describes them."""
    ask = partial(filesystem.find, path, detail=True)
    found: dict[str, Any] = retrying(lambda: patiently(filesystem, path, ask), f"listing {what}")
    return found


def _is_there(target: Path, sha256: str) -> bool:
    try:
        return content_sha256(target) == sha256
    except FileNotFoundError:  # also: another process has just found it spoilt and removed it
        return False


def _discard(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _file(filesystem: Any, source: str, target: Path, sha256: str) -> str:
    """sha256 of what was fetched; in place only if it is the right one."""
    part = target.with_name(target.name + ".part")
    _append(
        filesystem,
        source,
        part,
        retrying(lambda: filesystem.size(source, **within(filesystem)), f"asking for {source}"),
    )
    return _settle(part, target, sha256)


def _folder(filesystem: Any, source: str, target: Path, sha256: str) -> str:
    partial = target.with_name(target.name + ".partial")
    listing = _listed(filesystem, source, source)
    _copy(filesystem, source, listing, partial)
    return _settle(partial, target, sha256)


def _copy(filesystem: Any, source: str, listing: dict[str, Any], target: Path) -> None:
    root = PurePosixPath(filesystem._strip_protocol(source))
    for full, info in sorted(listing.items()):
        name = PurePosixPath(full).relative_to(root)
        if ".." in name.parts:
            raise UsageError(f"{source}: a file's name leaves the folder: {full!r}")
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.stat().st_size != info["size"]:
            part = file.with_name(file.name + ".part")
            _append(filesystem, full, part, info["size"])
            put_in_place(part, file)


def listed(uri: str, parts: Collection[str]) -> dict[str, Any]:
    """The files of a folder's parts (files or folders of it; all of it if none are named), as fsspec describes them."""
    filesystem, path = open_store(uri)
    root = PurePosixPath(filesystem._strip_protocol(path))
    found: dict[str, Any] = _listed(filesystem, path, uri)

    def is_wanted(full: str) -> bool:
        name = PurePosixPath(full).relative_to(root)
        return not parts or any(name == PurePosixPath(part) or PurePosixPath(part) in name.parents for part in parts)

    return {full: info for full, info in found.items() if is_wanted(full)}


def fetch_parts(uri: str, parts: Collection[str], target: Path) -> None:
    """Bring these parts of a folder to `target`, once a node. What is there with the right size is not read again: the
    target's name has to change with the files."""
    filesystem, path = open_store(uri)
    with node_lock(str(target), f"fetching {uri}"):
        _copy(filesystem, path, listed(uri, parts), target)


def _settle(made: Path, target: Path, sha256: str) -> str:
    found = content_sha256(made)
    if found != sha256:
        _discard(made)
    elif made.is_dir():
        os.replace(made, target)
    else:
        put_in_place(made, target)
    return found


def _append(filesystem: Any, source: str, part: Path, size: int | None) -> None:
    """Complete `part` from wherever it stands. UsageError if the disk is too small or the store does not say a size."""
    if size is None:
        raise UsageError(f"{source}: the server does not say how large it is")
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    free = shutil.disk_usage(part.parent).free
    if size - have > free:
        raise UsageError(
            f"{part.parent}: {size - have} bytes to fetch and {free} free (COSMOS_RAY_CACHE moves the cache)"
        )
    if have:
        logger.info("going on with %s at byte %d of %d", source, have, size)
    with part.open("ab") as file:
        for data in _from(filesystem, source, have, size):
            file.write(data)


def _from(filesystem: Any, source: str, have: int, size: int) -> Iterator[bytes]:
    """The file's bytes from there on, in order; a few parts are asked for at once."""
    step = CHUNK_BYTES * CHUNKS_AT_ONCE
    for first in range(have, size, step):
        stop = min(size, first + step)
        starts = list(range(first, stop, CHUNK_BYTES))
        ends = [min(start + CHUNK_BYTES, stop) for start in starts]
        for start, end, data in zip(starts, ends, _ranges(filesystem, source, starts, ends), strict=True):
            if len(data) != end - start:
                raise UsageError(f"{source}: asked for bytes {start} to {end}, found {len(data)} bytes")
            yield data


def _ranges(filesystem: Any, source: str, starts: list[int], ends: list[int]) -> list[bytes]:
    paths, limit = [source] * len(starts), within(filesystem, ends[-1] - starts[0])
    return retrying(
        lambda: filesystem.cat_ranges(paths, starts, ends, on_error="raise", **limit),
        f"reading {source} at {starts[0]}",
    )
