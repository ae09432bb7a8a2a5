"""The lines of a job that a person reads: one for each clip that is settled."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable

from cosmos_ray.ledger.record import Record

#: The time left is told from so many clips back, so that it follows a job that grows.
_RATE_CLIPS = 200


class Progress:
    """One line a settled clip: progress, how it ended and where, about how long the rest takes."""

    def __init__(self, clips: int, settled: int, say: Callable[[str], None]) -> None:
        self._clips, self._settled, self._say = clips, settled, say
        self._times = collections.deque([time.monotonic()], _RATE_CLIPS)  # the job's start, then of each clip made

    def count(self, record: Record) -> None:
        self._settled += 1
        how = f"FAILED ({record.failure_class}): {record.error}"
        if record.status == "ok":
            self._times.append(time.monotonic())  # a row that fails at once says nothing of the others
            again = f", attempt {record.attempt}" if record.attempt > 1 else ""
            how = f"ok, denoised in {record.seconds.get('denoise', 0.0):.1f} s on {record.gang}{again}"
        self._say(f"[{self._settled}/{self._clips}] {record.id}: {how}{self._time_left()}")

    def _time_left(self) -> str:
        left, counted = self._clips - self._settled, len(self._times) - 1
        if left <= 0 or counted == 0:
            return ""
        return f"; about {_duration((self._times[-1] - self._times[0]) / counted * left)} to go"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
