"""Running a coroutine to its end, also where a loop runs already: a notebook's cells are called by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor


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
