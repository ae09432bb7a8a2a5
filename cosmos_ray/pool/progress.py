"""How far a job is, for people who watch it: a line for each clip that is settled, and a word when none comes.

`pool/live.py` shows the same on a terminal. Both ask `Progress`, which is told what is settled and asks who works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.gang.clip_progress import At
from cosmos_ray.ledger.record import Record
from cosmos_ray.pool.forecast import Forecast
from cosmos_ray.words import Kinds, counted, duration

#: After so many seconds without a line there is one that says what goes on. A clip may take a quarter of an hour.
HEARTBEAT_S = 180.0
_GANGS_SHOWN = 4


@dataclass(frozen=True)
class AtWork:
    """wanted: gangs, with those that wait for GPUs or load. up: names of those that are loaded. at: where they are."""

    wanted: int
    up: tuple[str, ...]
    at: dict[str, At]
    gpu_seconds: float


class Progress:
    """clips: to count to. settled: of those before this run. invalid: of the rest, that fail at once for their rows."""

    def __init__(self, clips: int, settled: int, say: Callable[[str], None], invalid: int = 0) -> None:
        self.clips, self.settled, self.failed = clips, settled, 0
        self._say, self._said_at = say, time.monotonic()
        self._invalid = invalid
        self._warnings, self._marks = Kinds(VIEWS), Kinds(VIEWS)
        self._forecast = Forecast()
        self.work: Callable[[], AtWork] | None = None  # of the pool, once there is one

    def count(self, record: Record) -> None:
        """One more clip is settled: say how, and how long the rest will take."""
        self.settled += 1
        self._warnings.add_all(record.id, record.warnings)
        self._marks.add_all(record.id, record.marks)
        how = f"FAILED ({record.failure_class}): {record.error}"
        if record.status == "ok":
            denoise_s = record.seconds.get("denoise", 0.0)
            self._forecast.finished(record.gang or "", time.monotonic(), denoise_s)
            again = f", attempt {record.attempt}" if record.attempt > 1 else ""
            how = f"ok, denoised in {denoise_s:.1f} s on {record.gang}{again}"
        else:
            self.failed += 1
            self._invalid -= record.attempt == 0  # no gang has tried it: the row said enough
        to_go = self._time_left()
        self._tell(f"[{self.settled}/{self.clips}] {record.id}: {how}{f'; {to_go}' if to_go else ''}")

    def say_warnings(self) -> None:
        """What was doubtful in the clips so far, or is in their looks, a line a kind, for all views.

        It is all in `index.parquet`."""
        for kind in self._warnings.found():
            clip_id, message = kind.examples[0]
            self._say(f"warning for {counted(kind.count, 'clip')}, as {clip_id}: {message}")
        for kind in self._marks.found():
            clip_id, message = kind.examples[0]
            self._say(f"{counted(kind.count, 'clip')} marked, as {clip_id}: {message}")

    async def beat(self) -> None:
        """Never returns: whenever nothing was said for a while, says what goes on."""
        while True:
            await asyncio.sleep(max(0.05, self._said_at + HEARTBEAT_S - time.monotonic()))
            if time.monotonic() - self._said_at >= HEARTBEAT_S:
                self._tell(self.line())

    def line(self) -> str:
        """`[3/100] gang-0001 at step 12 of 35 of drive-7 (6m02s left); about 3h10m to go`."""
        work = self.work() if self.work else AtWork(0, (), {}, 0.0)
        parts = [f"{name} {at_in_words(at)}" for name, at in sorted(work.at.items())[:_GANGS_SHOWN]]
        if len(work.at) > _GANGS_SHOWN:
            parts.append(f"{counted(len(work.at) - _GANGS_SHOWN, 'more gang')} at work")
        if not work.at:
            waiting = work.wanted - len(work.up)
            parts.append(f"{counted(len(work.up), 'gang')} up, {waiting} waiting for GPUs or loading")
        if to_go := self._time_left():
            parts.append(to_go)
        return f"[{self.settled}/{self.clips}] {'; '.join(parts)}"

    @property
    def eta_s(self) -> float | None:
        """Seconds until all is settled, with the gangs that are up; None before there is a pace."""
        left = self.clips - self.settled - max(0, self._invalid)
        return self._forecast.seconds_left(left, self._up(), time.monotonic())

    @property
    def clips_per_hour(self) -> float | None:
        return self._forecast.clips_per_hour(self._up())

    def facts(self) -> dict[str, float | None]:
        """For `status`, on whatever machine."""
        return {"eta_s": self.eta_s, "clips_per_hour": self.clips_per_hour}

    def _up(self) -> tuple[str, ...]:
        return self.work().up if self.work else ()

    def _time_left(self) -> str:
        seconds = self.eta_s if self.settled < self.clips else None
        return f"about {duration(seconds)} to go" if seconds else ""

    def _tell(self, message: str) -> None:
        self._said_at = time.monotonic()
        self._say(message)


def at_in_words(at: At) -> str:
    left = "" if at.left_s is None else f" ({duration(at.left_s)} left)"
    return f"at step {at.step} of {at.steps} of {at.clip}{left}"
