"""A gang's ranks as one: calls to all, to each or to the first of them, and their end together.

A gang breaks once: when a rank dies, hangs or reports something that the others did not. Then every rank is killed, and
whatever is asked of them fails with the reason. A fault that all ranks report alike leaves them in step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from cosmos_ray.errors import first_line
from cosmos_ray.gang.processes import RankProcess, await_end
from cosmos_ray.gang.rank_calls import call_rank
from cosmos_ray.gang.verdict import GangBrokenError, verdict
from cosmos_ray.store.traffic import Traffic

log = logging.getLogger(__name__)

#: After one rank failed: how long the others get to report the same before the gang counts as out of step.
_AGREE_S = 5.0
#: How long ranks get to say what they have exchanged with stores.
_TRAFFIC_S = 1.0


class Ranks:
    """Those of one gang. To be made in the leader's event loop; empty until they are `join`ed.

    processes: one a rank, in their order.
    """

    def __init__(self) -> None:
        self.processes: list[RankProcess] = []
        self._actors: list[Any] = []
        self._broken: asyncio.Future[GangBrokenError] = asyncio.get_running_loop().create_future()
        self._watchers: list[asyncio.Task[None]] = []

    async def join(self, actors: Sequence[Any], node: str) -> None:
        """These are the gang's. Returns when the process of each has answered."""
        self._actors = [*actors]
        self._watchers = [asyncio.create_task(self._watch(number)) for number in range(len(self._actors))]
        for pid, start in await asyncio.gather(*(actor.process.remote() for actor in self._actors)):
            self.processes.append(RankProcess(node, pid, start))

    @property
    def first(self) -> Any:
        """The actor of rank 0."""
        return self._actors[0]

    @property
    def is_broken(self) -> bool:
        return self._broken.done()

    async def until_broken(self) -> GangBrokenError:
        """Why, when the gang breaks; else it never returns."""
        return await asyncio.shield(self._broken)

    async def on_all(self, method: str, *arguments: Any, deadline_s: float) -> list[Any]:
        """A collective call: a fault that not all ranks report alike breaks the gang."""
        return await self._on(self._actors, method, *arguments, deadline_s=deadline_s)

    async def on_first(self, method: str, *arguments: Any, deadline_s: float) -> Any:
        (found,) = await self._on(self._actors[:1], method, *arguments, deadline_s=deadline_s)
        return found

    async def on_each(self, method: str, *arguments: Any, deadline_s: float) -> list[Any]:
        """A call in which ranks do not meet: all finish, then the first fault is raised."""
        calls = [self._on([actor], method, *arguments, deadline_s=deadline_s) for actor in self._actors]
        results = await asyncio.gather(*calls, return_exceptions=True)
        faults = [result for result in results if isinstance(result, BaseException)]
        for fault in sorted(faults, key=lambda fault: not isinstance(fault, GangBrokenError)):
            raise fault
        return [result for (result,) in results]  # type: ignore[misc]

    async def _on(self, actors: list[Any], method: str, *arguments: Any, deadline_s: float) -> list[Any]:
        if self._broken.done():
            raise self._broken.result()
        calls = [asyncio.ensure_future(call_rank(actor, method, arguments)) for actor in actors]
        try:
            done, pending = await asyncio.wait(calls, timeout=deadline_s, return_when=asyncio.FIRST_EXCEPTION)
            faults = [call.exception() for call in calls if call in done and call.exception()]
            if pending and not faults:
                raise GangBrokenError("timeout", f"{method}: no answer within {deadline_s:.0f} s")
            if faults and not isinstance(faults[0], GangBrokenError) and pending:
                await asyncio.wait(pending, timeout=_AGREE_S)
            faults = [call.exception() for call in calls if call.done() and call.exception()]
            if faults:
                raise verdict(method, faults, len(actors))
            return [call.result() for call in calls]
        finally:
            for call in calls:
                call.cancel()

    async def traffic(self) -> list[Traffic]:
        """Of each with stores, since this was called last; a rank that hangs is not waited for."""
        calls = [asyncio.ensure_future(call_rank(actor, "traffic", ())) for actor in self._actors]
        done, late = await asyncio.wait(calls, timeout=_TRAFFIC_S)
        for call in late:
            call.cancel()
        return [call.result() for call in done if call.exception() is None]

    async def _watch(self, number: int) -> None:
        """A rank that dies between calls is noticed at once, not by the next clip."""
        try:
            await self._actors[number].watch.remote()
        except RayError as error:
            await self.end(GangBrokenError("gang", f"rank {number} died: {first_line(error)}"))

    def watch_no_more(self) -> None:
        """Others have taken their place."""
        for watcher in self._watchers:
            watcher.cancel()

    async def end(self, reason: GangBrokenError) -> None:
        """The gang is broken: kill every rank, and return when they are gone."""
        if self._broken.done():
            return
        self._broken.set_result(reason)
        log.error("the gang breaks (%s): %s", reason.failure_class, reason)
        for actor in self._actors:
            ray.kill(actor, no_restart=True)
        await asyncio.to_thread(await_end, self.processes, 0.0)
