"""The node's cache: where models' files are kept, who may fill it, and which are verified. No torch, no Ray.

All ranks and processes of a node share one folder (`COSMOS_RAY_CACHE`, default `~/.cache/cosmos_ray`). Whoever fills
it holds a file lock, which the kernel releases when its holder dies; the others wait and then find the work done.
Anything in it may be deleted while no job runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cosmos_ray.errors import UsageError

logger = logging.getLogger(__name__)


def cache_root() -> Path:
    """Of this machine: `COSMOS_RAY_CACHE`, else below the user's home."""
    return Path(os.environ.get("COSMOS_RAY_CACHE") or Path.home() / ".cache" / "cosmos_ray")


def cache_folder(name: str) -> Path:
    """A folder of the cache, made if need be. UsageError if the cache cannot be written."""
    folder = cache_root() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the cache {cache_root()} cannot be written ({type(error).__name__}): set COSMOS_RAY_CACHE to a folder "
            "of this machine that can"
        ) from error
    return folder


def short_key(text: str) -> str:
    """A file name for `text`, whatever is in it."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def node_lock(name: str, what: str) -> Iterator[None]:
    """Held by one process of this node at a time. `what` it does is logged by those that wait for it."""
    lock = FileLock(str(cache_folder("locks") / f"{short_key(name)}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for another process of this machine: %s", what)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def put_in_place(made: Path, target: Path) -> None:
    """Give a finished file its final name: whoever finds that name finds all of it, also after a power cut."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(made, target)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path, names: Iterable[str] | None = None) -> str:
    """sha256 over a line `<sha256>  <relative path>` for each file, sorted by path: what `sha256sum` would print.

    names: of the files, if not all of the folder's.
    """
    if names is None:
        names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = sorted(names)
    lines = "".join(f"{remembered_sha256(folder / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def content_sha256(path: Path) -> str:
    """sha256 of a file, or `folder_sha256` of a folder; files that were hashed before and not touched are not read."""
    return folder_sha256(path) if path.is_dir() else remembered_sha256(path)


def remembered_sha256(path: Path) -> str:
    """sha256 of a file, read once a node and then remembered as long as size, mtime, ctime and inode stay the same.

    Small files are just read. A cache that cannot be written costs the memory, not the answer.
    """
    path = path.resolve()
    if path.stat().st_size < 2**20:
        return file_sha256(path)
    try:
        note = cache_folder("verified") / f"{short_key(str(path))}.json"
        with node_lock(str(note), f"hashing {path}"):
            return _remembered(path, note)
    except (OSError, UsageError) as error:
        logger.debug("the hash of %s cannot be remembered: %s", path, error)
        return file_sha256(path)


def _remembered(path: Path, note: Path) -> str:
    state = state_of(path)
    try:
        known = json.loads(note.read_text())
        if known["state"] == list(state):
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        known = None  # no note, or one that was cut off: hash again
    found = file_sha256(path)
    if state_of(path) == state:
        scratch = note.with_suffix(".tmp")
        scratch.write_text(json.dumps({"path": str(path), "state": state, "sha256": found}))
        os.replace(scratch, note)
    return found


def state_of(path: Path) -> tuple[int, ...]:
    """What changes when a file is written to; ctime cannot be set back as mtime can. The last: which file it is."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
