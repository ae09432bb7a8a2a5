"""What a stop finds unfinished. It is told when the gangs are gone, as the ledger has it then: a gang may commit a clip
while it is being stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record, record_path
from cosmos_ray.pool.watched import WatchedGang
from cosmos_ray.pool.workload import Work

#: Seconds that killed gangs, and then the ledger, are waited for.
_GONE_S, _LOOK_S = 1.0, 1.0


class Unfinished:
    """on_record hears of clips that were committed at last."""

    def __init__(self, ledger: Ledger, on_record: Callable[[Record], None], say: Callable[[str], None]) -> None:
        self._ledger, self._on_record, self._say = ledger, on_record, say
        self._gangs: list[WatchedGang] = []

    def add(self, gang: WatchedGang) -> None:
        """One that is stopped, and about to be killed."""
        self._gangs.append(gang)

    async def tell(self) -> None:
        """Of all that were added and are killed now. Takes two seconds at most."""
        gangs = [gang for gang in self._gangs if gang.running and not gang.is_stopped]
        if not gangs:
            return
        going = [asyncio.create_task(gang.until_gone()) for gang in gangs]
        await asyncio.wait(going, timeout=_GONE_S)
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
        committed = await self._committed([work for gang in gangs for work in gang.running.values()])
        for gang in gangs:
            self._tell_of(gang, committed)

    def tell_at_once(self, up: Iterable[WatchedGang]) -> None:
        """Of these too, without a look at the ledger. From any thread, when a stop takes too long."""
        for gang in [*self._gangs, *up]:
            self._tell_of(gang, None)

    async def _committed(self, works: list[Work]) -> dict[str, Record] | None:
        """The records of those that have one, by the clip's id; None if the store does not say.

        Each is an object yet: who moves records into parts has not heard of them.
        """
        paths = {record_path(work.clip.id, work.clip.generation): work.clip.id for work in works}
        thread = ThreadPoolExecutor(1, "unfinished")
        try:
            reading = asyncio.get_running_loop().run_in_executor(thread, self._ledger.storage.read_many, paths)
            found = await asyncio.wait_for(reading, _LOOK_S)
            return {paths[path]: Record.from_json(data) for path, data in found.items()}
        except (OSError, ValueError, TimeoutError):
            return None
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    def _tell_of(self, gang: WatchedGang, committed: dict[str, Record] | None) -> None:
        if gang.is_stopped:
            return
        gang.is_stopped = True
        works, known = list(gang.running.values()), committed or {}
        for work in works:
            if work.clip.id in known:
                self._on_record(known[work.clip.id])
        left = ", ".join(f"{one.clip.id} (attempt {one.past_attempt})" for one in works if one.clip.id not in known)
        if left:
            doubt = "" if committed is not None else ": those that were committed at last, the next run finds"
            self._say(f"{gang.name} is stopped in the middle of {left}{doubt}")
