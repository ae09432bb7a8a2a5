"""What a stop says is what the ledger then holds. Without Ray: gangs that end when they are told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.compaction_scenes import record

from cosmos_ray import signals
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import unfinished as module
from cosmos_ray.pool.unfinished import Unfinished
from cosmos_ray.pool.workload import Work
from cosmos_ray.store.storage import Storage


@dataclass
class Gang:
    """Commits some of its clips on its way out."""

    name: str
    ends: Callable[[], None]
    running: dict[Any, Work]
    is_stopped: bool = False
    asked: list[str] = field(default_factory=list)

    async def until_gone(self) -> str:
        await asyncio.sleep(0)
        self.ends()
        return "killed"


class Told:
    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(Storage(str(folder)))
        self.said: list[str] = []
        self.heard: list[Record] = []
        self.unfinished = Unfinished(self.ledger, self.heard.append, self.said.append)

    def gang(self, *ids: str, ends: Callable[[], None] = lambda: None) -> Any:
        return Gang(f"gang-{ids[0]}", ends, {one: Work(Clip(one, one), past_attempt=1) for one in ids})

    def stop(self, *gangs: Any) -> None:
        for gang in gangs:
            self.unfinished.add(gang)
        asyncio.run(self.unfinished.tell())


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_a_clip_that_is_committed_while_its_gang_is_killed_is_no_unfinished_one(told: Told) -> None:
    told.stop(
        told.gang("a", "b", "c", ends=lambda: told.ledger.commit(record("b"))),
        told.gang("d", ends=lambda: told.ledger.commit(record("d", "oom"))),
    )
    assert told.said == ["gang-a is stopped in the middle of a (attempt 1), c (attempt 1)"]
    assert [one.id for one in told.heard] == ["b", "d"]


def test_the_record_of_an_earlier_generation_is_none(told: Told) -> None:
    told.ledger.commit(record("a", "oom"))
    gang = told.gang("a")
    gang.running["a"] = Work(Clip("a", "a", generation=1), past_attempt=2)
    told.stop(gang)
    assert told.said == ["gang-a is stopped in the middle of a (attempt 2)"]


def test_a_gang_that_does_not_end_and_a_store_that_is_out_are_not_waited_for(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GONE_S", 0.05)
    monkeypatch.setattr(module, "_LOOK_S", 0.05)
    gang, ends = told.gang("a"), threading.Event()
    gang.until_gone = lambda: asyncio.sleep(3600)
    monkeypatch.setattr(told.ledger.storage, "read_many", lambda paths: ends.wait(300))
    told.stop(gang)
    ends.set()
    doubt = ": those that were committed at last, the next run finds"
    assert told.said == [f"gang-a is stopped in the middle of a (attempt 1){doubt}"]


def test_a_stop_is_told_before_it_is_ended_from_outside() -> None:
    assert module._GONE_S + module._LOOK_S < signals.GRACE_S


def test_each_gang_is_told_of_once_also_where_it_has_to_be_at_once(told: Told) -> None:
    first, second = told.gang("a"), told.gang("b")
    told.unfinished.add(first)
    told.unfinished.tell_at_once([first, second])
    asyncio.run(told.unfinished.tell())
    assert [line.split(":")[0] for line in told.said] == [
        "gang-a is stopped in the middle of a (attempt 1)", "gang-b is stopped in the middle of b (attempt 1)",
    ]  # fmt: skip


def test_gangs_without_a_clip_are_not_told_of(told: Told) -> None:
    gang = told.gang("a")
    gang.running.clear()
    told.stop(gang)
    assert told.said == []
