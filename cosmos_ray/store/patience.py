"""How long a store may take with one request, before it is asked once more or given up.

A store's client has patience of its own: some tries, a minute each, and some tries of those. With a server that takes
connections and never answers that made hours, without a word. fsspec ends a call, and what is under way for it, by its
argument `timeout`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fsspec.exceptions import FSTimeoutError

T = TypeVar("T")

#: Seconds for an answer that has no length to speak of.
ANSWER_S = 60.0
#: For a listing, or the head of a long answer, of a store that is known to answer.
_LONG_S = 600.0
#: Bytes a second: what is slower is not waited for.
_SLOWEST = 100_000.0


def within(fs: Any, size: int = 0) -> dict[str, float]:
    """For a call to `fs` with so many bytes. {}: a disk has no time limit."""
    return {"timeout": ANSWER_S + size / _SLOWEST} if getattr(fs, "async_impl", False) else {}


def patiently(fs: Any, path: str, ask: Callable[..., T]) -> T:
    """`ask(**limit)`, of an answer of unknown length: for a minute, and, if the store answers at all, once more for as
    long as the object at `path` may take. Raises TimeoutError."""
    try:
        return ask(**within(fs))
    except FSTimeoutError:
        try:
            size = int(fs.info(path, **within(fs)).get("size") or 0)
        except FileNotFoundError:
            size = 0
        return ask(timeout=_LONG_S + size / _SLOWEST)
