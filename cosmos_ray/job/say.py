"""What a job says to people while it works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cosmos_ray.foreign import saying, shown
from cosmos_ray.said import to_people

if TYPE_CHECKING:
    from cosmos_ray.pool.live import Display

Say = Callable[[str], None]


@dataclass(frozen=True)
class Hearers:
    """of_job: who hears of the job and its output as a whole; of_clips: of gangs, and of clips on their way. display:
    what shows the latter besides, where somebody looks at it."""

    of_job: Say
    of_clips: Say
    display: Display | None


def say(message: str) -> None:
    """To people, on standard error; results go to standard output."""
    to_people(f"{time.strftime('%H:%M:%S')} {shown(message)}")


def display_for(chosen: Say) -> Display | None:
    """What shows a job that says its lines to `chosen`: a display, where those are `say`'s and go to a terminal."""
    if chosen is not say or sys.stderr is None or not sys.stderr.isatty():
        return None
    from cosmos_ray.pool.live import Display

    return Display()


def hearers_of(say: Say, about: Say | None = None) -> Hearers:
    """say: hears of clips, and of the job too unless that is for another, `about`."""
    display = display_for(say)
    loud = saying(say if display is None else display.say)
    return Hearers(loud if about is None or about is say else about, loud, display)
