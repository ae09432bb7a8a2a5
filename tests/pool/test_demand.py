"""How many gangs a job wants, and what the GPU time that they hold comes to: one test a rule, without Ray."""

from __future__ import annotations

import pytest

from cosmos_ray.pool import gpu_time as gpu_time_module
from cosmos_ray.pool.demand import Demand
from cosmos_ray.pool.gpu_time import GpuTime


def measured(
    gangs: tuple[int, int] = (1, 4), placing_s: float = 0, loading_s: float = 60, clip_s: float = 60
) -> Demand:
    demand = Demand(*gangs)
    demand.gang_came(placing_s, loading_s)
    demand.clip_made(clip_s)
    return demand


@pytest.mark.parametrize(("waiting", "wanted"), [(0, 0), (1, 1), (2, 2), (4, 4), (1000, 4)])
def test_at_first_a_clip_is_worth_a_gang(waiting: int, wanted: int) -> None:
    assert Demand(1, 4).to_make(0, waiting) == wanted
    assert Demand(0, 4).to_make(0, waiting) == wanted


def test_min_is_kept_only_while_there_are_clips_for_them() -> None:
    assert Demand(4, 4).to_make(0, 2) == 2
    assert Demand(4, 4).to_make(3, 0) == 3
    assert Demand(4, 4).to_make(3, 1) == 4


def test_a_tail_that_the_others_begin_before_a_gang_is_loaded_gets_none() -> None:
    """Three gangs begin three clips in the minute that a fourth takes to load."""
    assert measured().to_make(3, 3) == 3
    assert measured().to_make(3, 4) == 4


def test_a_slow_node_makes_gangs_dearer() -> None:
    """Ten minutes for a node: two gangs begin 22 clips by then."""
    slow = measured(placing_s=600)
    assert slow.to_make(2, 22) == 2
    assert slow.to_make(2, 23) == 3
    assert slow.to_make(2, 1000) == 4


def test_with_no_gang_left_any_clip_is_worth_one() -> None:
    assert measured(placing_s=600).to_make(0, 1) == 1


def test_min_is_wanted_whatever_their_start_costs() -> None:
    assert measured((4, 4), placing_s=600).to_make(2, 5) == 4


def test_a_gang_that_was_asked_for_is_kept_longer_than_one_would_be_asked_for() -> None:
    """Its node may be there any moment: what counts is the loading that is still to come."""
    slow = measured(placing_s=600)
    for waiting in range(30):
        assert slow.to_keep(2, waiting) >= slow.to_make(2, waiting)
    assert slow.to_make(2, 10) == 2
    assert slow.to_keep(2, 10) == 4
    assert slow.to_keep(2, 2) == 2


def test_clips_count_by_their_average() -> None:
    demand = measured(clip_s=10)
    demand.clip_made(110)
    assert demand.clip_s == 60


class Clock:
    """Stands in for `time.monotonic`."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


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
    clock.now += 100
    assert held.seconds == 8 * (200 + 200)
    assert not held.is_spent
    clock.now += 50
    assert held.is_spent
    assert not GpuTime(8, None).is_spent
