"""A gang that is up, its processes, named so that none is taken for another, and waiting until they are gone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass

from cosmos_ray.gang.process_log import in_words
from cosmos_ray.ledger.process import process_start

_GONE_S = 20.0


@dataclass(frozen=True)
class RankProcess:
    """A rank's process. start: when it began, as `process_start` has it: with that no other process is taken for it."""

    node: str
    pid: int
    start: str


@dataclass(frozen=True)
class GangInfo:
    """load_seconds: from having the GPUs; load_parts: the slowest rank's of each part; kernels: in words, or ""."""

    node: str
    ranks: tuple[RankProcess, ...]
    load_seconds: float
    load_parts: dict[str, float]
    kernels: str = ""

    def how_loaded(self) -> str:
        kernels = f"{self.kernels}; " if self.kernels else ""
        return f"{kernels}loaded in {self.load_seconds:.1f} s ({in_words(self.load_parts)})"


def await_end(processes: list[RankProcess], patience_s: float = _GONE_S / 2) -> None:
    """Return when the processes are gone; the ones that outlast `patience_s` (a stopped one does) are killed."""
    began = time.monotonic()
    while alive := [process for process in processes if process_start(process.pid) == process.start]:
        waited = time.monotonic() - began
        if waited > _GONE_S:
            raise RuntimeError(f"processes {[process.pid for process in alive]} do not end")
        if waited >= patience_s:
            for process in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.05)
