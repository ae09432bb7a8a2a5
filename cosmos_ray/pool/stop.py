"""What ends a job from outside, and how its work is cancelled then."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine

from cosmos_ray.errors import LeaseLost


class Stop:
    """A signal (SIGTERM as `ray job stop` sends it, SIGINT), or the loss of the lease."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reason: asyncio.Future[BaseException] | None = None
        self._lease_lost = False

    def lease_lost(self) -> None:
        """Called from the lease's thread."""
        self._lease_lost = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._set, LeaseLost("another job has taken this output over"))

    def interrupt(self) -> None:
        """Called from a thread that waits for the job, when a person stops it there."""
        from cosmos_ray.pool.health import JobFailedError

        if self._loop is not None:
            stopped = JobFailedError("interrupted; the same call goes on from here")
            self._loop.call_soon_threadsafe(self._set, stopped)

    def _set(self, reason: BaseException) -> None:
        if self._reason is not None and not self._reason.done():
            self._reason.set_result(reason)

    async def unless_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Run `work`; cancel it, let it clean up, and raise the reason when the job is stopped."""
        from cosmos_ray.pool.health import JobFailedError

        self._loop = asyncio.get_running_loop()
        self._reason = self._loop.create_future()
        if self._lease_lost:
            self._set(LeaseLost("another job has taken this output over"))
        for number in (signal.SIGTERM, signal.SIGINT):
            stopped = JobFailedError(f"stopped by {signal.Signals(number).name}; the same command goes on from here")
            with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: the caller's own signals
                self._loop.add_signal_handler(number, self._set, stopped)
        reason, task = self._reason, asyncio.create_task(work)
        reason.add_done_callback(lambda _: task.cancel())
        try:
            await task
        except asyncio.CancelledError:
            if reason.done():
                raise reason.result() from None
            raise
        finally:
            self._loop = None
