"""How tests wait: for something to happen, however busy the machine is; never for a time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: What needs to happen has happened by then, a whole job too, on a machine that does forty other things; after it,
#: something hangs.
PATIENCE_S = 900.0
_POLL_S = 0.1

Found = TypeVar("Found")


def wait_for(condition: Callable[[], Found], what: str | Callable[[], str]) -> Found:
    """The first true value of `condition`. Fails after `PATIENCE_S` with `what` was waited for, or what it returns."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain for {what if isinstance(what, str) else what()}")
        time.sleep(_POLL_S)
    return found


def holds_at_last(check: Callable[[], Found]) -> Found:
    """What `check` returns once it passes; after `PATIENCE_S` its own AssertionError is raised."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)
