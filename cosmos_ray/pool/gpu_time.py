"""GPU time that a job's gangs hold, against what it may use. Plain data, no Ray."""

from __future__ import annotations

import time


class GpuTime:
    """Counts from the moment a gang has its GPUs until it gives them up, loading included: what a cloud would bill.

    A gang that waits for its GPUs costs nothing. On CPU gangs, a rank counts as a GPU. limit_hours None: no limit.
    """

    def __init__(self, gang_size: int, limit_hours: float | None) -> None:
        self._gang_size = gang_size
        self._limit_s = None if limit_hours is None else limit_hours * 3600
        self._since: dict[str, float] = {}
        self._given_back_s = 0.0

    def taken(self, gang: str) -> None:
        self._since[gang] = time.monotonic()

    def given_back(self, gang: str) -> None:
        """Nothing happens if it had none."""
        now = time.monotonic()
        self._given_back_s += now - self._since.pop(gang, now)

    @property
    def seconds(self) -> float:
        """GPU seconds until now, of gangs that are gone and gangs that are there."""
        now = time.monotonic()
        return (self._given_back_s + sum(now - since for since in self._since.values())) * self._gang_size

    @property
    def is_spent(self) -> bool:
        return self._limit_s is not None and self.seconds >= self._limit_s
