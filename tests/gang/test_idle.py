"""A rank's idle time by the host's clock; on GPUs events take its place, which benchmarks/pipeline.py runs."""

from __future__ import annotations

from typing import ClassVar

import pytest
from support.clock import Clock

from cosmos_ray.gang import idle as idle_module
from cosmos_ray.gang.idle import IdleClock


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


class Event:
    """Stands in for `torch.cuda.Event`: where the GPU is, in milliseconds, when the host's stream gets there."""

    gpu_ms = 0.0
    synchronized: ClassVar[list[float]] = []

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = Event.gpu_ms

    def synchronize(self) -> None:
        Event.synchronized.append(self.at)

    def elapsed_time(self, later: Event) -> float:
        assert Event.synchronized, "an event that has not happened has no time"
        return later.at - self.at


def test_on_a_gpu_it_is_its_own_time_in_seconds_and_not_the_hosts(time: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.Event", Event)
    clock = IdleClock("cuda")
    for loaded, worked, idle in ((250.0, 8000.0, 0.25), (2000.0, 500.0, 2.0)):
        Event.gpu_ms += loaded
        clock.work_begins()
        Event.gpu_ms += worked
        time.now += 1000
        assert clock.work_ends() == idle
        assert Event.synchronized.pop() == Event.gpu_ms, "all of the clip's work is done"
