"""How long a job still takes: the plain rule, with the clock of a job that is imagined."""

from __future__ import annotations

import heapq
import random

import pytest

from cosmos_ray.pool.forecast import Forecast


def job(
    gangs: int, clips: int, clip_s: float, start_s: float, jitter: float, seed: int
) -> list[tuple[float, str, float]]:
    """(when, gang, seconds of denoising) of each clip's end. Gangs come up one after the other and load for `start_s`;
    a gang's first clip takes longer, for it is prepared before anything is under way."""
    draw = random.Random(seed)
    free = [(start_s + number * min(0.2 * start_s, 3 * clip_s), f"gang-{number:04d}") for number in range(gangs)]
    heapq.heapify(free)
    ends, first = [], {name for _, name in free}
    for _ in range(clips):
        at, name = heapq.heappop(free)
        seconds = clip_s * draw.uniform(1 - jitter, 1 + jitter)
        end = at + seconds + (0.3 * clip_s if name in first else 0.0)
        first.discard(name)
        ends.append((end, name, seconds))
        heapq.heappush(free, (end, name))
    return sorted(ends)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("gangs", "clips"), [(1, 30), (2, 40), (3, 100), (8, 200)])
@pytest.mark.parametrize(("clip_s", "start_s"), [(240.0, 600.0), (2.0, 300.0), (960.0, 20.0)])
def test_from_the_fifth_clip_a_gang_on_it_is_right_within_a_tenth(
    gangs: int, clips: int, clip_s: float, start_s: float, seed: int
) -> None:
    """However long gangs took to come, in proportion to a clip. (The last clip of all is a matter of seconds.)"""
    ends = job(gangs, clips, clip_s, start_s, 0.03, seed)
    names = {name for _, name, _ in ends}
    last = ends[-1][0]
    forecast, made = Forecast(), dict.fromkeys(names, 0)
    told = 0
    for number, (now, name, seconds) in enumerate(ends, start=1):
        forecast.finished(name, now, seconds)
        made[name] += 1
        if min(made.values()) >= 5 and number < len(ends) - gangs:
            found = forecast.seconds_left(len(ends) - number, names, now)
            assert found == pytest.approx(last - now, rel=0.1), f"after {number} clips"
            told += 1
    assert told >= 10


def test_start_up_is_in_no_forecast() -> None:
    """An hour of waiting and loading, clips of a minute: from the first clip on it is minutes."""
    forecast = Forecast()
    assert forecast.seconds_left(10, ["a"], 3600.0) is None
    forecast.finished("a", 3700.0, 60.0)
    assert forecast.seconds_left(10, ["a"], 3700.0) == pytest.approx(600.0)


def test_between_two_clips_it_runs_down() -> None:
    forecast = Forecast()
    for now in (0.0, 60.0):
        forecast.finished("a", now, 60.0)
    assert [forecast.seconds_left(3, ["a"], now) for now in (60.0, 90.0, 119.0)] == [180.0, 150.0, 121.0]
    assert forecast.seconds_left(3, ["a"], 150.0) == 120.0, "a clip that is late ends now at the earliest"


def test_it_follows_gangs_that_come_and_go() -> None:
    forecast = Forecast()
    for now in (0.0, 60.0):
        forecast.finished("a", now, 60.0)
    assert forecast.seconds_left(10, ["a", "b"], 60.0) == 300.0, "one that has made nothing is as fast as the others"
    assert forecast.seconds_left(10, ["b"], 60.0) == 600.0
    assert forecast.seconds_left(10, [], 60.0) is None
    assert forecast.clips_per_hour(["a", "b"]) == 120.0
    assert forecast.clips_per_hour([]) is None


def test_the_last_clips_of_gangs_are_told_one_by_one() -> None:
    """Two gangs and three clips take two rounds, not one and a half; the slower gang does not get the last one."""
    forecast = Forecast()
    for name, period in (("a", 60.0), ("b", 100.0)):
        for number in range(3):
            forecast.finished(name, number * period, period)
    assert forecast.seconds_left(3, ["a", "b"], 200.0) == pytest.approx(100.0)


def test_a_million_clips_are_told_from_the_rate() -> None:
    forecast = Forecast()
    for now in (0.0, 60.0):
        forecast.finished("a", now, 60.0)
    assert forecast.seconds_left(10**6, ["a"], 60.0) == pytest.approx(60.0 * 10**6)


def test_by_hand_from_a_clip_to_the_next() -> None:
    """Of one gang that takes 4 s, then 6 s a clip; of two, of which one has made nothing yet."""
    forecast = Forecast()
    assert (forecast.seconds_left(3, ["a"], 0), forecast.seconds_left(0, ["a"], 0)) == (None, 0.0)
    assert forecast.clips_per_hour(["a"]) is None
    forecast.finished("a", 10, 4)
    assert forecast.clips_per_hour(["a"]) == 900
    assert [forecast.seconds_left(clips, ["a"], 10) for clips in (1, 2, 3)] == [4, 8, 12]
    assert [forecast.seconds_left(1, ["a"], now) for now in (12, 14, 20)] == [2, 0, 0], "it is late, not early"
    assert forecast.seconds_left(2, ["a"], 20) == 4
    assert [forecast.seconds_left(clips, ["a", "new"], 11) for clips in (1, 2, 3)] == [3, 4, 7]
    assert forecast.clips_per_hour(["a", "new"]) == 1800
    forecast.finished("a", 16, 3)
    assert (forecast.clips_per_hour(["a"]), forecast.seconds_left(1, ["a"], 16)) == (600, 6)
    forecast.finished("b", 16, 3)
    assert [forecast.seconds_left(clips, ["a", "b"], 16) for clips in (1, 2, 3, 4)] == [3, 6, 6, 9]
    assert forecast.seconds_left(3000, ["a", "b"], 16) == pytest.approx(6000)
    assert forecast.clips_per_hour(["new"]) == pytest.approx(3600 / 4.5), "the mean of those that are gone"
    assert forecast.seconds_left(3, [], 16) is None


def test_a_pace_is_that_of_the_last_twenty_clips() -> None:
    forecast = Forecast()
    for number in range(30):
        forecast.finished("a", 1000.0 * number, 1000)
    for number in range(20):
        forecast.finished("a", 30_000 + number, 1)
    assert forecast.clips_per_hour(["a"]) == 3600
