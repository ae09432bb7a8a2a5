"""Gangs that outlive a job: the next one, whose model is the same, takes them up loaded as they are."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Container, Iterator

import ray
from ray.exceptions import RayError

from cosmos_ray.config import GenerateConfig
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.pool.cluster import connect
from cosmos_ray.pool.watched import WatchedGang

#: A leader that has nothing to do answers at once; one that takes longer is stopped, or cut off.
ANSWERS_S = 60.0


class Resident:
    """Of jobs that come one after the other in one process, with the Ray that the first of them has joined or started.

    To be closed at their end.
    """

    def __init__(self) -> None:
        self._ray = contextlib.ExitStack()
        self._is_connected = False
        self._gangs: list[tuple[WatchedGang, GangSpec]] = []

    @contextlib.contextmanager
    def connected(self, bundle: Bundle, config: GenerateConfig) -> Iterator[tuple[str, int]]:
        """As `cluster.connect`; it stays connected."""
        if self._is_connected:
            with connect(bundle, config) as found:
                yield found
            return
        found = self._ray.enter_context(connect(bundle, config))
        self._is_connected = True
        yield found

    def keep(self, gang: WatchedGang, spec: GangSpec) -> None:
        self._gangs.append((gang, spec))

    async def take_up(self, name: str, spec: GangSpec, avoided: Container[str]) -> WatchedGang | None:
        """A gang that was kept, for a job of this spec; None if there is none. Those that hold another model, are on
        an `avoided` node, broke meanwhile or do not answer are given up.
        """
        while self._gangs:
            gang, before = self._gangs.pop()
            if before.loaded == spec.loaded and gang.info.node not in avoided:
                with contextlib.suppress(RayError, TimeoutError):
                    await asyncio.wait_for(gang.leader.stages.remote(), ANSWERS_S)
                    limit_s = spec.settings.load_timeout_s + ANSWERS_S  # the leader's own comes first
                    info = await asyncio.wait_for(gang.leader.take_up.remote(name, spec), limit_s)
                    return WatchedGang(name, gang.leader, info, time.monotonic())
            ray.kill(gang.leader)
        return None

    def close(self) -> None:
        for gang, _ in self._gangs:
            with contextlib.suppress(Exception):
                ray.kill(gang.leader)
        self._gangs.clear()
        self._ray.__exit__(*sys.exc_info())  # what ends the jobs is told to what they were connected by
