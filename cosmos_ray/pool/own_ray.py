"""The Ray that a job starts for itself: all of its processes end with the job, also those that Ray loses sight of.

Ray's own processes die with their driver, and workers when they notice that. Those that got a signal beside the driver,
or whose start was cut off, may hang for long after. All have the mark of this process in their environment, or are
children of one that has; agents write their title over their environment, and an orphan among them becomes a child of
this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

_MARK = "COSMOS_RAY_OWN_RAY"
_mark = ""
#: Of prctl(2): orphans of this process's descendants become its children.
_PR_SET_CHILD_SUBREAPER = 36


def mark() -> None:
    """Before Ray is started: its processes inherit this."""
    global _mark
    _mark = f"{os.getpid()}-{uuid.uuid4().hex}"
    os.environ[_MARK] = _mark
    _adopt_orphans(True)


@contextlib.contextmanager
def in_groups_of_their_own() -> Iterator[None]:
    """Processes that Ray starts meanwhile do not get what `timeout` or a shell sends to this process's group.

    It is this process that obeys. Ray ends whoever asks an agent of its that is dead, at once and without a word.
    """
    from ray._private import services  # here: `status` and `plan` know of stops, and not of Ray

    usual = services.ConsolePopen
    services.ConsolePopen = partial(usual, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = usual


def is_there() -> bool:
    """Has this job started a Ray that was not ended yet?"""
    return bool(_mark)


def end_what_is_left() -> None:
    """Kill whatever of this job's own Ray is left. Nothing if it has started none."""
    global _mark
    if not _mark:
        return
    for _ in range(5):  # one may start another meanwhile, and orphans come
        found = list(_ours(f"{_MARK}={_mark}".encode()))
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            break
    _mark = ""
    os.environ.pop(_MARK, None)
    _adopt_orphans(False)


def _ours(wanted: bytes) -> Iterator[int]:
    """Processes with the mark, children of such, and adopted ones of Ray's; not the ones that are dead already."""
    parents, marked = dict[int, int](), set[int]()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]  # a name may be any bytes
            if state in b"ZX" or int(entry.name) == os.getpid():
                continue
            parents[int(entry.name)] = int(parent)
            is_of_ray = int(parent) == os.getpid() and (entry / "cmdline").read_bytes().startswith(b"ray::")
            if is_of_ray or wanted in (entry / "environ").read_bytes().split(b"\0"):
                marked.add(int(entry.name))
    for pid in parents:
        above = pid
        while above in parents and above not in marked:
            above = parents[above]
        if above in marked:
            yield pid


def _adopt_orphans(yes: bool) -> None:
    with contextlib.suppress(OSError, AttributeError):  # no Linux
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)
