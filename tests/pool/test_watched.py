"""One gang as the pool sees it: how its end is noticed, and what came of its attempts. No Ray is started."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from cosmos_ray.errors import Fault, LeaseLost
from cosmos_ray.gang.leader import Outcome
from cosmos_ray.gang.processes import GangInfo
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import watched
from cosmos_ray.pool.watched import WatchedGang
from cosmos_ray.pool.workload import Work

DIED = "The actor died unexpectedly before finishing this task."


class Leader:
    """Answers as a leader's actor handle does: with what can be awaited. None: it never answers."""

    def __init__(self, until_broken: str | Exception | None, stages: dict[str, int] | Exception | None) -> None:
        self.until_broken = SimpleNamespace(remote=lambda: _answer(until_broken))
        self.stages = SimpleNamespace(remote=lambda: _answer(stages))
        self.told: list[float | None] = []
        self.leave = SimpleNamespace(remote=self.told.append)


async def _answer(value: Any) -> Any:
    if value is None:
        await asyncio.Event().wait()
    if isinstance(value, Exception):
        raise value
    return value


def gang_of(leader: Leader) -> WatchedGang:
    info: Any = None
    return WatchedGang("gang-0001", leader, info, since=0.0)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_PING_S", 0.01)


@pytest.mark.parametrize(
    ("leader", "reason"),
    [
        (Leader("rank 1 died", stages={}), "rank 1 died"),
        (Leader(ActorDiedError(), stages={}), DIED),
        (Leader(None, stages=None), "its leader does not answer"),
        (Leader(None, stages=ActorDiedError()), DIED),
    ],
    ids=["a-rank-died", "the-leader-died", "stopped-or-cut-off", "died-when-asked"],
)
def test_why_a_gang_is_gone(leader: Leader, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_PING_TIMEOUT_S", 0.1)
    assert asyncio.run(gang_of(leader).until_gone()) == reason


def test_a_gang_that_answers_is_watched_on_and_tells_its_stages() -> None:
    async def watch() -> dict[str, int]:
        gang = gang_of(Leader(None, stages={"denoising": 1}))
        watching = asyncio.create_task(gang.until_gone())
        while not gang.stages:
            await asyncio.sleep(0)
            assert not watching.done()
        watching.cancel()
        return gang.stages

    assert asyncio.run(watch()) == {"denoising": 1}


def test_a_gang_that_leaves_is_told_how_long_it_has() -> None:
    leader = Leader(None, stages={})
    gang = gang_of(leader)
    gang.leave("its node goes", 30.0)
    assert (gang.leaving, leader.told) == ("its node goes", [30.0])


def _task_error(cause: Exception) -> RayTaskError:
    return RayTaskError("run", "Traceback …", cause)


MADE = Outcome(fault=Fault("model", "NaN in the latents"))


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (MADE, MADE),
        (_task_error(RuntimeError("a bug\nand more")), Outcome(fault=Fault("internal", "a bug"))),
        (ActorDiedError(), Outcome(fault=Fault("gang", f"the gang died: {DIED}"), broken=True)),
        (TimeoutError("503"), Outcome(fault=Fault("storage", "TimeoutError: 503"))),
    ],
    ids=["as-the-leader-says", "an-error-of-its-code", "the-leader-died", "the-mark-could-not-be-stored"],
)
def test_what_came_of_an_attempt(answer: Outcome | Exception, outcome: Outcome) -> None:
    """It is told once; one that goes on is left alone."""

    async def tell() -> None:
        gang = gang_of(Leader(None, stages={}))
        ended, other = Work(Clip("a", "a"), 1), Work(Clip("b", "b"), 1)
        gang.running[asyncio.create_task(_answer(answer))] = ended
        gang.running[asyncio.create_task(_answer(None))] = other
        await asyncio.wait(gang.running, return_when=asyncio.FIRST_COMPLETED)
        assert list(gang.attempts_that_ended()) == [(ended, outcome)]
        assert list(gang.attempts_that_ended()) == []
        assert list(gang.running.values()) == [other]

    asyncio.run(tell())


def test_a_lost_lease_ends_the_job_and_not_the_clip() -> None:
    async def tell() -> None:
        gang = gang_of(Leader(None, stages={}))
        gang.running[asyncio.create_task(_answer(_task_error(LeaseLost("epoch 3"))))] = Work(Clip("a", "a"), 1)
        await asyncio.wait(gang.running)
        with pytest.raises(LeaseLost, match="epoch 3"):
            list(gang.attempts_that_ended())

    asyncio.run(tell())


def leaves(gang: WatchedGang, is_spent: bool = False, draining: dict[str, float] | None = None) -> list[str]:
    said: list[str] = []
    gang.leave_if_it_must(is_spent, draining or {}, said.append)
    return said


def test_a_gang_leaves_a_node_that_goes_and_a_job_without_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; in time if it is known how much there is."""
    monkeypatch.setattr(watched, "time", SimpleNamespace(time=lambda: 1000.0))
    drained = "gang-0001 leaves: node node is being drained"
    for is_spent, draining, why, notice_s, said in (
        (False, {"other": 1030.0}, "", [], []),
        (False, {"node": 1030.0}, "its node goes", [30.0], [f"{drained}, gone in 30 s"]),
        (False, {"node": 0.0}, "its node goes", [None], [drained]),
        (True, {"node": 1030.0}, "the budget is spent", [None], []),
    ):  # fmt: skip
        leader = Leader(None, stages={})
        gang = WatchedGang("gang-0001", leader, GangInfo("node", (), 1.0, {}), since=0.0)
        assert leaves(gang, is_spent, draining) == said
        assert (gang.leaving, leader.told) == (why, notice_s)
        if why:
            assert leaves(gang, True, {"node": 1.0}) == []
            assert (gang.leaving, leader.told) == (why, notice_s)


def test_clips_that_wait_for_the_store_are_counted_as_the_leader_says() -> None:
    """It is asked with what is known, and answers when that has changed."""
    asked: list[int] = []

    async def waiting(known: int) -> int:
        asked.append(known)
        if len(asked) > 2:
            await asyncio.Event().wait()
        return known + 2

    async def watch() -> int:
        leader = Leader(None, stages={})
        leader.waiting = SimpleNamespace(remote=waiting)  # type: ignore[attr-defined]
        gang = gang_of(leader)
        watching = asyncio.create_task(gang.until_gone())
        while len(asked) < 3:
            await asyncio.sleep(0)
        watching.cancel()
        return gang.waiting

    assert asyncio.run(watch()) == 4
    assert asked == [0, 2, 4]
