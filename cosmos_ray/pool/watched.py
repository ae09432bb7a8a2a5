"""One gang that is up, as the pool sees it: what it works on, how it is told to leave, and how its end is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import RayError, RayTaskError

from cosmos_ray.errors import Fault, LeaseLost, first_line
from cosmos_ray.gang.leader import Outcome
from cosmos_ray.gang.processes import GangInfo
from cosmos_ray.pool.workload import Work
from cosmos_ray.words import node_name

_PING_S = 10.0
_PING_TIMEOUT_S = 60.0


@dataclass
class WatchedGang:
    """since: when it was placed (monotonic). leaving: why it takes no more clips, "" if it does. stages: clips by
    stage, as the leader answered last. running: its attempts that have not been dealt with. is_stopped: it was said
    what a stop has found it at. waiting: its clips that are made and that the store does not take.
    """

    name: str
    leader: Any
    info: GangInfo
    since: float
    leaving: str = ""
    stages: dict[str, int] = field(default_factory=dict)
    running: dict[asyncio.Task[Outcome], Work] = field(default_factory=dict)
    is_stopped: bool = False
    waiting: int = 0

    def leave(self, why: str, notice_s: float | None) -> None:
        """Clips that it has not begun to denoise come back; the one that it denoises is finished if time allows."""
        self.leaving = why
        self.leader.leave.remote(notice_s)

    def leave_if_it_must(self, is_spent: bool, draining: Mapping[str, float], say: Callable[[str], None]) -> None:
        """is_spent: the job's budget. draining: nodes that are about to go, and when; 0 if that is not known."""
        node = self.info.node
        if self.leaving:
            return
        if is_spent:
            self.leave("the budget is spent", None)
        elif node in draining:
            notice_s = draining[node] - time.time() if draining[node] else None
            gone_in = "" if notice_s is None else f", gone in {notice_s:.0f} s"
            say(f"{self.name} leaves: node {node_name(node)} is being drained{gone_in}")
            self.leave("its node goes", notice_s)

    async def until_gone(self) -> str:
        """Why it is no more: a rank or its leader has ended, or the leader does not answer (stopped, or cut off)."""
        broken = asyncio.ensure_future(self.leader.until_broken.remote())
        counting = asyncio.create_task(self._count_waiting())
        pinging = asyncio.create_task(self._ping())
        try:
            await asyncio.wait({broken, pinging}, return_when=asyncio.FIRST_COMPLETED)
            return _reason(broken if broken.done() else pinging)
        finally:
            broken.cancel()
            counting.cancel()
            pinging.cancel()

    async def _count_waiting(self) -> None:
        """Ends with the leader, as the others notice too."""
        with contextlib.suppress(RayError):
            while True:
                self.waiting = await self.leader.waiting.remote(self.waiting)

    async def _ping(self) -> None:
        """Raises TimeoutError when the leader no longer answers."""
        while True:
            await asyncio.sleep(_PING_S)
            self.stages = await asyncio.wait_for(self.leader.stages.remote(), _PING_TIMEOUT_S)

    def attempts_that_ended(self) -> Iterator[tuple[Work, Outcome]]:
        """What came of them, in the order in which they began; none is `running` any more. Raises LeaseLost."""
        for task in [task for task in self.running if task.done()]:
            yield self.running.pop(task), _outcome(task)


def _outcome(attempt: asyncio.Task[Outcome]) -> Outcome:
    try:
        return attempt.result()
    except RayTaskError as error:
        if isinstance(error.cause, LeaseLost):
            raise error.cause from None
        return Outcome(fault=Fault("internal", first_line(error.cause)))
    except RayError as error:
        return Outcome(fault=Fault("gang", f"the gang died: {first_line(error)}"), broken=True)
    except OSError as error:
        return Outcome(fault=Fault("storage", f"{type(error).__name__}: {error}"))


def _reason(ended: asyncio.Future[Any]) -> str:
    error = ended.exception()
    if isinstance(error, TimeoutError):
        return "its leader does not answer"
    return first_line(error) if error else str(ended.result())
