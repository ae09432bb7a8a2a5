"""How long a job still takes, from when its gangs finished clips. Plain data, no Ray, no clock of its own.

A gang's pace is the time from one clip of its to the next, so that what comes once a gang (GPUs waited for, the model
loaded, the first clip prepared) is in no forecast. A gang that has made one clip alone is taken by how long that was
denoised; one that has made none yet, by the mean of the others.
"""

from __future__ import annotations

import collections
import heapq
from collections.abc import Collection
from dataclasses import dataclass, field

#: Clips back that a gang's pace is told from: it follows rows that become longer.
_CLIPS = 20
#: Beyond so many clips the end is told from the rate alone; which gang makes the last one does not matter there.
_SIMULATED = 2000


@dataclass
class _Gang:
    """first_s: how long its first clip was denoised. ends: when its last clips were finished."""

    first_s: float
    ends: collections.deque[float] = field(default_factory=lambda: collections.deque(maxlen=_CLIPS))

    @property
    def period_s(self) -> float:
        if len(self.ends) < 2:
            return self.first_s
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


class Forecast:
    """Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._gangs: dict[str, _Gang] = {}

    def finished(self, gang: str, now: float, denoise_s: float) -> None:
        """A clip was made by `gang`, which took `denoise_s` of it to denoise."""
        self._gangs.setdefault(gang, _Gang(denoise_s)).ends.append(now)

    def seconds_left(self, clips: int, gangs: Collection[str], now: float) -> float | None:
        """Until `clips` more are made by the `gangs` that are up now; None before anything was measured."""
        paces = self._paces(gangs)
        if not paces or clips <= 0:
            return None if clips > 0 else 0.0
        if clips > _SIMULATED:
            return clips / sum(1 / period for _, period in paces.values())
        # Whoever is next makes one more: a gang's clip that is under way is part of the way done.
        ends = [(max(last + period if last else now + period, now), period) for last, period in paces.values()]
        heapq.heapify(ends)
        for _ in range(clips - 1):
            end, period = ends[0]
            heapq.heapreplace(ends, (end + period, period))
        return ends[0][0] - now

    def clips_per_hour(self, gangs: Collection[str]) -> float | None:
        paces = self._paces(gangs)
        return 3600 * sum(1 / period for _, period in paces.values()) if paces else None

    def _paces(self, gangs: Collection[str]) -> dict[str, tuple[float | None, float]]:
        """(when its last clip was finished, seconds a clip) of each gang."""
        known = {name: gang for name, gang in self._gangs.items() if gang.period_s > 0}
        if not known:
            return {}
        measured = [known[name].period_s for name in gangs if name in known] or [one.period_s for one in known.values()]
        mean = sum(measured) / len(measured)
        return {name: (known[name].ends[-1], known[name].period_s) if name in known else (None, mean) for name in gangs}
