"""`status --watch`: the same lines, again and again, until there is nothing more to see."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cosmos_ray.foreign import shown

#: Seconds from one look at the output to the next.
EVERY_S = 5.0


def watch(look: Callable[[], tuple[list[str], bool]], every_s: float = EVERY_S) -> None:
    """look: (lines, is there more to come). On a terminal the lines stand in their place, elsewhere they follow each
    other where they differ. Returns when nothing more comes; Ctrl-C ends it too, and leaves the last lines."""
    if not sys.stdout.isatty():
        said: list[str] = []
        while True:
            lines, goes_on = _printable(look())
            if lines != said:
                print("\n".join(lines), flush=True)
            said = lines
            if not goes_on:
                return
            time.sleep(every_s)
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            lines, goes_on = _printable(look())
            live.update(Text("\n".join(lines)), refresh=True)
            if not goes_on:
                return
            time.sleep(every_s)


def _printable(looked: tuple[list[str], bool]) -> tuple[list[str], bool]:
    lines, goes_on = looked
    return [shown(line) for line in lines], goes_on
