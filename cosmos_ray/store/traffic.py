"""What this process exchanges with stores and disks: `storage` counts it, `metrics` hears of it through the driver.

Plain numbers of this process, without Ray: a rank's are taken by its leader after each attempt at a clip, the leader's
and the ranks' together go to the driver with the attempt's outcome.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Traffic:
    """read, written: bytes that arrived. retries: requests made again after a fault that may pass."""

    read: int = 0
    written: int = 0
    retries: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.read + other.read, self.written + other.written, self.retries + other.retries)


_lock = threading.Lock()
_untold = Traffic()


def count(read: int = 0, written: int = 0, retries: int = 0) -> None:
    """Add to what this process has exchanged."""
    global _untold
    with _lock:
        _untold += Traffic(read, written, retries)


def take() -> Traffic:
    """What was counted since this was called last. One taker a process: what it loses is lost."""
    global _untold
    with _lock:
        taken, _untold = _untold, Traffic()
    return taken
