"""A file of a disk that takes its place whole, and of which a writer that is killed leaves nothing.

Until it is whole and on the disk it has no name (`O_TMPFILE`), where system and disk can do that: Linux, on most disks.
Elsewhere (NFS) it has a temporary one, which stays if its writer is killed (`uploads`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import IO

#: What names of files begin with that are not whole yet.
TEMPORARY = ".tmp-"


@contextlib.contextmanager
def whole_file(path: str, put_in_place: Callable[[str, str], None]) -> Iterator[IO[bytes]]:
    """A file to write into, which then takes the place `path`. put_in_place: `os.replace`, or `os.link`, for which the
    place must be free."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        unnamed = _unnamed(folder)
        with open(temporary, "xb") if unnamed is None else unnamed as file:
            yield file
            _to_disk(file)
            if unnamed is not None:
                _give_name(unnamed, temporary)
        put_in_place(temporary, path)
    except OSError as error:
        # A full disk does not say which file it is; a temporary name says nothing to anybody.
        if error.errno is not None and error.filename2 is None and error.filename in (None, temporary):
            error.filename = path
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _unnamed(folder: str) -> IO[bytes] | None:
    """None where there is no such thing."""
    try:
        return open(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666), "w+b")
    except (OSError, AttributeError):
        return None


def _give_name(file: IO[bytes], path: str) -> None:
    try:
        # linkat(2) alone follows this link; Python calls it where a folder is given, of which an absolute path makes
        # nothing.
        os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=file.fileno())
    except OSError:  # there is no /proc, or a sandbox forbids it
        file.seek(0)
        with open(path, "xb") as named:
            shutil.copyfileobj(file, named)
            _to_disk(named)
