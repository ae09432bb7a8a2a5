"""A clip's deadline follows what the clips before it took, by the work that each is."""

from __future__ import annotations

import pytest

from cosmos_ray.config import GangConfig
from cosmos_ray.gang.deadline import Pace, denoise_work
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle

BUNDLE = load_bundle("cosmos-predict2-2b-multiview")
SETTINGS = GangConfig(deadline_factor=4, deadline_min_s=10, deadline_first_s=500)


def work(n_views: int = 7, num_steps: int = 35, negative_prompt: str = "ugly") -> float:
    clip = Clip("a", "a", n_views=n_views, num_steps=num_steps, negative_prompt=negative_prompt)
    return denoise_work(clip, BUNDLE)


def test_work_grows_as_the_operations_of_the_network_do() -> None:
    """9.585 PFLOP a call of 7 views, of which 8.913 are attention's: a seventh of the tokens is 1 / 32 of it."""
    assert work(1) / work(7) == pytest.approx((8.913 / 49 + 0.672 / 7) / 9.585, rel=0.02)
    assert work(num_steps=71) == pytest.approx(2 * work(num_steps=35))
    clip = Clip("a", "a", n_views=7, num_steps=35, negative_prompt="ugly")
    assert denoise_work(clip, BUNDLE, guided_share=0.5) == pytest.approx(0.75 * work())
    assert work(negative_prompt="") == pytest.approx(work() / 2), "no second branch"


def test_before_anything_was_measured_the_first_deadline_holds() -> None:
    assert Pace().of_denoise(SETTINGS, work()) == Pace().of_rest(SETTINGS) == 500


def test_a_large_clip_after_a_small_one_gets_the_time_it_needs() -> None:
    pace = Pace(denoise=5.0 / work(n_views=1))
    assert pace.of_denoise(SETTINGS, work(n_views=1)) == pytest.approx(4 * 5)
    assert pace.of_denoise(SETTINGS, work(n_views=7)) > 4 * 5 * 30


def test_a_deadline_is_never_shorter_than_its_minimum() -> None:
    assert Pace(denoise=1.0).of_rest(SETTINGS) == 500, "nothing was published yet"
    pace = Pace(denoise=1.0 / work(), publish=0.5)
    assert pace.of_denoise(SETTINGS, work()) == pace.of_rest(SETTINGS) == 10
    assert Pace(denoise=1.0, publish=60.0).of_rest(SETTINGS) == 240
