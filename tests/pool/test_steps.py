"""Where gangs are is asked again and again; a gang that does not answer hides no other. No Ray is started."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from support.waiting import PATIENCE_S

from cosmos_ray.gang.clip_progress import At
from cosmos_ray.pool import steps
from cosmos_ray.pool.steps import Steps

AT = At("a", 3, 20, 1.0)


def gang(answer: At | Exception | None) -> Any:
    async def at() -> At | None:
        if isinstance(answer, Exception):
            raise answer
        if answer is not None and answer.clip == "hangs":
            await asyncio.Event().wait()
        return answer

    return SimpleNamespace(leader=SimpleNamespace(at=SimpleNamespace(remote=at)))


def test_gangs_that_come_and_go_while_they_are_asked_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_EVERY_S", 0.0)
    gangs: dict[str, Any] = {}
    changes = iter(range(1000))

    async def at() -> At:
        gangs.pop("two", None)
        gangs[f"new-{next(changes)}"] = gang(None)
        return AT

    gangs |= {"one": SimpleNamespace(leader=SimpleNamespace(at=SimpleNamespace(remote=at))), "two": gang(AT)}
    found = Steps({})

    async def watch() -> None:
        task = asyncio.create_task(found.follow(lambda: gangs))
        while next(changes) < 20:
            assert not task.done(), task.exception()
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(asyncio.wait_for(watch(), PATIENCE_S))
    assert found.at == {"one": AT}


def test_gangs_that_denoise_a_clip_tell_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_EVERY_S", 0.01)
    monkeypatch.setattr(steps, "_PATIENCE_S", 0.05)
    mute = gang(At("hangs", 0, 1, None))
    gangs = {"one": gang(AT), "between": gang(None), "dead": gang(ActorDiedError()), "mute": mute}
    found = Steps({})

    async def watch() -> None:
        task = asyncio.create_task(found.follow(lambda: gangs))
        while "one" not in found.at:
            await asyncio.sleep(0.01)
        assert found.as_json() == {"one": {"clip": "a", "step": 3, "steps": 20, "left_s": 1.0}}
        del gangs["one"]
        while found.at:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(watch(), PATIENCE_S))
