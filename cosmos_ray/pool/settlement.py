"""The end of a clip: its record is committed, here for the failed ones, and what other attempts left is removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cosmos_ray.errors import Fault
from cosmos_ray.ledger.lease import check_epoch
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record, Try, now
from cosmos_ray.ledger.tidy import remove_other_attempts
from cosmos_ray.pool.health import patiently
from cosmos_ray.pool.workload import Work, Workload

#: An outcome that has not been stored after this time is stored beside what else there is to do.
_WAITS_S = 1.0
#: Outcomes that may wait for the store at a time, and how many are tried at a time.
_MOST, _AT_ONCE = 64, 8


class Settlement:
    """Settles clips in the ledger under the lease epoch `epoch`. `on_record` hears of each. patience_s: how long the
    store may be out."""

    def __init__(
        self,
        ledger: Ledger,
        epoch: int,
        load: Workload,
        on_record: Callable[[Record], None],
        say: Callable[[str], None],
        patience_s: float,
    ) -> None:
        self._ledger, self._epoch, self._load = ledger, epoch, load
        self._on_record, self._say, self._patience_s = on_record, say, patience_s
        self._threads = ThreadPoolExecutor(_AT_ONCE, "settlement")
        self.storing: set[asyncio.Task[None]] = set()

    async def finished(self, record: Record) -> None:
        """A gang has committed this record, so the job is well: clips that waited for that have failed."""
        await self._settled(record)
        for parked, fault in self._load.finished():
            await self.failed(parked, fault)

    async def after_fault(self, work: Work, fault: Fault, tries: tuple[Try, ...] = ()) -> None:
        """An attempt has failed: the clip is tried again, parked, or recorded as failed."""
        if self._load.failed(work, fault):
            await self.failed(work, fault, tries)
        else:
            self._say(f"{work.clip.id}: attempt {work.past_attempt} failed ({fault.failure_class}): {fault.message}")

    async def failed(self, work: Work, fault: Fault, tries: tuple[Try, ...] = ()) -> None:
        """Commit the failure of a clip. It is the driver that speaks for clips whose gangs cannot.

        tries: as which it was made, if checks have failed it. While the store is out that goes on in the background
        (`storing`), and the job with it.
        """
        clip = work.clip
        record = Record(
            id=clip.id,
            generation=clip.generation,
            status="failed",
            failure_class=fault.failure_class,
            attempt=work.past_attempt,
            error=fault.message,
            row_hash=clip.row_hash,
            epoch=self._epoch,
            finished=now(),
            tries=tries,
        )
        storing = asyncio.create_task(self._store(record))
        self.storing.add(storing)
        await asyncio.wait({storing}, timeout=_WAITS_S)
        while len(self.storing) > _MOST:
            await asyncio.wait(self.storing, return_when=asyncio.FIRST_COMPLETED)
            self.check()
        self.check()

    def check(self) -> None:
        """Raises what has kept an outcome from being stored: JobFailedError, LeaseLost."""
        for storing in [one for one in self.storing if one.done()]:
            self.storing.remove(storing)
            storing.result()

    def close(self) -> None:
        """What is still tried is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _store(self, record: Record) -> None:
        await self._settled(await patiently(partial(self._commit, record), self._patience_s, self._threads))

    def _commit(self, record: Record) -> Record:
        check_epoch(self._ledger.storage, self._epoch)
        return self._ledger.commit(record)

    async def _settled(self, record: Record) -> None:
        if record.attempt > 1:
            await asyncio.to_thread(remove_other_attempts, self._ledger.storage, record, self._epoch)
        self._on_record(record)
