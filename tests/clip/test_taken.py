"""Which frames are taken, by numbers alone: the instants, the nearest frames, and what is said of them."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_ray.clip.taken import (
    are_first,
    are_last,
    first_frames,
    first_warnings,
    gap_warnings,
    how_taken,
    numbered_frames,
    start_warnings,
    take_first,
    take_frames,
    timing_warnings,
)
from cosmos_ray.errors import RowError


def at(*seconds: float) -> np.ndarray:
    return np.array(seconds)


def every(rate: float, count: int) -> np.ndarray:
    return np.arange(count) / rate


def test_of_two_frames_as_near_the_earlier_one_is_taken() -> None:
    """Instants 0.1, 0.4, 0.7, 1: 0.1 and 0.7 lie in the middle of two frames."""
    assert take_frames([every(5, 6)], ["rear"], 4, 10 / 3).tolist() == [[0, 2, 3, 5]]


def test_a_thousandth_of_a_frame_is_no_distance() -> None:
    """0.2 is 0.05 from 0.25 and two hundred thousandths more from 0.14998; 0.3 is in the middle of 0.25 and 0.35."""
    taken = take_frames([every(10, 4), at(0, 0.14998, 0.25, 0.35)], ["front_wide", "rear"], 2, 10)
    assert taken.tolist() == [[2, 3], [1, 2]]


def test_in_a_gap_the_frame_before_it_is_held_as_players_do() -> None:
    """As a telephone leaves it where nothing moves, and a cut without decoding. 0.6 and 0.7 are gone."""
    gap = np.delete(every(10, 10), (6, 7))
    taken = take_frames([gap, every(10, 10)], ["a", "b"], 5, 10)
    assert taken.tolist() == [[5, 5, 5, 6, 7], [5, 6, 7, 8, 9]]
    held = "no frame between 0.5 and 0.8 s, where the one before is held"
    assert gap_warnings([gap, every(10, 10)], taken, ["a", "b"], 10) == [("a", held)]
    first = take_first([gap], ["a"], 9, 10)
    assert first.tolist() == [[0, 1, 2, 3, 4, 5, 5, 5, 6]]
    assert gap_warnings([gap], first, ["a"], 10, from_first=True) == [("a", held)]
    wide = at(0, 0.1, 0.2, 0.3, 2.3, 2.4, 2.5, 2.6, 4)
    taken = take_frames([wide], ["a"], 5, 1)
    assert taken.tolist() == [[0, 3, 4, 7, 8]], "2 is within half a second of the frame at 2.3, 1 of none"


def test_a_frame_that_is_held_once_is_said_too() -> None:
    """1.9 lies in the gap, 2 to 2.3 do not; and the single instant of a clip, where another view ends, does."""
    gap = np.delete(every(10, 24), range(14, 20))
    taken = take_frames([gap], ["a"], 5, 10)
    assert taken.tolist() == [[13, 14, 15, 16, 17]]
    assert gap_warnings([gap], taken, ["a"], 10) == [
        ("a", "no frame between 1.3 and 2 s, where the one before is held")
    ]
    views = [gap, every(10, 17)]
    taken = take_frames(views, ["a", "b"], 1, 10)
    assert taken.tolist() == [[13], [16]]
    assert [view for view, _ in gap_warnings(views, taken, ["a", "b"], 10)] == ["a"]
    slow = [every(2, 9), every(30, 100)]
    assert gap_warnings(slow, take_frames(slow, ["a", "b"], 1, 10), ["a", "b"], 10) == [], "as near as its rate lets it"


def test_one_frame_that_is_the_nearest_of_two_instants_is_said() -> None:
    """Between which it lies, where a camera's clock is not quite steady."""
    unsteady = at(0, 0.1, 0.2, 0.3, 0.4, 0.549, 0.6495, 0.7505, 0.85, 0.95)
    others = every(10, 10)
    taken = take_frames([others, unsteady], ["rear", "front_wide"], 3, 10)
    assert taken.tolist() == [[7, 8, 9], [6, 7, 8]]
    taken = take_frames([others[:8], unsteady], ["rear", "front_wide"], 2, 10)
    assert taken.tolist() == [[6, 7], [6, 6]]
    said = gap_warnings([others[:8], unsteady], taken, ["rear", "front_wide"], 10)
    assert said == [("front_wide", "no frame between 0.6495 and 0.7505 s, where the one before is held")]


def test_where_a_gap_ends_the_nearest_frame_is_taken() -> None:
    assert take_frames([at(0, 0.1, 0.2, 0.44, 0.5)], ["a"], 3, 10).tolist() == [[2, 3, 4]]
    assert take_frames([at(0, 0.1, 0.2, 0.46, 0.5)], ["a"], 3, 10).tolist() == [[2, 2, 4]]


def test_a_camera_that_takes_fewer_frames_than_the_row_asks_for_is_refused() -> None:
    with pytest.raises(RowError, match=r"view a: found 9 frames \(1\.8 s at 5 a second\), expected at least 5"):
        take_frames([every(5, 9)], ["a"], 5, 10)
    assert take_frames([every(2, 9)], ["a"], 1, 10).tolist() == [[8]]


def test_a_view_may_begin_half_a_frame_late_and_no_more() -> None:
    assert take_frames([at(0, 0.1, 0.2, 0.3, 0.37)], ["rear"], 5, 10).tolist() == [[0, 1, 2, 3, 4]]
    with pytest.raises(
        RowError, match=r"found 5 frames .*, expected at least 5 at the row's 10 a second, over 0.4 s, back"
    ):
        take_frames([at(0, 0.03, 0.14, 0.24, 0.34)], ["rear"], 5, 10)


def test_of_several_views_that_are_too_short_the_shortest_is_named() -> None:
    with pytest.raises(RowError, match=r"^view rear: found 1 frame \(0.1 s at 10 a second\)"):
        take_frames([every(10, 2), every(10, 1)], ["front_wide", "rear"], 5, 10)


def test_frames_as_they_are_are_the_last_ones() -> None:
    assert take_frames([every(30, 5), every(7, 3)], ["a", "b"], 3, None).tolist() == [[2, 3, 4], [0, 1, 2]]
    with pytest.raises(RowError, match=r"^view b: found 3 frames, expected at least 4$"):
        take_frames([every(30, 5), every(7, 3)], ["a", "b"], 4, None)


def test_numbered_frames_are_taken_whatever_the_rate() -> None:
    assert numbered_frames(16, "a", 5, 3, 3).tolist() == [3, 6, 9, 12, 15]
    assert numbered_frames(88, "a", 29, 3, 3).tolist() == list(range(3, 88, 3))
    with pytest.raises(RowError, match="view a: found 15 frames, expected at least 16"):
        numbered_frames(15, "a", 5, 3, 3)


def test_first_frames_are_taken_from_the_first_on_up_to_half_a_frame_beyond_the_last() -> None:
    assert take_first([every(30, 9), every(10, 3)], ["a", "b"], 3, 10).tolist() == [[0, 3, 6], [0, 1, 2]]
    assert take_first([every(10, 5)], ["a"], 5, 9).tolist() == [[0, 1, 2, 3, 4]]
    assert take_first([at(0)], ["a"], 1, 10).tolist() == [[0]]
    for seconds, rate in ((every(10, 4), 1 / 0.12), (every(10, 3), 10)):
        with pytest.raises(RowError, match=r"view a: found .* at 10 a second\), expected at least 4"):
            take_first([seconds], ["a"], 4, rate)
    with pytest.raises(RowError, match=r"over 0\.2 s from the first on, none twice"):
        take_first([every(5, 9)], ["a"], 3, 10)


def test_of_a_multiple_of_the_rows_rate_every_so_manieth_frame_is_taken() -> None:
    assert first_frames(7, "a", 3, 30, 10).tolist() == [0, 3, 6]
    assert first_frames(3, "a", 3, 9.95, 10).tolist() == [0, 1, 2]
    with pytest.raises(RowError, match="found 6 frames, expected at least 7, for 3 at the row's 10 a second"):
        first_frames(6, "a", 3, 30, 10)
    for rate in (25, 28, 3, 0.05, 30.4):
        with pytest.raises(RowError, match="expected a multiple of the row's 10"):
            first_frames(100, "a", 3, rate, 10)


def test_cameras_whose_rate_is_no_multiple_are_named() -> None:
    rates = {"a": 30, "b": 25, "c": 29.97, "d": 5, "e": 9.95, "f": 30.4}
    assert [name for name, _ in first_warnings(tuple(rates.values()), tuple(rates), 10)] == ["b", "d", "f"]
    assert first_warnings([25], ["b"], 10) == [("b", "25 frames a second, taken at 10 (inputs.rate)")]


def test_frames_as_they_are_are_known_by_their_numbers() -> None:
    assert [are_first(np.array(of)) for of in ([0, 1, 2], [1, 2, 3], [0, 2, 4])] == [True, False, False]
    assert [are_last(np.array(of), 5) for of in ([2, 3, 4], [1, 2, 3], [0, 2, 4])] == [True, False, False]


def test_a_rate_within_a_hundredth_is_the_same() -> None:
    assert how_taken(10.05, 10) == "10.05 frames a second, taken by their times"
    assert how_taken(9.8, 10) == "9.8 frames a second, taken at 10"


def test_what_is_doubtful_in_times_is_said() -> None:
    def said(seconds: list[np.ndarray], taken: list[list[int]], rates: list[float], fps: float | None) -> list[str]:
        names = ["a", "b"]
        return [f"{view}: {text}" for view, text in timing_warnings(seconds, np.array(taken), rates, names, fps)]

    two, last = [every(30, 31), every(10, 11)], [[30], [10]]
    assert said(two, last, [30, 10], None) == [": cameras differ in rate: 30, 10 frames a second"]
    assert said(two, last, [10, 10.05], None) == []
    assert timing_warnings([], np.array([]), [10, 20, 10], [], None), "one in the middle"
    assert said(two, last, [30, 10], 10) == [], "the last frame of each, as it is"
    assert said(two, [[27, 30], [9, 10]], [30, 10], 10) == ["a: 30 frames a second, taken at 10 (inputs.rate)"]
    longer = [every(10, 13), every(10, 11)]
    assert said(longer, [[10], [10]], [10, 10], 10) == [
        ": cameras end 1 to 1.2 s after their first frames: taken up to 1 s"
    ]
    assert said([at(0, 1.05), at(0, 1)], [[1], [1]], [1, 1], 10) == [], "half a frame apart"


def test_cameras_that_begin_at_other_times_are_said() -> None:
    """Not where one is a frame off, as writers with and without B-frames are."""
    assert start_warnings([0, 0.1], 10) == start_warnings([7.5, 7.5], 10) == start_warnings([3], 10) == []
    assert start_warnings([0, 1.5, 0.2], 10) == [
        ("", "cameras begin 0 to 1.5 s after their files do: taken to have begun together")
    ]
    assert start_warnings([0, 0.2], 5) == []


# --- rules over all cameras ---

#: Times of a camera's frames in sixtieths of a second, from the first on: rates of 60 to 5 a second, and gaps.
CAMERAS = st.lists(st.sampled_from((1, 2, 2, 4, 6, 6, 6, 12, 40)), min_size=5, max_size=40).map(
    lambda gaps: np.array(list(accumulate(gaps, initial=0))) / 60
)


def shown_at(times: np.ndarray, instant: float, fps: float) -> int:
    """The frame nearest to an instant, the earlier one of two as near; where none is near, that before it."""
    usual = float(np.median(np.diff(times)))
    away = np.abs(times - instant)
    nearest = int(np.flatnonzero(away <= away.min() + 1e-3 / fps)[0])
    if away[nearest] <= 1.01 * max(usual, 1 / fps) / 2:
        return nearest
    return max(int(np.searchsorted(times, instant)) - 1, 0)


@given(st.lists(CAMERAS, min_size=1, max_size=3), st.integers(1, 5), st.sampled_from((5.0, 10.0, 15.0, 30.0)))
def test_what_is_taken_is_the_nearest_frame_of_each_instant(
    cameras: list[np.ndarray], num_frames: int, fps: float
) -> None:
    names = ["front_wide", "rear", "cross_left"][: len(cameras)]
    steps = np.arange(num_frames)
    end = min(times[-1] for times in cameras)
    for take, instants in ((take_frames, end - steps[::-1] / fps), (take_first, steps / fps)):
        try:
            taken = take(cameras, names, num_frames, fps)
        except RowError:
            continue
        expected = [[shown_at(times, instant, fps) for instant in instants] for times in cameras]
        assert taken.tolist() == expected
        held = {name for name, _ in gap_warnings(cameras, taken, names, fps, take is take_first)}
        for name, of in zip(names, expected, strict=True):
            assert (name in held) >= (len(set(of)) < num_frames), "one frame for two instants is said"


@given(CAMERAS, st.integers(1, 5), st.sampled_from((5.0, 10.0, 15.0, 30.0)))
def test_a_camera_is_refused_where_it_is_too_short_or_too_slow_and_for_nothing_else(
    times: np.ndarray, num_frames: int, fps: float
) -> None:
    usual, length = float(np.median(np.diff(times))), (num_frames - 1) / fps
    is_short = length > times[-1] + usual / 2
    for take, instants in (
        (take_frames, times[-1] - np.arange(num_frames)[::-1] / fps),
        (take_first, np.arange(num_frames) / fps),
    ):
        repeats = len({shown_at(times, instant, fps) for instant in instants}) < num_frames
        if abs(length - times[-1] - usual / 2) < 1e-9:
            continue  # on the edge, which rounding decides
        is_refused = is_short or (repeats and usual > 1.01 / fps)
        if is_refused:
            with pytest.raises(RowError, match=r"^view rear: found .* expected at least"):
                take([times], ["rear"], num_frames, fps)
        else:
            assert take([times], ["rear"], num_frames, fps).shape == (1, num_frames)
