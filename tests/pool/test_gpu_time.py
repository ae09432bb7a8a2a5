"""What the GPU time that a job's gangs hold comes to."""

from __future__ import annotations

import pytest
from support.clock import Clock

from cosmos_ray.pool import gpu_time as gpu_time_module
from cosmos_ray.pool.gpu_time import GpuTime


def test_gpu_time_counts_from_the_gpus_to_their_release(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(gpu_time_module, "time", clock)
    held = GpuTime(gang_size=8, limit_hours=1)
    held.given_back("never-placed")
    held.taken("a")
    clock.now += 100
    held.taken("b")
    clock.now += 100
    held.given_back("a")
    held.given_back("a")
    clock.now += 100
    assert held.seconds == 8 * (200 + 200)
    assert not held.is_spent
    clock.now += 50
    assert held.is_spent, "an hour of a GPU is 450 s of eight"
    held.given_back("b")
    clock.now += 1000
    assert held.seconds == 8 * (200 + 250)
    assert not GpuTime(8, None).is_spent
