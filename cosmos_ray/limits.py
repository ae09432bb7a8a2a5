"""Until when a piece of work may go on, for what is done meanwhile to ask: no thread goes on afterwards."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

_until: ContextVar[float | None] = ContextVar("until", default=None)


class TimeIsUp(OSError):
    """What was to be done by now is not. A store's fault more often than a row's: it is tried again."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """What is done inside, by this thread and those that `in_this_limit` started, may take so long."""
    was = _until.get()
    ends = time.monotonic() + seconds
    token = _until.set(ends if was is None else min(ends, was))
    try:
        yield
    finally:
        _until.reset(token)


def time_left(most: float, what: str) -> float:
    """Seconds, at most `most`. Raises TimeIsUp, naming `what`, if there are none."""
    until = _until.get()
    left = most if until is None else min(most, until - time.monotonic())
    if left <= 0:
        raise TimeIsUp(f"{what} took too long")
    return left


def in_this_limit(function: Callable[[A], B]) -> Callable[[A], B]:
    """`function`, for another thread, which would not know the limit of this one."""
    until = _until.get()

    def limited(argument: A) -> B:
        token = _until.set(until)
        try:
            return function(argument)
        finally:
            _until.reset(token)

    return limited
