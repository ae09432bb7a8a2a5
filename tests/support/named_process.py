"""A process that calls itself what no text is: its name is bytes of its own choice."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

_BODY = r"""
import ctypes
ctypes.CDLL(None).prctl(15, b"\xff\xfe) R 1 (\x80", 0, 0, 0)
print("there", flush=True)
input()
"""


@contextlib.contextmanager
def strangely_named() -> Iterator[int]:
    """Its pid."""
    process = subprocess.Popen([sys.executable, "-c", _BODY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()
