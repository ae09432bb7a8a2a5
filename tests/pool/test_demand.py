"""How many gangs a job wants: one test a rule, without Ray."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_ray.pool.demand import Demand


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


def test_a_clip_that_is_begun_only_later_is_left_for_a_new_gang() -> None:
    """A gang of 45 s a clip has begun one more in a minute, and not the second."""
    assert measured(clip_s=45).to_make(1, 1) == 1
    assert measured(clip_s=45).to_make(1, 2) == 2
    assert measured(clip_s=61).to_make(1, 1) == 2


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
    demand.clip_made(30)
    assert demand.clip_s == 50


def test_the_last_start_is_what_the_next_one_is_taken_to_cost() -> None:
    demand = measured(placing_s=600, loading_s=60)
    demand.gang_came(30, 30)
    assert demand.to_make(2, 3) == 3, "two gangs begin two clips in a minute"
    assert demand.to_keep(2, 2) == 3, "and one in the half minute of loading"


_seconds = st.floats(0, 5000)
_demands = st.builds(
    lambda low, more, placing_s, loading_s, clip_s: measured((low, low + more), placing_s, loading_s, clip_s),
    *(st.integers(0, 6), st.integers(1, 6), _seconds, _seconds, st.floats(0.01, 5000)),
)


@settings(max_examples=200)
@given(_demands, st.integers(0, 12), st.integers(0, 40))
def test_demand_grows_with_the_clips_that_wait_and_never_beyond_them(demand: Demand, up: int, waiting: int) -> None:
    up = min(up, demand.max_gangs)
    wanted = demand.to_make(up, waiting)
    assert up <= wanted <= min(demand.max_gangs, up + waiting)
    assert wanted >= min(demand.min_gangs, up + waiting)
    assert wanted <= demand.to_keep(up, waiting)
    assert wanted <= demand.to_make(up, waiting + 1) <= wanted + max(1, demand.min_gangs)
    dearer = Demand(demand.min_gangs, demand.max_gangs, demand.placing_s + 1, demand.loading_s + 1, demand.clip_s)
    assert dearer.to_make(up, waiting) <= wanted
