"""A job is run to its end where no loop runs and where one does, and a person can interrupt it there."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from cosmos_ray.job import in_loop


async def _tell(found: list[str]) -> None:
    await asyncio.sleep(0)
    found.append(threading.current_thread().name)


def test_work_runs_here_or_beside_a_running_loop() -> None:
    found: list[str] = []
    in_loop.run(_tell(found), lambda: None)

    async def cell() -> None:
        in_loop.run(_tell(found), lambda: None)

    asyncio.run(cell())
    assert found[0] == threading.current_thread().name
    assert found[1].startswith("cosmos-ray-job")


def test_what_the_work_raises_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("of the work")

    async def cell() -> None:
        in_loop.run(fail(), lambda: None)

    with pytest.raises(ValueError, match="of the work"):
        asyncio.run(cell())


def test_an_interrupt_ends_the_work_and_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work ends in its own way, and what it says then is what the cell raises."""
    stopped = threading.Event()
    asked: list[bool] = []

    async def work() -> None:
        await asyncio.to_thread(stopped.wait)
        raise RuntimeError("stopped in order")

    result = Future.result

    def interrupted(self: Future[None], timeout: float | None = None) -> None:
        if not asked:
            asked.append(True)
            raise KeyboardInterrupt
        return result(self, timeout)

    async def cell() -> None:
        monkeypatch.setattr(Future, "result", interrupted)
        in_loop.run(work(), stopped.set)

    with pytest.raises(RuntimeError, match="stopped in order"):
        asyncio.run(cell())


def test_a_detached_thread_gives_back_what_its_work_says() -> None:
    async def work() -> None:
        assert await in_loop.detached(lambda: 7) == 7
        with pytest.raises(KeyError):
            await in_loop.detached(lambda: {}["nothing"])

    in_loop.run(work(), lambda: None)


def test_a_thread_that_never_ends_holds_no_loop() -> None:
    """As asyncio's own do: a job failed, and its process waited for rows that Ray would never send."""
    never = threading.Event()

    async def work() -> None:
        asking = asyncio.create_task(in_loop.detached(never.wait))
        await asyncio.sleep(0)
        assert not asking.done()
        raise ValueError("the job failed")

    with pytest.raises(ValueError, match="the job failed"):
        in_loop.run(work(), lambda: None)
    assert not never.is_set()
    never.set()  # its loop is closed: nobody hears of it, and nothing breaks
