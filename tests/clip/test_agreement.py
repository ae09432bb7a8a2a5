"""Do neighbouring views show the same where their pictures meet? On the sample drive's own renderer, which knows.

What the tiny model makes of it is told apart as surely: `benchmarks/output_checks.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sample_drive import render, scene_from_seed

from cosmos_ray.clip.agreement import NEIGHBOURS, agreements, of_views, with_agreement
from cosmos_ray.clip.check_rules import DEFAULT_CHECKS, MEASURED_AGREEMENT, marks_of, worst
from cosmos_ray.clip.checks import look_at, small
from cosmos_ray.clip.request import ALL_VIEWS, VIEWS

_SCENES = 4


@cache
def drives() -> list[dict[str, np.ndarray]]:
    """All by day: what differs is where houses and cars are."""
    return [
        render(replace(scene_from_seed(seed), palette="day"), height=64, width=112, num_frames=2)
        for seed in range(_SCENES)
    ]


def mixed(number: int, shift: int) -> dict[str, np.ndarray]:
    return {view: drives()[(number + shift * place) % _SCENES][view] for place, view in enumerate(VIEWS)}


def mean(frames: dict[str, np.ndarray]) -> float:
    found = worst(with_agreement({view: look_at(of) for view, of in frames.items()}))
    assert found is not None
    assert found.agreement is not None
    return found.agreement


def test_views_of_one_clip_are_told_from_views_of_several() -> None:
    whole = [mean(frames) for frames in drives()]
    shuffled = [mean(mixed(number, shift)) for shift in (1, 3) for number in range(_SCENES)]
    limit = MEASURED_AGREEMENT["tiny"]
    assert min(whole) > limit > max(shuffled)


def test_a_view_of_another_clip_stands_out() -> None:
    frames = drives()[0] | {"cross_right": drives()[1]["cross_right"]}
    found = of_views(agreements({view: small(of) for view, of in frames.items()}))
    assert min(found, key=lambda view: found[view]) == "cross_right"
    of_one = of_views(agreements({view: small(of) for view, of in drives()[0].items()}))
    assert found["cross_right"] < 0.65 * of_one["cross_right"]


def test_a_picture_that_is_brighter_agrees_less() -> None:
    frames = drives()[0]
    brighter = frames | {"front_wide": np.minimum(frames["front_wide"].astype(int) + 60, 255).astype(np.uint8)}
    assert mean(brighter) < mean(frames) - 0.05


@pytest.mark.parametrize(
    "views", [VIEWS, VIEWS[:2], ("rear_left", "rear_right"), ("front_tele", "front_wide"), ("rear",), ("video",)]
)
def test_only_views_that_are_there_and_meet_are_compared(views: tuple[str, ...]) -> None:
    looked = {view: look_at(drives()[0].get(view, drives()[0]["rear"])) for view in views}
    meet = [pair for pair in NEIGHBOURS if set(pair) <= set(views)]
    assert list(agreements({view: one.small_ThwC for view, one in looked.items()})) == meet
    scores = with_agreement(looked)
    assert list(scores) == sorted(views, key=ALL_VIEWS.index)
    for view, of in scores.items():
        assert (of.agreement is None) == (not any(view in pair for pair in meet))
    marks = marks_of(scores, DEFAULT_CHECKS.of_model("tiny"))
    assert not [mark for mark in marks if mark.measure == "agreement" and not meet]


def test_pictures_without_any_contrast_agree_if_they_are_as_bright() -> None:
    grey = {view: np.full((3, 64, 112, 3), 90, np.uint8) for view in VIEWS}
    assert mean(grey) == 1
    assert mean(grey | {"rear": np.full((3, 64, 112, 3), 200, np.uint8)}) < 0.9


def test_a_views_agreement_is_the_mean_of_its_own_to_four_places() -> None:
    found = {("rear", "rear_left"): 1 / 3, ("rear_left", "cross_left"): 0.98766, ("front_wide", "front_tele"): -0.00006}
    assert of_views(found) == {
        "rear": 0.3333, "rear_left": 0.6605, "cross_left": 0.9877, "front_wide": -0.0001, "front_tele": -0.0001,
    }  # fmt: skip
    assert of_views({}) == {}


def test_agreements_are_what_they_were() -> None:
    """Of waves, another for each view: limits of jobs stand on these numbers."""
    y, x = np.mgrid[:44, :77]
    t = np.arange(3)[:, None, None]
    small = {}
    for number, view in enumerate(VIEWS):
        grey = 120 + 60 * np.sin((x + 9 * t + 11 * number) / 9) + 40 * np.cos((y - 3 * t) / (5 + number))
        small[view] = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, -1)
    expected = (0.9241, 0.3178, -0.0863, -0.0784, 0.2507, 0.6399, 0.0123)
    found = agreements(small)
    assert tuple(found.values()) == pytest.approx(expected, abs=2e-3)
    assert of_views(found)["front_wide"] == pytest.approx((0.9241 + 0.6399 + 0.0123) / 3, abs=2e-3)
