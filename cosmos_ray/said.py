"""A line to people on standard error, which ends no work: a terminal may be gone, a log's disk full."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys


def to_people(line: str) -> None:
    """Said, if anybody can hear it."""
    if sys.stderr is None:  # to `print` that is standard output
        return
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def write_to_people(line: str) -> None:
    """The same, not through a lock that another thread may hold."""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())


def nobody_reads() -> bool:
    """Whether who read standard output through a pipe has had enough: `| head`."""
    asked = select.poll()
    asked.register(1, 0)
    return any(found & select.POLLERR for _, found in asked.poll(0))


def keep_standard_files() -> None:
    """Have all three open, and standard output take any letter, as standard error does.

    Where one was closed (`2>&-`), the next file that is opened would be in its place, and what is said would be written
    into it. A letter that a terminal's encoding does not have would end the command that says it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
