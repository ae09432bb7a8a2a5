"""Index, failures and page written again every few minutes while a job runs, beside it, in a thread of their own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from cosmos_ray.ledger.history import JobTook, write_job
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import Run
from cosmos_ray.output.derived import make
from cosmos_ray.store.faults import explain, explain_store
from cosmos_ray.store.storage import Storage

#: Seconds between two writings, or more: so much longer than one has taken that they cost the job little.
EVERY_S = 180.0
_SHARE = 20
#: So long a job that ends waits for a store to take what it took.
_LAST_S = 2.0


class _HasEndedError(Exception):
    """Of the job: its end writes everything anyway."""


class _WhileItRuns(Storage):
    """The output as long as the job runs: a writing that is under way at its end goes no further than its next file."""

    def __init__(self, uri: str, ended: threading.Event) -> None:
        super().__init__(uri)
        self._ended = ended

    def _at(self, path: str) -> tuple[Any, str]:
        if self._ended.is_set():
            raise _HasEndedError
        return super()._at(path)


@contextlib.contextmanager
def live_report(storage: Storage, run: Run, took: Callable[[], JobTook], say: Callable[[str], None]) -> Iterator[None]:
    """While the body runs; what the job took is written at its end in any case. A writing that fails is said once, and
    tried again: the job goes on without, and ends as it would.

    The body's end waits for the file that is being written, or it would be taken for nobody's; a body that raises does
    not, since its process ends.
    """
    ended = threading.Event()
    writer = threading.Thread(
        target=_write_on, args=(_WhileItRuns(storage.uri, ended), run, took, say, ended), name="report", daemon=True
    )
    writer.start()
    try:
        yield
        ended.set()
        writer.join()
    finally:
        ended.set()
        last = threading.Thread(target=_write_last, args=(storage, took), daemon=True)
        last.start()
        last.join(_LAST_S)


def _write_last(storage: Storage, took: Callable[[], JobTook]) -> None:
    with contextlib.suppress(Exception):  # a report can do without it, and nothing here may end a job
        write_job(storage, took())


def _write_on(
    storage: Storage, run: Run, took: Callable[[], JobTook], say: Callable[[str], None], ended: threading.Event
) -> None:
    wait_s, has_said = EVERY_S, False
    while not ended.wait(wait_s):
        began = time.monotonic()
        try:
            write_job(storage, took())
            make(storage, run, Ledger(storage).state())
        except Exception as error:  # noqa: BLE001 - nothing here may end a job
            if not has_said and not ended.is_set():
                with contextlib.suppress(Exception):  # nor what it is said to
                    say(f"the report could not be written meanwhile: {_in_words(error)}")
            has_said = True
        wait_s = max(EVERY_S, _SHARE * (time.monotonic() - began))


def _in_words(error: Exception) -> str:
    """With the way out where it is the disk's."""
    return explain_store(error) if getattr(error, "errno", None) is not None else explain(error)
