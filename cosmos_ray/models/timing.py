"""How long the parts of a work take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


@contextlib.contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Puts down how long this part takes, on top of what it has taken before."""
    began = time.monotonic()
    yield
    seconds[part] = seconds.get(part, 0.0) + (time.monotonic() - began)
