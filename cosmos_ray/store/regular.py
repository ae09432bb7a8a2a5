"""Reading small local files that strangers may have put there: regular ones, and no more of them than is looked for."""

from __future__ import annotations

import errno
import os
import stat


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
