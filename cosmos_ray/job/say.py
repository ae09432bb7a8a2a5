"""What a job says to people while it works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cosmos_ray.foreign import shown

if TYPE_CHECKING:
    from cosmos_ray.pool.live import Display


def say(message: str) -> None:
    """To people, on standard error; results go to standard output."""
    print(f"{time.strftime('%H:%M:%S')} {shown(message)}", file=sys.stderr, flush=True)


def display_for(chosen: Callable[[str], None]) -> Display | None:
    """What shows a job that says its lines to `chosen`: a display, where those are `say`'s and go to a terminal."""
    if chosen is not say or not sys.stderr.isatty():
        return None
    from cosmos_ray.pool.live import Display

    return Display()
