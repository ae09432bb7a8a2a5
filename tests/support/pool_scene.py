"""A pool whose leaders are no actors (`support.leaders`), from its first clip to its last, and what was heard of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cosmos_ray.config import BreakerConfig, GangConfig
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool.pool import GangPool
from cosmos_ray.pool.pool_config import PoolConfig
from cosmos_ray.pool.resident import Resident
from cosmos_ray.store.storage import Storage
from support.leaders import Leader, Leaders


class Metrics:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self.told.append((name, *values))

    async def keep(self, levels: Any) -> None:
        await asyncio.Event().wait()

    def of(self, name: str) -> list[Any]:
        return [values[0] for called, *values in self.told if called == name and values]


class Scene:
    """A pool of gangs of two CPU ranks, and what was heard of it."""

    def __init__(self, folder: Path, spares: str = "never", resident: Resident | None = None, **config: Any) -> None:
        self.records: list[Record] = []
        self.said: list[str] = []
        self.metrics = Metrics()
        settings = GangConfig(spare_ranks=spares, placement_timeout_s=5.0)
        spec = GangSpec(load_bundle("fake"), 2, "cpu", "reference", str(folder), 1, settings)
        asked = {"min_gangs": 1, "max_gangs": 1, "clips_in_flight": 3, "max_attempts": 3, **config}
        self.pool = GangPool(
            spec,
            Ledger(Storage(str(folder))),
            PoolConfig(breaker=BreakerConfig(), **asked),
            lambda clip_id: 0,
            self.records.append,
            self.metrics,  # type: ignore[arg-type]
            self.said.append,
            resident,
        )

    def run(self, *names: str) -> None:
        async def clips() -> AsyncIterator[Clip]:
            for name in names:
                yield Clip(name, name, num_steps=2, n_views=1, error="no prompt" if name.startswith("bad") else None)

        async def job() -> None:
            try:
                await self.pool.run(clips())
            finally:
                for _ in range(20):
                    await asyncio.sleep(0)
                assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing goes on when it has ended"

        asyncio.run(job())

    def outcomes(self) -> list[tuple[str, str, int, str | None]]:
        return sorted((one.id, one.status, one.attempt, one.gang) for one in self.records)

    def leaves_nothing(self, leaders: Leaders, kept: tuple[Leader, ...] = ()) -> None:
        """All that a pool holds is given back, whatever its end."""
        assert [leader.is_killed for leader in leaders.all] == [leader not in kept for leader in leaders.all]
        assert (self.pool._up, self.pool._nodes, self.pool._gpu_time._since) == ({}, {}, {})
        assert not self.pool._settlement.storing
        assert not self.pool._changed._waiters, "nobody waits for what is over"
        assert self.metrics.told[-1][0] == "sample", "the last state is told too"
