"""What ends a job from outside, and how its work is cancelled then."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator

from cosmos_ray import signals
from cosmos_ray.errors import LeaseLost
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.own_ray import end_what_is_left


class Stop:
    """A signal (SIGTERM as `ray job stop` sends it, SIGINT, SIGHUP), or the loss of the lease.

    on_stop: tells what is in flight, where the work takes too long to tell it itself.
    """

    def __init__(self) -> None:
        self.on_stop: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._why: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reason: asyncio.Future[BaseException] | None = None

    def lease_lost(self) -> None:
        """Called from the lease's thread."""
        self._stop(LeaseLost("another job has taken this output over"))

    def interrupt(self) -> None:
        """Called from a thread that waits for the job, when a person stops it there."""
        self._stop(JobFailedError("interrupted; the same call goes on from here"))

    @contextlib.contextmanager
    def heeds_signals(self, at_last: Callable[[], None]) -> Iterator[None]:
        """Within, a signal of a command ends the job as JobFailedError. at_last: see `signals.job`."""

        def last() -> None:
            self.on_stop()
            at_last()

        try:
            with signals.job(self._heard, last, end_what_is_left):
                yield
        except signals.Interrupted as error:
            raise JobFailedError(goes_on(str(error))) from None

    def _heard(self, reason: str) -> bool:
        return self._stop(JobFailedError(goes_on(reason)))

    def _stop(self, why: BaseException) -> bool:
        """True if work is under way that ends now."""
        with self._lock:
            self._why = self._why or why
            loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(self._set, self._why)
        return loop is not None

    def _set(self, reason: BaseException) -> None:
        if self._reason is not None and not self._reason.done():
            self._reason.set_result(reason)

    async def unless_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Run `work`; cancel it, let it clean up, and raise the reason when the job is stopped."""
        loop = asyncio.get_running_loop()
        self._reason = loop.create_future()
        with self._lock:
            self._loop = loop
            if self._why is not None:
                self._set(self._why)
        if not signals.are_heard():  # a program that imports this package
            for number in signals.that_end():
                why = f"stopped by {signal.Signals(number).name}"
                with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: the caller's own signals
                    loop.add_signal_handler(number, self._heard, why)
        reason, task = self._reason, asyncio.create_task(work)
        reason.add_done_callback(lambda _: task.cancel())
        try:
            await task
        except asyncio.CancelledError:
            if reason.done():
                raise reason.result() from None
            raise
        finally:
            with self._lock:
                self._loop = None


def goes_on(reason: str) -> str:
    """What the last word of a job says that is told to stop."""
    return f"{reason}; the same command goes on from here"
