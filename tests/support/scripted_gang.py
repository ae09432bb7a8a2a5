"""A leader whose ranks do what a test says: its own code and its crew's, without Ray, a model or a store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cosmos_ray.clip.checks import Looked, Scores
from cosmos_ray.clip.request import VIEWS, ClipRequest
from cosmos_ray.config import GangConfig
from cosmos_ray.gang import crew, leader, ranks
from cosmos_ray.gang.commit import Made
from cosmos_ray.gang.deadline import Pace
from cosmos_ray.gang.leader import GangLeader
from cosmos_ray.gang.prepare import Prepared
from cosmos_ray.gang.processes import GangInfo, RankProcess
from cosmos_ray.gang.rank import DenoiseReport, Published
from cosmos_ray.gang.ready import Ready
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.step_checkpoint import StepCheckpoint
from cosmos_ray.ledger.record import FileEntry
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.traffic import Traffic
from support.stand_in_actors import Actor
from support.waiting import PATIENCE_S

NODE = "1" * 56
SCORES = Scores(0, 0, 0, 0, 9.0)
#: What a rank does in place of what it does here; given its number first.
Does = Callable[..., Awaitable[Any]]


def in_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a test's coroutine."""
    asyncio.run(asyncio.wait_for(work(), PATIENCE_S))


def clip(clip_id: str = "a", **changes: Any) -> Clip:
    return replace(Clip(clip_id, clip_id, ("A street.",), n_views=2, seed=4, row_hash="row", num_steps=4), **changes)


@dataclass
class ScriptedRank:
    """Of view `number`. Whatever it measures is larger the higher its number is, or the lower: see `denoise`."""

    number: int
    does: dict[str, Does]
    told: list[Any]

    async def _do(self, method: str, *given: Any) -> Any:
        self.told.append((method, self.number, *given))
        return await self.does[method](self.number, *given) if method in self.does else None

    async def process(self) -> tuple[int, str]:
        await self._do("process")
        return 100 + self.number, f"began {self.number}"

    async def prepare(self, spec: GangSpec, is_spare: bool = False) -> dict[str, float]:
        await self._do("prepare", spec, is_spare)
        return {"imports": 2.0 - self.number}

    async def open_store(self) -> int:
        await self._do("open_store")
        return 4321

    async def load(self, spec: GangSpec, port: int) -> dict[str, float]:
        await self._do("load", spec, port)
        return {"network": 5.0 + self.number, f"only {self.number}": 1.0}

    async def kernels(self) -> str:
        await self._do("kernels")
        return f"kernels of {self.number}"

    async def take_up(self, spec: GangSpec) -> None:
        await self._do("take_up", spec)

    async def embed(self, *given: Any) -> Any:
        return await self._do("embed", *given)

    async def denoise(self, *given: Any) -> DenoiseReport:
        await self._do("denoise", *given)
        return DenoiseReport(8.0 + self.number, 0.25 + self.number / 4, 0, 999 + self.number)

    async def publish(self, clip_id: str, place: str, folder: str, fps: int) -> Published:
        await self._do("publish", clip_id, place, folder, fps)
        view = VIEWS[self.number]
        entry = FileEntry(view, f"{folder}/{view}.mp4", 1, "0")
        looked = Looked(SCORES, np.full((2, 44, 76, 3), 90 + self.number, np.uint8))
        seconds = {"decode": 1.0 + self.number, "encode": 3.0 - self.number}
        return Published([entry], {view: looked}, seconds, {view: self.number} if self.number else {})

    async def step(self) -> int:
        await self._do("step")
        return 3 + self.number

    async def watch(self) -> None:
        await asyncio.Event().wait()

    async def traffic(self) -> Traffic:
        await self._do("traffic")
        return Traffic(10 ** (self.number + 1), 2, 3)


class Kept:
    """A delivery that stores nothing and keeps what it was given."""

    def __init__(self) -> None:
        self.made_ones: list[tuple[str, Made, str]] = []
        self.dropped: list[str] = []

    async def found(self, clip: Clip) -> Any:
        return None

    async def place(self, clip: Clip, attempt: int) -> str:
        return f"place of {clip.id}.{attempt}"

    async def drop(self, place: str) -> None:
        self.dropped.append(place)

    async def made(self, place: str, made: Made, mark: str = "") -> Any:
        self.made_ones.append((place, made, mark))
        return SimpleNamespace(seconds=made.seconds)


class Gang:
    """ranks: every actor that was made; told: what they were, in order; ended: processes that were waited for, with the
    patience; looked_at: outputs, and the epochs of leases there; killed: in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int = 2, **changes: Any) -> None:
        self.does: dict[str, Does] = {}
        self.told: list[Any] = []
        self.ranks: list[Actor] = []
        self.names: list[str] = []
        self.ended: list[Any] = []
        self.killed: list[Actor] = []
        self.removed: list[StepCheckpoint] = []
        self.looked_at: list[tuple[str, int]] = []
        self.checkpoint: StepCheckpoint | None = None
        self.packed: Any = None
        self.is_heard_dying = True
        monkeypatch.setattr(crew, "rank_actor", SimpleNamespace(options=self._options))
        monkeypatch.setattr(leader, "log_as", lambda name: None)
        monkeypatch.setattr(leader, "ray", self)
        monkeypatch.setattr(ranks, "ray", self)
        monkeypatch.setattr(ranks, "_AGREE_S", PATIENCE_S)
        monkeypatch.setattr(leader, "Delivery", lambda storage, spec: Kept())
        for module in (leader, ranks):
            monkeypatch.setattr(module, "await_end", lambda processes, *more: self.ended.append(([*processes], *more)))
        monkeypatch.setattr(leader, "await_output", lambda storage, epoch: self.looked_at.append((storage.uri, epoch)))
        monkeypatch.setattr(leader, "remove_state", lambda storage, checkpoint: self.removed.append(checkpoint))
        settings = GangConfig(**changes.pop("settings", {}))
        bundle = load_bundle(changes.pop("model", "fake"))
        self.spec = GangSpec(bundle, size, "cpu", "float32", str(tmp_path / "out"), 1, settings, **changes)
        self.leader = GangLeader("gang-0001", self.spec)
        self.kept: Any = self.leader._delivery
        self.leader._preparation = SimpleNamespace(ready=self._ready)  # type: ignore[assignment]

    def _options(self, name: str, **_: Any) -> Any:
        def remote(rank: int, size: int) -> Actor:
            self.names.append(name)
            self.ranks.append(Actor(ScriptedRank(rank, self.does, self.told)))
            return self.ranks[-1]

        return SimpleNamespace(remote=remote)

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: NODE)

    def put(self, value: Any) -> Any:
        return ("shared", value)

    def kill(self, rank: Actor, no_restart: bool) -> None:
        assert no_restart
        self.killed.append(rank)
        if self.is_heard_dying:
            rank.die()

    async def _ready(self, clip: Clip, attempt: int) -> Ready:
        self.told.append(("ready", clip.id, attempt))
        if "ready" in self.does:
            await self.does["ready"](0)
        request = ClipRequest(clip.id, clip.prompts, "", clip.n_views, 0, clip.seed, 0.0, clip.num_steps)
        return Ready(Prepared(request, ()), request, ("doubtful",), self.checkpoint, self.packed)

    async def start(self, *predecessors: RankProcess, pace: Pace | None = None) -> GangInfo:
        return await self.leader.start(list(predecessors), pace or Pace())

    def calls(self, *methods: str) -> list[Any]:
        return [call for call in self.told if call[0] in methods]
