"""A rank's idle time by the host's clock; on GPUs events take its place, which benchmarks/pipeline.py runs."""

from __future__ import annotations

import pytest

from cosmos_ray.gang import idle as idle_module
from cosmos_ray.gang.idle import IdleClock


class Clock:
    """Stands in for `time.monotonic`."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(idle_module, "time", clock)
    return clock


def test_idle_is_from_the_end_of_a_clips_work_to_the_beginning_of_the_nexts(time: Clock) -> None:
    clock = IdleClock("cpu")
    time.now += 0.25
    clock.work_begins()
    time.now += 8
    clock.work_begins()  # a later step of the same clip
    time.now += 8
    assert clock.work_ends() == 0.25
    time.now += 2
    clock.work_begins()
    time.now += 8
    assert clock.work_ends() == 2


def test_a_clip_that_never_began_is_idle_to_its_end(time: Clock) -> None:
    clock = IdleClock("cpu")
    time.now += 3
    assert clock.work_ends() == 3
    assert clock.work_ends() == 0
