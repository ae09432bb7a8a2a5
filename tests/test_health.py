"""When a job pauses, when it stops, and which nodes it avoids."""

from __future__ import annotations

import asyncio

import pytest

from cosmos_ray import health as health_module
from cosmos_ray.config import BreakerConfig
from cosmos_ray.health import JobFailedError, JobHealth
from cosmos_ray.workload import Fault


class Clock:
    """Stands in for `time.monotonic`, so that minutes of faults take no time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health_module, "time", clock)
    return clock


def health(said: list[str] | None = None, **settings: float) -> JobHealth:
    return JobHealth(BreakerConfig.model_validate(settings), (said if said is not None else []).append)


def test_pauses_begin_with_the_third_fault_and_grow(clock: Clock) -> None:
    said: list[str] = []
    job = health(said, max_pause_s=5)
    for _ in range(6):
        job.count_fault(Fault("gang", "a rank died"))
    assert said == [f"{n} faults in a row: waiting {s} s" for n, s in ((3, 2), (4, 4), (5, 5), (6, 5))]
    assert job.pause == "gang: a rank died"
    clock.now += 5.1
    assert job.pause is None
    asyncio.run(job.wait_out_pause())


def test_faults_that_are_not_a_stores_are_counted(clock: Clock) -> None:
    job = health(max_consecutive_faults=4)
    for _ in range(3):
        job.count_fault(Fault("gang", "a rank died"))
    with pytest.raises(JobFailedError, match=r"4 faults in a row .* the last: model: NaN\. No row was failed"):
        job.count_fault(Fault("model", "NaN"))


def test_a_store_that_is_out_is_met_with_patience(clock: Clock) -> None:
    job = health(max_consecutive_faults=4, patience_s=900)
    for _ in range(89):
        job.count_fault(Fault("storage", "503"))
        clock.now += 10
    clock.now += 10
    with pytest.raises(JobFailedError, match="in 900 s, the last: storage: 503"):
        job.count_fault(Fault("storage", "503"))


def test_a_finished_clip_ends_the_row_of_faults_and_the_pause(clock: Clock) -> None:
    """A mixed stream, one bad row in three, never trips the breaker."""
    job = health(max_consecutive_faults=3)
    for _ in range(50):
        job.count_fault(Fault("model", "NaN"))
        job.count_fault(Fault("model", "NaN"))
        clock.now += 100
        job.clip_finished("node")
        assert job.pause is None


def test_two_gangs_lost_in_a_row_make_a_bad_node() -> None:
    said: list[str] = []
    job = health(said)
    job.strike("bad")
    job.strike("good")
    job.clip_finished("good")
    job.strike("good")
    assert job.nodes_to_avoid(["bad", "good"]) == []
    job.strike("bad")
    assert job.bad_nodes == job.nodes_to_avoid(["bad", "good"]) == ["bad"]
    assert said == ["node bad broke 2 gangs in a row: avoided while there are others"]
    assert job.nodes_to_avoid(["bad"]) == [], "a bad node is better than none"
    job.clip_finished("bad")
    assert job.nodes_to_avoid(["bad", "good"]) == []
