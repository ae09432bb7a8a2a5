"""Leaders of gangs without Ray: they answer as told, at once. What a pool does with them is seen in milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from cosmos_ray.gang.leader import Outcome
from cosmos_ray.gang.processes import GangInfo
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import placement, pool

#: What comes of one attempt: (gang, clip, attempt) to an outcome, or to what the leader raises.
Makes = Callable[["Leader", Clip, int], Awaitable[Outcome]]


async def makes_it(leader: Leader, clip: Clip, attempt: int) -> Outcome:
    return Outcome(
        Record(clip.id, 0, "ok", None, attempt, None, clip.row_hash, 1, gang=leader.name, seconds={"denoise": 1.0})
    )


class Leader:
    """One, and what it was told. breaks: the gang is gone, for the reason given."""

    def __init__(self, name: str, spec: Any, scene: Leaders, options: dict[str, Any]) -> None:
        self.name, self.spec, self.options, self.scene = name, spec, options, scene
        self.told: list[tuple[Any, ...]] = []
        self.is_killed = False
        self._broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self, f"_{name}"))

    def breaks(self, why: str) -> None:
        if not self._broken.done():
            self._broken.set_result(why)

    async def _node(self) -> str:
        return await self.scene.node(self)

    async def _start(self, dead: list[Any], pace: Any) -> GangInfo:
        self.told.append(("start", tuple(dead)))
        await self.scene.loads(self)
        return self._info()

    async def _renew(self, name: str, pace: Any) -> GangInfo:
        self.told.append(("renew", name))
        self.name = name
        self._broken = asyncio.get_running_loop().create_future()
        return self._info()

    async def _take_up(self, name: str, spec: Any) -> GangInfo:
        self.told.append(("take_up", name))
        self.name, self.spec = name, spec
        self._broken = asyncio.get_running_loop().create_future()
        return self._info()

    def _info(self) -> GangInfo:
        return GangInfo(f"node{self.name[-4:]}", (f"rank of {self.name}",), 2.0, {})  # type: ignore[arg-type]

    async def _run(self, clip: Clip, attempt: int, mark: str) -> Outcome:
        self.told.append(("run", clip.id, attempt))
        if self._broken.done():
            raise ActorDiedError
        return await self.scene.makes(self, clip, attempt)

    async def _until_broken(self) -> str:
        return await asyncio.shield(self._broken)

    async def _waiting(self, known: int) -> int:
        await asyncio.Event().wait()
        return known

    async def _stages(self) -> dict[str, int]:
        return {}

    async def _at(self) -> None:
        return None

    def _leave(self, notice_s: float | None) -> None:
        self.told.append(("leave", notice_s))


async def _at_once(leader: Leader) -> None:
    return None


async def _own_node(leader: Leader) -> str:
    return f"node{leader.name[-4:]}"


class Leaders:
    """All that a pool has made, in order. makes: what comes of attempts; loads: what loading does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, makes: Makes = makes_it) -> None:
        self.all: list[Leader] = []
        self.makes, self.loads, self.node = makes, _at_once, _own_node
        self.draining: dict[str, float] = {}
        self._options: dict[str, Any] = {}
        monkeypatch.setattr(placement, "leader_actor", self)
        monkeypatch.setattr(placement, "nodes_with", lambda *_: ["node0001", "other"])
        monkeypatch.setattr(pool, "draining_nodes", lambda: dict(self.draining))
        monkeypatch.setattr("ray.kill", lambda leader: setattr(leader, "is_killed", True))

    def options(self, **options: Any) -> Leaders:
        self._options = options
        return self

    def remote(self, name: str, spec: Any) -> Leader:
        self.all.append(Leader(name, spec, self, self._options))
        return self.all[-1]
