"""Running a coroutine to its end, also where a loop runs already: a notebook's cells are called by one; and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def run(work: Coroutine[None, None, None], interrupt: Callable[[], None]) -> None:
    """What `asyncio.run` does; in a thread of its own where this one's loop is running.

    interrupt: ends the work; called where a person interrupts the cell that waits for it. What the work raises then is
    raised, as a command's is that gets the signal itself.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1, "cosmos-ray-job") as thread:
        future = thread.submit(asyncio.run, work)
        try:
            future.result()
        except KeyboardInterrupt:
            interrupt()
            future.result()


async def detached(work: Callable[[], T]) -> T:
    """What `work` returns or raises, from a thread that neither the loop nor the process waits for at its end.

    asyncio waits for its own threads: where Ray has stopped answering one of them, a job that has failed would never
    end.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if found.done():
            return  # nobody waits for it any more
        if error is None:
            found.set_result(result)  # type: ignore[arg-type]
        else:
            found.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it is the caller's
            error = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="detached", daemon=True).start()
    return await found


def in_background(work: Callable[[], T]) -> Future[T]:
    """What `work` returns or raises, from a thread of its own."""
    pool = ThreadPoolExecutor(1, "cosmos-ray-background")
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future
