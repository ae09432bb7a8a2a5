"""A gang's clips on their way into the store, beside what it denoises. No Ray."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from cosmos_ray.gang.commit import Made, record_of, sidecar_of
from cosmos_ray.gang.previews import previews_in
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.waiting import Waiting, WaitingRoom, deliver, forget
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.store.storage import Storage

log = logging.getLogger(__name__)

#: A clip that has not been stored after this time waits for the store.
_WAITS_S = 1.0


class StoreOutError(Exception):
    """A clip that is made could not be stored for as long as a job is patient. It waits on the node's disk."""


class Delivery:
    """Of one gang's clips. To be made in its event loop."""

    def __init__(self, storage: Storage, spec: GangSpec) -> None:
        self._storage, self._spec = storage, spec
        self._room = WaitingRoom(spec.output)
        self._room.sweep()
        settings = spec.settings
        self._threads = ThreadPoolExecutor(settings.clips_in_flight + settings.clips_waiting, "delivery")
        self._waiting = 0
        self._changed = asyncio.Event()

    async def place(self, clip: Clip, attempt: int) -> str:
        """A folder of this node for the videos of an attempt."""
        return str(await asyncio.to_thread(self._room.place, clip, attempt))

    async def drop(self, place: str) -> None:
        """The videos in `place` are not wanted."""
        await asyncio.to_thread(forget, Path(place))

    async def found(self, clip: Clip) -> Record | None:
        """The record of a clip that was made here already and waited; None if there is none."""
        waiting = await asyncio.to_thread(self._room.find, clip, self._spec.standard)
        if waiting is None:
            return None
        log.info("%s: attempt %d had made it already, it waited here", clip.id, waiting.record.attempt)
        return await self._deliver(waiting)

    async def made(self, place: str, made: Made, mark: str = "") -> Record:
        """The record of a clip whose videos are all in `place`. mark: that its attempt has still to make."""
        spec = self._spec
        clip = made.clip
        previews = await asyncio.to_thread(previews_in, place, clip.id, made.attempt, clip.cameras, clip.fps)
        made = replace(made, previews=previews)
        waiting = Waiting(Path(place), sidecar_of(spec, made), record_of(spec, made), spec.standard, mark)
        await asyncio.to_thread(self._room.keep, waiting)
        return await self._deliver(waiting, is_new=True)

    async def _deliver(self, waiting: Waiting, is_new: bool = False) -> Record:
        work = partial(deliver, self._storage, waiting, self._spec.epoch, self._spec.patience_s, is_new)
        delivering = asyncio.get_running_loop().run_in_executor(self._threads, work)
        done, _ = await asyncio.wait({delivering}, timeout=_WAITS_S)
        if not done:
            self._count(1)
        try:
            record = await delivering
        except OSError as error:
            raise StoreOutError(f"{type(error).__name__}: {error}") from error
        finally:
            if not done:
                self._count(-1)
        await asyncio.to_thread(forget, waiting.folder)
        return record

    def _count(self, more: int) -> None:
        self._waiting += more
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def waiting(self, known: int) -> int:
        """How many clips wait for the store; answers once that is not `known`."""
        while self._waiting == known:
            await self._changed.wait()
        return self._waiting
