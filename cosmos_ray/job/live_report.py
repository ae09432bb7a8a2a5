"""Index, failures and page written again every few minutes while a job runs, beside it, in a thread of their own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from cosmos_ray.ledger.history import JobTook, write_job
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import Run
from cosmos_ray.output.derived import make
from cosmos_ray.store.storage import Storage

#: Seconds between two writings, or more: so much longer than one has taken that they cost the job little.
EVERY_S = 180.0
_SHARE = 20
#: So long a job that ends waits for a store to take what it took.
_LAST_S = 2.0


@contextlib.contextmanager
def live_report(storage: Storage, run: Run, took: Callable[[], JobTook], say: Callable[[str], None]) -> Iterator[None]:
    """While the body runs; what the job took is written at its end in any case. A writing that fails is said once, and
    tried again: the job goes on without.

    The body's end waits for a writing that is under way, or its files would be taken for those of nobody; a body that
    raises does not, since its process ends.
    """
    ended = threading.Event()
    writer = threading.Thread(target=_write_on, args=(storage, run, took, say, ended), name="report", daemon=True)
    writer.start()
    try:
        yield
        ended.set()
        writer.join()
    finally:
        ended.set()
        last = threading.Thread(target=_write_last, args=(storage, took()), daemon=True)
        last.start()
        last.join(_LAST_S)


def _write_last(storage: Storage, took: JobTook) -> None:
    with contextlib.suppress(OSError):
        write_job(storage, took)


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
            if not has_said:
                say(f"the report could not be written meanwhile: {type(error).__name__}: {error}")
            has_said = True
        wait_s = max(EVERY_S, _SHARE * (time.monotonic() - began))
