"""What a pool may have, and try."""

from __future__ import annotations

from dataclasses import dataclass

from cosmos_ray.config import BreakerConfig


@dataclass(frozen=True)
class PoolConfig:
    """expected_clips: how many the stream should bring, for the number of gangs to be right from the start."""

    min_gangs: int
    max_gangs: int
    clips_in_flight: int
    max_attempts: int
    breaker: BreakerConfig
    max_gpu_hours: float | None = None
    expected_clips: int = 0
