"""A gang that broke and is made again where it was, or is not. Its leader is stood in for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from cosmos_ray.gang.deadline import Pace
from cosmos_ray.gang.processes import GangInfo
from cosmos_ray.pool import renewal
from cosmos_ray.pool.renewal import renewed
from cosmos_ray.pool.watched import WatchedGang

OLD = GangInfo("node", (), 20.0, {})
NEW = GangInfo("node", (), 6.0, {"network": 0.9}, "FA3, fused")


async def here() -> str:
    return "node"


async def never() -> Any:
    await asyncio.Event().wait()


def outcome(
    renew: Callable[[], Coroutine[Any, Any, Any]],
    node: Callable[[], Coroutine[Any, Any, Any]] = here,
    limit_s: float = 0.2,
    is_idle: Callable[[], bool] = lambda: False,
) -> tuple[WatchedGang | None, list[str]]:
    """What comes of a gang whose leader answers so, and what is said."""
    asked: list[tuple[str, Pace]] = []

    def remote(name: str, pace: Pace) -> Coroutine[Any, Any, Any]:
        asked.append((name, pace))
        return renew()

    leader = SimpleNamespace(node=SimpleNamespace(remote=node), renew=SimpleNamespace(remote=remote))
    said: list[str] = []
    broken = WatchedGang("gang-0001", leader, OLD, 0.0)

    async def job() -> WatchedGang | None:
        renewal = await renewed(broken, "gang-0002", Pace(3.0), limit_s, is_idle, said.append)
        for _ in range(5):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "what is given up is waited for by nobody"
        return renewal

    found = asyncio.run(job())
    assert asked in ([], [("gang-0002", Pace(3.0))])
    return found, said


def test_it_is_another_gang_under_the_same_leader() -> None:
    async def renew() -> GangInfo:
        return NEW

    found, (line,) = outcome(renew)
    assert found is not None
    assert (found.name, found.info, found.leaving, found.running) == ("gang-0002", NEW, "", {})
    assert found.since > 0.0, "it is on its node since it was made again: who breaks then breaks anew"
    assert line == (
        "gang-0002 is up in the place of gang-0001, of ranks that were kept ready, FA3, fused; "
        "loaded in 6.0 s (network 0.9 s)"
    )


def test_without_spares_it_is_made_anew_and_nothing_is_said() -> None:
    async def renew() -> None:
        return None

    assert outcome(renew) == (None, [])


def test_a_leader_that_fails_or_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped one would hold the job, and its GPUs, for as long as a model may take to load."""
    monkeypatch.setattr(renewal, "_ANSWERS_S", 0.1)

    async def fails() -> None:
        raise ActorUnavailableError("it is unwell", b"1" * 16)

    async def works() -> GangInfo:
        return NEW

    for renew, node in ((fails, here), (never, here), (works, never)):
        found, (line,) = outcome(renew, node)
        assert found is None
        assert line.startswith("gang-0001 is not made again where it was: ")
        assert not line.endswith(": ")


def test_a_job_that_is_done_waits_for_no_spares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other gangs have made the last clip meanwhile: one that hangs while it loads would hold the job's end."""
    monkeypatch.setattr(renewal, "_LOOKS_S", 0.01)
    looks: list[bool] = []

    def is_idle() -> bool:
        looks.append(len(looks) >= 2)
        return looks[-1]

    assert outcome(never, limit_s=900.0, is_idle=is_idle) == (None, [])
    assert looks == [False, False, True]


def test_loading_has_the_time_that_loading_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that of an answer."""
    monkeypatch.setattr(renewal, "_ANSWERS_S", 0.02)

    async def slowly() -> GangInfo:
        await asyncio.sleep(0.1)
        return NEW

    assert outcome(slowly, limit_s=900.0)[0] is not None
    assert outcome(slowly, limit_s=0.02)[0] is None
