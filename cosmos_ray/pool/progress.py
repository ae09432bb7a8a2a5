"""The lines of a job that a person reads: one for each clip that is settled."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable

from cosmos_ray.ledger.record import Record
from cosmos_ray.words import Kinds, counted

#: The time left is told from so many clips back, so that it follows a job that grows.
_RATE_CLIPS = 200


class Progress:
    """One line a settled clip: progress, how it ended and where, about how long the rest takes."""

    def __init__(self, clips: int, settled: int, say: Callable[[str], None]) -> None:
        self._clips, self._settled, self._say = clips, settled, say
        self._warnings = Kinds()
        self._times = collections.deque([time.monotonic()], _RATE_CLIPS)  # the job's start, then of each clip made

    def count(self, record: Record) -> None:
        self._settled += 1
        for warning in record.warnings:
            self._warnings.add(record.id, warning)
        how = f"FAILED ({record.failure_class}): {record.error}"
        if record.status == "ok":
            self._times.append(time.monotonic())  # a row that fails at once says nothing of the others
            again = f", attempt {record.attempt}" if record.attempt > 1 else ""
            how = f"ok, denoised in {record.seconds.get('denoise', 0.0):.1f} s on {record.gang}{again}"
        self._say(f"[{self._settled}/{self._clips}] {record.id}: {how}{self._time_left()}")

    def say_warnings(self) -> None:
        """What was doubtful in the clips so far, a line a kind. All of it is in `index.parquet`."""
        for kind in self._warnings.found():
            clip_id, message = kind.examples[0]
            self._say(f"warning for {counted(kind.count, 'clip')}, as {clip_id}: {message}")

    def _time_left(self) -> str:
        left, made = self._clips - self._settled, len(self._times) - 1
        if left <= 0 or made == 0:
            return ""
        return f"; about {_duration((self._times[-1] - self._times[0]) / made * left)} to go"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
