"""The clips that a job has still to settle, and what becomes of one whose attempt failed. Plain data, no Ray.

* A fault of the row's own (`input`, `guardrail`, or what checks say of its clip) fails it at once.
* Any other may be the job's: a broken model, a check that raises, a store that is out, a node that kills gangs. The
  clip is tried again, up to `max_attempts` times (not after a `model` fault, or a check that raised: the same comes out
  again), the last time alone in its gang, so that a row which kills gangs takes no other with it.
* A clip that is out of attempts fails if another clip was finished since its first fault: the job is well, so the row
  is to blame. Else it is parked, until a clip is finished or nothing else is left to try. If the job is ill, the
  breaker (`health.py`) stops it before that, and no row is failed.
* `storage` faults end together when a store comes back: parked clips then get one more try instead.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from cosmos_ray.errors import FailureClass, Fault
from cosmos_ray.manifest.rows import Clip

#: Faults that nothing but the row can have caused, where nothing else is said of them.
OWN_FAULTS: frozenset[FailureClass] = frozenset({"input", "guardrail"})
#: Faults that the same clip would have again.
_SAME_AGAIN: frozenset[FailureClass] = frozenset({"model", "guardrail"})


def is_rows_own(fault: Fault) -> bool:
    """Whether the row alone is to blame, so that its clip fails at once and says nothing of the job."""
    return not fault.is_unclear and (fault.is_verdict or fault.failure_class in OWN_FAULTS)


@dataclass
class Work:
    """A clip with its history in this run. past_attempt: the newest attempt's number, over all runs."""

    clip: Clip
    past_attempt: int
    attempts: int = 0
    first_fault_at: float = 0.0
    solo: bool = False


class Workload:
    """Clips taken from the stream and not settled: queued, in flight, or parked. expected: how many it should bring, 0
    if that is not known."""

    def __init__(self, max_attempts: int, expected: int = 0) -> None:
        self._max_attempts = max_attempts
        self._to_come = expected
        self._is_counted = expected > 0
        self._queue: collections.deque[Work] = collections.deque()
        self._parked: list[tuple[Work, Fault]] = []
        self._last_ok = 0.0
        self.outstanding = 0
        self.exhausted = False  # the stream has ended

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def parked(self) -> int:
        return len(self._parked)

    @property
    def waiting(self) -> int:
        """Clips that no gang has, with those that the stream has still to bring, as far as is known."""
        if self.exhausted:
            return self.queued
        # A stream that was counted may be heard to end long after its last clip: no gang is to be asked for meanwhile.
        return self.queued + max(0 if self._is_counted else 1, self._to_come)

    @property
    def has_next(self) -> bool:
        """There is, or may come, a clip that a gang could start."""
        return bool(self._queue) or not self.exhausted

    @property
    def is_done(self) -> bool:
        return self.exhausted and self.outstanding == 0

    def add(self, work: Work) -> None:
        self._queue.append(work)
        self._to_come -= 1
        self.outstanding += 1

    def skip(self) -> None:
        """The stream has brought a clip that no gang is to make."""
        self._to_come -= 1

    def take(self, beside: Collection[Work]) -> Work | None:
        """The next clip for a gang that works on the clips `beside`; one on its last attempt runs alone."""
        if not self._queue or any(work.solo for work in beside):
            return None
        if self._is_last_attempt(self._queue[0]) and beside:
            return None
        work = self._queue.popleft()
        work.solo = self._is_last_attempt(work)
        work.attempts += 1
        return work

    def _is_last_attempt(self, work: Work) -> bool:
        return work.attempts > 0 and work.attempts + 1 >= self._max_attempts

    def hand_back(self, work: Work) -> None:
        """An attempt that was given up through no fault: it does not count."""
        work.attempts -= 1
        self._queue.appendleft(work)

    def finished(self) -> list[tuple[Work, Fault]]:
        """A clip is finished, so the job is well. Returns the parked clips that have thereby failed."""
        self.outstanding -= 1
        self._last_ok = time.monotonic()
        return self._unpark(lambda fault: fault.failure_class != "storage")

    def failed(self, work: Work, fault: Fault) -> bool:
        """An attempt failed: is the clip to be recorded as failed? If not, it is queued again, or parked."""
        if is_rows_own(fault):
            self.outstanding -= 1
            return True
        work.first_fault_at = work.first_fault_at or time.monotonic()
        if work.attempts < self._max_attempts and fault.failure_class not in _SAME_AGAIN:
            self._queue.appendleft(work)
            return False
        if self._last_ok > work.first_fault_at:
            self.outstanding -= 1
            return True
        self._parked.append((work, fault))
        return False

    def nothing_else_left(self) -> list[tuple[Work, Fault]]:
        """Call when no gang runs. If only parked clips are left, returns those that have thereby failed.

        Several that a store has failed are tried again and again, since one store can fail them all, until the breaker
        ends it.
        """
        if not self.exhausted or self.outstanding != len(self._parked):
            return []
        by_storage = sum(fault.failure_class == "storage" for _, fault in self._parked)
        return self._unpark(lambda fault: fault.failure_class != "storage" or by_storage == 1)

    def _unpark(self, has_failed: Callable[[Fault], bool]) -> list[tuple[Work, Fault]]:
        parked, self._parked = self._parked, []
        failed = [(work, fault) for work, fault in parked if has_failed(fault)]
        for work, fault in parked:
            if not has_failed(fault):
                work.attempts = self._max_attempts - 1
                self._queue.append(work)
        self.outstanding -= len(failed)
        return failed
