"""A rank's idle time by the host's clock; on GPUs events take its place, which benchmarks/pipeline.py runs."""

from __future__ import annotations

import time

from cosmos_ray.gang.idle import IdleClock


def test_idle_is_from_the_end_of_a_clips_work_to_the_beginning_of_the_nexts() -> None:
    clock = IdleClock("cpu")
    time.sleep(0.05)
    clock.work_begins()
    time.sleep(1.0)
    clock.work_begins()  # a later step of the same clip
    first = clock.work_ends()
    time.sleep(0.3)
    clock.work_begins()
    second = clock.work_ends()
    assert 0.05 <= first < 1.0
    assert 0.3 <= second < 1.0


def test_a_clip_that_never_began_is_idle_to_its_end() -> None:
    clock = IdleClock("cpu")
    time.sleep(0.1)
    assert clock.work_ends() >= 0.1
