"""How much memory the preparing of clips may take in one process, with all ffmpegs that it runs.

Every ffmpeg that reads a file from outside is told how much it may have, which the system holds it to, and waits until
there is so much left of what all of them may have at once. The process itself works on some rows of a picture at a
time, and has one picture of each file that is being read.
"""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Iterator

from cosmos_ray.limits import time_left

#: What all ffmpegs of this process may have at once, bytes, and one that looks into a file without decoding its frames.
ALL, LOOK = 4 * 2**30, 2**30
#: What ffmpeg takes for itself, and for each pixel: of frames it decodes ahead of those it gives, and gives ahead of
#: those that are taken. 8 bits a sample; more take twice as much.
_BASE, _DECODED, _GIVEN = 300 * 2**20, 30, 60
#: Most pictures of a clip that are worked on at a time.
AT_ONCE = 8


def to_decode(pixels: int, given: int, is_deep: bool) -> int:
    """Bytes for a video of so many pixels a frame, that gives frames of `given` pixels."""
    return _BASE + (_DECODED * pixels + _GIVEN * given) * (2 if is_deep else 1)


_free = ALL
_changed = threading.Condition()


@contextlib.contextmanager
def room_for(needed: int) -> Iterator[None]:
    """Wait until `needed` bytes are free, and have them. Raises TimeIsUp."""
    global _free
    needed = min(needed, ALL)
    with _changed:
        while _free < needed:
            _changed.wait(time_left(10.0, "waiting for memory to read inputs in"))
        _free -= needed
    try:
        yield
    finally:
        with _changed:
            _free += needed
            _changed.notify_all()


def hold_to(process_id: int, most: int) -> None:
    """What the system lets a process have from now on, bytes."""
    with contextlib.suppress(ProcessLookupError):  # it has ended
        resource.prlimit(process_id, resource.RLIMIT_DATA, (most, most))
