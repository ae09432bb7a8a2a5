"""Has a store that was out come back? Asked cheaply, again and again, so that its return is noticed within a second.

A quick question is given up after a second and asked again: what a store's client makes of a store that is out (tries
of its own, longer and longer pauses between them) would outlast the outage. A patient one beside it hears a store whose
every answer takes longer than that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from cosmos_ray.store.faults import with_os_errors

#: Between two questions.
PROBE_S = 0.5
#: What an answer may take, of a quick question and of a patient one.
QUICK_S, PATIENT_S = 1.0, 60.0


def answers(fs: Any, path: str, timeout_s: float, reads: bool = False) -> bool:
    """Asked once, without another try: does the store say anything of this object but that it is out?

    reads: its first byte is asked for, not only its size. A disk has no time limit.
    """
    limit = {"timeout": timeout_s} if getattr(fs, "async_impl", False) else {}
    try:
        with_os_errors(lambda: fs.cat_file(path, start=0, end=1, **limit) if reads else fs.info(path, **limit))
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    except Exception:  # noqa: BLE001 - whatever a store's library makes of it, it is no answer
        return False
    return True


def await_answer(ask: Callable[[float], bool], patience_s: float) -> bool:
    """Ask (each time for so many seconds at most) until there is an answer; False if none came in `patience_s`."""
    answered, until = threading.Event(), time.monotonic() + patience_s

    def go_on(limit_s: float) -> None:
        while not answered.is_set() and time.monotonic() < until:
            if ask(limit_s):
                answered.set()
            answered.wait(PROBE_S)

    threading.Thread(target=go_on, args=(PATIENT_S,), name="patient probe", daemon=True).start()
    go_on(QUICK_S)
    return answered.is_set()
