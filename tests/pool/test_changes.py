"""Whoever waits for a change is woken by the next one, however others' waits end."""

from __future__ import annotations

import asyncio

import pytest
from support.waiting import PATIENCE_S

from cosmos_ray.pool.changes import Changes


def test_each_who_waits_is_woken_and_nobody_before() -> None:
    async def told() -> list[str]:
        changes, woken = Changes(), list[str]()

        async def wait(name: str) -> None:
            await changes.wait(PATIENCE_S)
            woken.append(name)

        changes.tell()  # to nobody, and no one's later wait ends by it
        waiting = [asyncio.create_task(wait(name)) for name in ("one", "two")]
        await asyncio.sleep(0.01)
        assert woken == []
        changes.tell()
        await asyncio.wait(waiting)
        return woken

    assert sorted(asyncio.run(told())) == ["one", "two"]


@pytest.mark.parametrize("ends", ["in time", "cancelled"])
def test_a_wait_that_ends_by_itself_ends_no_other(ends: str) -> None:
    async def told() -> None:
        changes = Changes()
        waiting = asyncio.create_task(changes.wait(PATIENCE_S))
        short = asyncio.create_task(changes.wait(0.001 if ends == "in time" else PATIENCE_S))
        await asyncio.sleep(0.01)
        if ends == "cancelled":
            short.cancel()
        await asyncio.gather(short, return_exceptions=True)
        changes.tell()
        assert (await asyncio.wait({waiting}, timeout=5.0))[0] == {waiting}

    asyncio.run(told())
