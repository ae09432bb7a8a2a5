"""The rank actors of one leader: those that work, and spares with everything imported that take their place.

A spare is a process on the leader's node that has loaded no model and touches no GPU. It dies with the leader, as ranks
do. Nobody watches it while it waits: one that has died or hangs is found out when it is needed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cosmos_ray.gang.rank import rank_actor
from cosmos_ray.gang.rank_calls import call_rank, rank_environments
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.verdict import GangBrokenError

#: How long spares that are needed may still take to import: a gang that is made anew takes no longer.
READY_S = 30.0


class Crew:
    """Of a leader on `node`."""

    def __init__(self, spec: GangSpec, node: str) -> None:
        self._spec, self._node = spec, node
        self._spares: list[Any] = []
        self._number = itertools.count()

    def take_up(self, spec: GangSpec) -> None:
        """Another job, for which the same ranks do."""
        self._spec = spec

    @property
    def has_spares(self) -> bool:
        return bool(self._spares)

    async def answers(self, within_s: float = READY_S) -> None:
        """Raises GangBrokenError unless every spare is alive and has imported what it is for within that time."""
        try:
            await asyncio.wait_for(asyncio.gather(*(call_rank(one, "process", ()) for one in self._spares)), within_s)
        except TimeoutError:
            raise GangBrokenError("gang", f"a spare rank does not answer within {within_s:g} s") from None

    def take(self, name: str) -> list[Any]:
        """Ranks for the gang of this name: the spares, or, without any, new ones."""
        ranks, self._spares = self._spares or self._made(f"{name}-rank"), []
        return ranks

    def keep_spares(self, name: str) -> None:
        """Make them ready beside what the gang does, if it is to have some and has none yet."""
        if self._spec.has_spares and not self._spares:
            self._spares = self._made(f"{name}-spare")
            for spare in self._spares:
                spare.prepare.remote(self._spec, is_spare=True)

    def _made(self, name: str) -> list[Any]:
        ranks, made = [], next(self._number)  # a leader that serves several jobs has gangs of one name more than once
        for number, environment in enumerate(rank_environments(self._spec)):
            options = {
                "scheduling_strategy": NodeAffinitySchedulingStrategy(self._node, soft=False),
                "runtime_env": {"env_vars": environment},
                "name": f"{name}{number}-{os.getpid()}-{made}",
            }
            ranks.append(rank_actor.options(**options).remote(number, self._spec.gang_size))
        return ranks
