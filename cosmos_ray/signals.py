"""What tells a command to end (SIGTERM, SIGINT, SIGHUP): heard at once, whatever its main thread is in, and obeyed
within five seconds.

Python's own handlers run between two lines of the main thread, which may wait for minutes in a library's C code (Ray,
when its processes got the signal too) or at a store. Therefore a thread hears signals as well:

* the first one ends the command in good order: an exception in the main thread (`Interrupted`), or, while a job's loop
  runs, whatever the job does instead (`job`);
* when that has taken `GRACE_S`, the thread does what has to be done, says why, and ends the process;
* a second signal ends the process at once.

SIGHUP comes when a terminal is closed or an ssh session ends. A program that was told to ignore it (`nohup`) goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn

from cosmos_ray.foreign import shown, shown_traceback
from cosmos_ray.said import keep_standard_files, to_people, write_to_people

#: What an orderly end may take; and what has to be done without it.
GRACE_S, LAST_S = 3.0, 1.0
#: One stop may come as two signals: `timeout` sends it to the process and to its group.
_ONE_STOP_S = 0.2
_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal, where the main thread was when it came."""


@dataclass(frozen=True)
class _Job:
    """heard: told why, from the thread that hears signals; True if an end in good order is on its way. at_last: what
    must be done though it did not come. sweep: what must be done however soon this process ends."""

    heard: Callable[[str], bool]
    at_last: Callable[[], None]
    sweep: Callable[[], None]


def that_end() -> tuple[signal.Signals, ...]:
    """Signals that are to end this process in good order."""
    return tuple(n for n in _NUMBERS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN)


class _Signals:
    """Of this process. Made in its main thread."""

    def __init__(self) -> None:
        self.reason = ""
        self._job: _Job | None = None
        self._is_dealt_with = False
        self._told = threading.Lock()  # taken by who says the last word
        self._hears, writes = socket.socketpair()
        writes.setblocking(False)
        self._writes = writes  # kept open
        self._numbers = that_end()
        signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        self.take()

    def take(self) -> None:
        for number in self._numbers:
            signal.signal(number, self._in_main_thread)

    @contextlib.contextmanager
    def job(self, job: _Job) -> Iterator[None]:
        before, self._job = self._job, job
        try:
            yield
        finally:
            self._job = before

    def complain(self, message: str) -> None:
        """The last word, once."""
        if self.reason and not self._told.acquire(blocking=False):
            return
        if self.reason:  # not through a lock that another thread may hold
            write_to_people(f"cosmos-ray: {shown(message)}")
        else:
            _print(message)

    def _in_main_thread(self, number: int, frame: object) -> None:
        if not self._is_dealt_with and self._hear(number):
            # In a destructor, or in the middle of a library's import, it is lost, with a traceback for a last word.
            sys.unraisablehook = lambda _: None
            warnings.simplefilter("ignore")
            raise Interrupted(self.reason)

    def _hear(self, number: int) -> bool:
        """True where the main thread is to be interrupted. Called in both threads, whichever is first."""
        self.reason = self.reason or f"stopped by {signal.Signals(number).name}"
        job = self._job
        self._is_dealt_with = self._is_dealt_with or (job is not None and job.heard(self.reason))
        return not self._is_dealt_with

    def _listen(self) -> None:
        first_at = 0.0
        while True:
            for number in self._hears.recv(64):
                now = time.monotonic()
                if number not in self._numbers:
                    continue
                if not first_at:
                    first_at = now
                    self._hear(number)
                    threading.Thread(target=self._end_at_last, name="end", daemon=True).start()
                elif now - first_at > _ONE_STOP_S:
                    self._exit(f"ended at once by a second {signal.Signals(number).name}", self._job)

    def _end_at_last(self) -> None:
        time.sleep(GRACE_S)
        job = self._job
        if job is not None:
            last = threading.Thread(target=job.at_last, name="last", daemon=True)
            last.start()
            last.join(LAST_S)
        self._exit(f"{self.reason}; the same command goes on from here" if job else self.reason, job)

    def _exit(self, message: str, job: _Job | None) -> None:
        self.complain(message)
        try:
            if job is not None:
                job.sweep()
        finally:
            os._exit(1)


_signals: _Signals | None = None


def hear() -> None:
    """From here on signals end this process as said above. For programs, not for who imports this package."""
    global _signals
    if _signals is None:
        keep_standard_files()
        _signals = _Signals()
        sys.excepthook = _interrupted_is_no_error
        # Standard error is no file, or there is none.
        with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
            faulthandler.enable()  # where a library's own code has crashed is said, not that it did alone


def _interrupted_is_no_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Of a program that has no last line of its own for it."""
    if not issubclass(kind, KeyboardInterrupt):
        to_people(shown_traceback(error))
        return
    complain(reason() or "interrupted")
    leave(1)


def leave(code: int) -> NoReturn:
    """End the process. After a signal at once: nothing that a library does at exit is waited for. In any case before
    Python takes itself apart: it puts the system's own handlers back for that, and a signal would end a command that is
    done with another exit code, and without a word."""
    if not reason():
        with contextlib.suppress(KeyboardInterrupt):  # which atexit does not pass on
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        if reason():
            complain(reason())
            code = code or 1
    os._exit(_flushed(code))


def _flushed(code: int) -> int:
    """The exit code, if what was printed has arrived."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # who read it has had enough
        return code or 1
    except (OSError, ValueError) as error:
        complain(f"standard output could not be written: {error}")
        return code or 1
    return code


def are_heard() -> bool:
    """Whether this process is a command, which has its own answer to what ends it."""
    return _signals is not None


def reason() -> str:
    """`stopped by SIGTERM`; "" if no signal has come."""
    return _signals.reason if _signals else ""


def take_again() -> None:
    """Where a library has put handlers of its own in place (`ray.init` does). In the main thread."""
    if _signals is not None:
        _signals.take()


@contextlib.contextmanager
def job(heard: Callable[[str], bool], at_last: Callable[[], None], sweep: Callable[[], None]) -> Iterator[None]:
    """While this lasts, a signal is the job's: `heard` is told why, and says whether it ends itself in good order. If
    it does not, `at_last` is done, for a second at most; `sweep` is done before any end that is not in good order.
    One within another goes before it. Nothing of this where signals are the caller's own."""
    with _signals.job(_Job(heard, at_last, sweep)) if _signals else contextlib.nullcontext():
        yield


def complain(message: str) -> None:
    """One line on standard error, of a command that ends; after a signal the first one only."""
    if _signals is not None:
        _signals.complain(message)
    else:
        _print(message)


def _print(message: str) -> None:
    to_people(f"cosmos-ray: {shown(message)}")
