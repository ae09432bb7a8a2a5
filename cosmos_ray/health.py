"""Is the job well? What the pool remembers of faults that are not the rows' own."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable, Iterable

from cosmos_ray.config import BreakerConfig
from cosmos_ray.errors import CosmosRayError

#: Deaths of gangs in a row on one node, without a clip finished there, after which it is avoided.
NODE_STRIKES = 2
#: Faults in a row that are met without a pause.
_FREE_FAULTS = 2


class JobFailedError(CosmosRayError):
    """The job itself is ill: exit code 1. No row was turned `failed` by it."""


class JobHealth:
    """The circuit breaker of the job, and the nodes that gangs die on."""

    def __init__(self, config: BreakerConfig, say: Callable[[str], None]) -> None:
        self._config, self._say = config, say
        self._faults_in_a_row = 0
        self._strikes: collections.Counter[str] = collections.Counter()
        self._last_ok = 0.0

    def clip_finished(self, node: str | None) -> None:
        self._last_ok = time.monotonic()
        self._faults_in_a_row = 0
        if node:
            self._strikes[node] = 0

    def was_well_since(self, moment: float) -> bool:
        """Has a clip been finished after `moment` (time.monotonic)?"""
        return self._last_ok > moment

    async def count_fault(self, why: str) -> None:
        """One more fault that is not a row's own: wait, longer each time, then raise JobFailedError."""
        self._faults_in_a_row += 1
        if self._faults_in_a_row >= self._config.max_consecutive_faults:
            raise JobFailedError(
                f"{self._faults_in_a_row} faults in a row without a clip finished, the last: {why}. "
                "No row was failed because of them; the same command goes on from here."
            )
        if self._faults_in_a_row > _FREE_FAULTS:
            pause = min(self._config.max_pause_s, 2.0 ** (self._faults_in_a_row - _FREE_FAULTS))
            self._say(f"{self._faults_in_a_row} faults in a row: waiting {pause:.0f} s")
            await asyncio.sleep(pause)

    def strike(self, node: str) -> None:
        """A gang died on `node`."""
        self._strikes[node] += 1
        if self._strikes[node] == NODE_STRIKES:
            self._say(f"node {node[:8]} broke {NODE_STRIKES} gangs in a row: avoided while there are others")

    def nodes_to_avoid(self, alive: Iterable[str]) -> list[str]:
        """None of them if they are all bad: a bad node is better than no node."""
        nodes = set(alive)
        bad = sorted(node for node in nodes if self._strikes[node] >= NODE_STRIKES)
        return bad if len(bad) < len(nodes) else []
