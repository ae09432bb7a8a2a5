"""Attempts are marked in the ledger before they begin; while the store is out, they begin all the same. No Ray."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.pool.workload import Work

#: A mark that has not been made after this time is left to the gang, which makes it before it stores anything.
_WAITS_S = 1.0
#: As many marks are tried at a time; a store that does not answer holds these threads and no others.
_AT_ONCE = 8


class Marks:
    """Numbers attempts under the lease epoch `epoch`."""

    def __init__(self, ledger: Ledger, epoch: int) -> None:
        self._ledger, self._epoch = ledger, epoch
        self._threads = ThreadPoolExecutor(_AT_ONCE, "marks")

    async def begin(self, work: Work, gang: str) -> str:
        """Give `work` the number of an attempt that may start now. Returns the mark that it has still to make, "" if it
        is made."""
        mark = f"{self._epoch}/{gang}/{uuid.uuid4().hex}"
        make = partial(self._ledger.mark_attempt, work.clip.id, work.past_attempt + 1, mark)
        try:
            making = asyncio.get_running_loop().run_in_executor(self._threads, make)
            work.past_attempt = await asyncio.wait_for(making, _WAITS_S)
        except OSError:  # it took too long, or the store said why not
            work.past_attempt += 1
            return mark
        return ""

    def close(self) -> None:
        """What is still tried is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
