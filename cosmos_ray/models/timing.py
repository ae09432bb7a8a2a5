"""How long the parts of a loading take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


@contextlib.contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Puts down how long this part of a loading takes."""
    began = time.monotonic()
    yield
    seconds[part] = time.monotonic() - began
