"""How many gangs a job wants now, within MIN:MAX. Plain data, no Ray.

A gang takes minutes to come: a node may have to be started for it, and the model is loaded. It is worth that only if a
clip is left for it by then, which the gangs that are there have not begun meanwhile. Until a first gang and a first
clip were measured, every waiting clip is taken to be worth a gang.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Demand:
    """placing_s: a gang's wait for its GPUs, loading_s: for its model, both as measured last. clip_s: seconds that
    denoising a clip takes a gang, on average."""

    min_gangs: int
    max_gangs: int
    placing_s: float = 0.0
    loading_s: float = 0.0
    clip_s: float = 0.0
    _clips: int = 0

    def gang_came(self, placing_s: float, loading_s: float) -> None:
        self.placing_s, self.loading_s = placing_s, loading_s

    def clip_made(self, seconds: float) -> None:
        self._clips += 1
        self.clip_s += (seconds - self.clip_s) / self._clips

    def to_make(self, gangs_up: int, waiting: int) -> int:
        """How many gangs there should be in all, if a new one has to be placed and loaded first.

        gangs_up: loaded, at work. waiting: clips that no gang has taken.
        """
        return self._wanted(gangs_up, waiting, self.placing_s + self.loading_s)

    def to_keep(self, gangs_up: int, waiting: int) -> int:
        """How many of those asked for are still wanted, should their GPUs come now.

        Never less than `to_make`, so that a gang is not asked for and withdrawn by turns.
        """
        return self._wanted(gangs_up, waiting, self.loading_s)

    def _wanted(self, gangs_up: int, waiting: int, start_s: float) -> int:
        begun_by_then = math.floor(gangs_up * start_s / self.clip_s) if self.clip_s else 0
        worthwhile = max(0, waiting - begun_by_then)
        at_least = min(self.min_gangs, gangs_up + waiting)  # never more gangs than clips
        return min(self.max_gangs, max(at_least, gangs_up + worthwhile))
