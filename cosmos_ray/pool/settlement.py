"""The end of a clip: its record is committed, here for the failed ones, and what other attempts left is removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cosmos_ray.errors import Fault
from cosmos_ray.ledger.lease import check_epoch
from cosmos_ray.ledger.ledger import Ledger, Record
from cosmos_ray.ledger.record import now
from cosmos_ray.ledger.tidy import remove_other_attempts
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.workload import Work, Workload


class Settlement:
    """Settles clips in the ledger under the lease epoch `epoch`. `on_record` hears of each."""

    def __init__(
        self,
        ledger: Ledger,
        epoch: int,
        load: Workload,
        on_record: Callable[[Record], None],
        say: Callable[[str], None],
    ) -> None:
        self._ledger, self._epoch, self._load = ledger, epoch, load
        self._on_record, self._say = on_record, say

    async def finished(self, record: Record) -> None:
        """A gang has committed this record, so the job is well: clips that waited for that have failed."""
        await self._settled(record)
        for parked, fault in self._load.finished():
            await self.failed(parked, fault)

    async def after_fault(self, work: Work, fault: Fault) -> None:
        """An attempt has failed: the clip is tried again, parked, or recorded as failed."""
        if self._load.failed(work, fault):
            await self.failed(work, fault)
        else:
            self._say(f"{work.clip.id}: attempt {work.past_attempt} failed ({fault.failure_class}): {fault.message}")

    async def failed(self, work: Work, fault: Fault) -> None:
        """Commit the failure of a clip. It is the driver that speaks for clips whose gangs cannot."""
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
        )
        try:
            committed = await asyncio.to_thread(self._commit, record)
        except OSError as error:
            raise JobFailedError(f"the outcome of {clip.id} cannot be stored: {error}") from error
        await self._settled(committed)

    def _commit(self, record: Record) -> Record:
        check_epoch(self._ledger.storage, self._epoch)
        return self._ledger.commit(record)

    async def _settled(self, record: Record) -> None:
        if record.attempt > 1:
            await asyncio.to_thread(remove_other_attempts, self._ledger.storage, record, self._epoch)
        self._on_record(record)
