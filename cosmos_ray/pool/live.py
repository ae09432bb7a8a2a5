"""A job on a terminal: one display that stays in its place, below the lines that are said.

The job's bar with its clips, failures, rate, GPU-hours and time to go; then a line a gang: its clip, its step, what is
left of it. As many gangs as the terminal has room for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cosmos_ray.foreign import shown
from cosmos_ray.pool.progress import AtWork, Progress
from cosmos_ray.words import counted, duration

_TIMES_A_SECOND = 2.0
#: Lines of a terminal that are left to what is said.
_LINES_LEFT = 8
#: Columns that a gang's name, its step and what is left take beside the clip's id, which may have 128.
_BESIDE_THE_CLIP = 50


class Display:
    """What is shown while the job's clips are made; `say` writes above it.

    One thread at a time draws: a line goes up over the picture that is there, and between rich's asking how high that
    is and its writing another picture, of another height, would leave a part of one on the terminal for good.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._turn = threading.RLock()

    def say(self, message: str) -> None:
        with self._turn, _if_it_is_there():
            self.console.print(Text(f"{time.strftime('%H:%M:%S')} {shown(message)}"), soft_wrap=True)

    @contextmanager
    def shows(self, progress: Progress) -> Iterator[None]:
        self._progress = progress
        live = Live(console=self.console, get_renderable=self.picture, auto_refresh=False, transient=True)
        ended = threading.Event()
        drawing = threading.Thread(target=self._draw, args=(live, ended), daemon=True)
        with self._turn, _if_it_is_there():
            live.start(refresh=True)
        drawing.start()
        try:
            yield
        finally:
            ended.set()
            drawing.join()
            with self._turn, _if_it_is_there():
                live.stop()

    def _draw(self, live: Live, ended: threading.Event) -> None:
        while not ended.wait(1 / _TIMES_A_SECOND):
            with self._turn, _if_it_is_there():
                live.refresh()

    def picture(self) -> RenderableType:
        progress = self._progress
        if progress is None or progress.work is None:
            return Text("")
        work = progress.work()
        room = max(1, self.console.size.height - _LINES_LEFT)
        return Group(
            _bar(progress, self.console.size.width),
            _numbers(progress, work),
            _gangs(work, room, self.console.size.width),
        )


def _if_it_is_there() -> AbstractContextManager[None]:
    """The terminal: what is shown ends no work."""
    return suppress(OSError)


def _bar(progress: Progress, width: int) -> RenderableType:
    """In a table, for a bar alone does not end its line."""
    table = Table.grid()
    table.add_row(ProgressBar(total=max(1, progress.clips), completed=progress.settled, width=width))
    return table


def _numbers(progress: Progress, work: AtWork) -> Text:
    """What matters most comes first: a narrow terminal cuts the rest."""
    parts = [f"{progress.settled} of {counted(progress.clips, 'clip')}"]
    if progress.settled < progress.clips:
        parts.append("time to go not known yet" if progress.eta_s is None else f"{duration(progress.eta_s)} to go")
    if progress.clips_per_hour is not None:
        parts.append(f"{progress.clips_per_hour:,.1f} clips an hour")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    parts.append(f"{work.gpu_seconds / 3600:,.2f} GPU-hours")
    return Text(" · ".join(parts), no_wrap=True, overflow="ellipsis")


def _gangs(work: AtWork, room: int, width: int) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, justify="right")
    for name in sorted(work.up)[:room]:
        at = work.at.get(name)
        if at is None:
            table.add_row(name, "between two clips", "", "")
        else:
            left = "" if at.left_s is None else f"{duration(at.left_s)} left"
            table.add_row(
                name, _short(shown(at.clip), max(10, width - _BESIDE_THE_CLIP)), f"step {at.step} of {at.steps}", left
            )
    rest = len(work.up) - room
    if rest > 0:
        table.add_row("", f"and {counted(rest, 'more gang')}", "", "")
    if waiting := work.wanted - len(work.up):
        table.add_row("", f"{counted(waiting, 'gang')} waiting for GPUs or loading", "", "")
    return table


def _short(clip: str, most: int) -> str:
    """An id in so many columns, without its middle: those of a sweep begin alike, and end with what was varied."""
    if len(clip) <= most:
        return clip
    begins = (most - 1) // 3
    return f"{clip[:begins]}…{clip[begins + 1 - most :]}"
