"""What ends a job from outside: its work is cancelled, cleans up, and the reason is raised."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from cosmos_ray.errors import LeaseLost
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.stop import Stop

_ALL = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


class Work:
    """Says when it has begun, goes on until it is cancelled, and then takes a moment to clean up."""

    def __init__(self, once_begun: Callable[[], None] = lambda: None) -> None:
        self._once_begun, self.has_begun, self.has_cleaned_up = once_begun, False, False

    async def run(self) -> None:
        self.has_begun = True
        self._once_begun()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            self.has_cleaned_up = True


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """As they were."""
    before = {number: signal.getsignal(number) for number in _ALL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_work_that_ends_by_itself_ends_quietly() -> None:
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    asyncio.run(Stop().unless_stopped(work()))
    assert done == [1]


def test_what_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        asyncio.run(Stop().unless_stopped(work()))


@pytest.mark.parametrize("number", _ALL)
def test_a_signal_ends_the_work_and_is_named(number: signal.Signals) -> None:
    work = Work(lambda: os.kill(os.getpid(), number))
    with pytest.raises(JobFailedError, match=f"^stopped by {number.name}; the same command goes on from here$"):
        asyncio.run(Stop().unless_stopped(work.run()))
    assert work.has_cleaned_up


def test_a_second_signal_changes_nothing() -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    work = Work(twice)
    with pytest.raises(JobFailedError, match="SIGTERM"):
        asyncio.run(Stop().unless_stopped(work.run()))
    assert work.has_cleaned_up


def test_the_first_reason_is_the_one_that_is_told() -> None:
    """However many come after it, before the work has begun or while it cleans up."""

    def both(stop: Stop) -> None:
        stop.lease_lost()
        stop.interrupt()

    before, meanwhile = Stop(), Stop()
    both(before)
    with pytest.raises(LeaseLost):
        asyncio.run(before.unless_stopped(Work().run()))
    with pytest.raises(LeaseLost):
        asyncio.run(meanwhile.unless_stopped(Work(lambda: both(meanwhile)).run()))


def test_who_stops_a_job_hears_whether_there_is_work_that_ends() -> None:
    """Else nobody will raise the reason, and a command ends by itself."""
    stop, heard = Stop(), []
    assert not stop._heard("stopped by SIGTERM"), "none has begun"
    other = Stop()
    with pytest.raises(JobFailedError, match="SIGINT"):
        asyncio.run(other.unless_stopped(Work(lambda: heard.append(other._heard("stopped by SIGINT"))).run()))
    assert heard == [True]
    assert not other._heard("stopped by SIGTERM"), "it is over"


def test_the_loss_of_the_lease_is_heard_from_its_thread() -> None:
    stop = Stop()
    work = Work(lambda: threading.Thread(target=stop.lease_lost).start())
    with pytest.raises(LeaseLost, match=r"^another job has taken this output over$"):
        asyncio.run(stop.unless_stopped(work.run()))
    assert work.has_cleaned_up


def test_a_lease_that_was_lost_before_the_work_began_ends_it_all_the_same() -> None:
    stop = Stop()
    stop.lease_lost()
    work = Work()
    with pytest.raises(LeaseLost, match=r"^another job has taken this output over$"):
        asyncio.run(stop.unless_stopped(work.run()))
    assert not work.has_begun or work.has_cleaned_up


def test_work_that_cancels_itself_was_not_stopped() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Stop().unless_stopped(work()))


def test_a_lease_that_is_lost_after_the_work_disturbs_nobody() -> None:
    stop = Stop()

    async def work() -> None:
        pass

    async def job() -> None:
        await stop.unless_stopped(work())
        stop.lease_lost()
        await asyncio.sleep(0)

    asyncio.run(job())


def test_in_a_thread_signals_are_the_callers_own() -> None:
    """As in a notebook: the work runs, and nothing is taken from the main thread."""
    before = signal.getsignal(signal.SIGTERM)
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    thread = threading.Thread(target=lambda: asyncio.run(Stop().unless_stopped(work())))
    thread.start()
    thread.join()
    assert done == [1]
    assert signal.getsignal(signal.SIGTERM) is before
