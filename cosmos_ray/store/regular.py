"""Reading small local files that strangers may have put there: regular ones, and no more of them than is looked for."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

#: Largest file of settings beside weights, and largest one of words: tokenizers have some tens of megabytes.
_SETTINGS, _WORDS = 2**20, 2**26
_SMALL_FILES = (".json", ".jinja", ".txt", ".model")


class TooLargeError(OSError):
    """A file of more bytes than it may have; it was not read."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(errno.EFBIG, f"a file of {size} bytes, expected at most {most}")
        self.size, self.most = size, most

    def __reduce__(self) -> tuple[type[TooLargeError], tuple[int, int]]:
        return TooLargeError, (self.size, self.most)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raises OSError for a pipe, a device or a socket, which must not be opened: nobody may ever answer."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))


def read_regular(path: str | os.PathLike[str], max_bytes: int | None = None) -> bytes:
    """All of a regular file. Raises TooLargeError, unread, for more than `max_bytes`; OSError for a pipe, a device or a
    socket, which might have no end. What the system makes up (/proc) says that it has no bytes, and none are read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        if max_bytes is not None and found.st_size > max_bytes:
            raise TooLargeError(found.st_size, max_bytes)
        return file.read(found.st_size)


def read_object(path: Path, max_bytes: int = _SETTINGS) -> dict[str, Any]:
    """The object in a JSON file. Raises OSError as `read_regular` does, ValueError for what holds none."""
    try:
        found = json.loads(read_regular(path, max_bytes))
    except RecursionError:
        raise ValueError("JSON that nests too deep to be read") from None
    if not isinstance(found, dict):
        raise ValueError(f"found {type(found).__name__}, expected an object")
    return found


def check_folder(folder: Path) -> None:
    """Raises OSError for a folder in which a library might read without end: a pipe or a device, or too much text."""
    for path in folder.iterdir():
        check_regular(path)
        if path.suffix in _SMALL_FILES and (size := path.stat().st_size) > _WORDS:
            raise TooLargeError(size, _WORDS)
