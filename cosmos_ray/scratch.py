"""Folders for what a process is at: gone when it is done, or, where it was killed, when the next one makes its own.

Each is locked by who made it, and the kernel drops the lock when that process dies, however it dies. Names carry the
machine's boot id: a folder of several machines may have locks that hold on one of them alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

#: What is younger may be somebody's who has not locked it yet.
_YOUNG_S = 60.0
_UNKNOWN = "unknown"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder of this process's, in TMPDIR."""
    start = f"cosmos-ray-at-{_boot()}-"
    _sweep(tempfile.gettempdir(), start)
    with tempfile.TemporaryDirectory(prefix=start) as folder, _locked(folder):
        yield Path(folder)


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return _UNKNOWN


@functools.cache
def _sweep(top: str, start: str) -> None:
    """Once a process: who was killed is followed by another."""
    if start.endswith(f"{_UNKNOWN}-"):
        return
    before = time.time() - _YOUNG_S
    with contextlib.suppress(OSError), os.scandir(top) as there:
        for entry in there:
            if entry.name.startswith(start) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _remove_dead(entry.path, before)


def _remove_dead(folder: str, before: float) -> None:
    """Raises OSError where it is somebody's who lives, or another user's."""
    if os.stat(folder).st_mtime < before:
        with _locked(folder, strict=True):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: str, strict: bool = False) -> Iterator[None]:
    """strict: raises OSError where it cannot be. Else such a folder is never swept: nobody else can lock it either."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with contextlib.nullcontext() if strict else contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
