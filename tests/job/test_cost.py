"""What clips cost, by gang size: measured times come back as they were, and the rest follows from the work."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from support.paths import ROOT

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.job.cost import MEASURED, ClipGroup, call_seconds, clip_seconds, estimates, exact_calls, lines
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle

GROUP = ClipGroup(n_views=7, num_steps=35, guided=True, num_conditional_frames=0, clips=10)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("cosmos-predict2-2b-multiview")


@pytest.mark.parametrize("gpu", MEASURED)
def test_what_was_measured_comes_back_and_its_source_says_so(gpu: str) -> None:
    known = MEASURED[gpu]
    text = (ROOT / known.source).read_text()
    for size, seconds in known.call_s.items():
        assert call_seconds(gpu, size) == seconds
        assert f"{seconds:.2f}" in text


def test_a_whole_clip_of_a_job_took_what_is_said_of_one(bundle: Bundle) -> None:
    seconds = clip_seconds(replace(GROUP, num_conditional_frames=1), bundle, "h100", 4)
    assert seconds == pytest.approx(246.3, rel=0.005)  # benchmarks/results/2026-11-27-four-gpus.md


@pytest.mark.parametrize("gpu", MEASURED)
def test_the_model_goes_through_its_largest_measured_gang(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = MEASURED[gpu]
    largest = max(known.call_s)
    modelled = {size: call_seconds(gpu, size) for size in (largest + 1, largest + 2)}
    monkeypatch.setitem(MEASURED, gpu, replace(known, call_s={1: known.call_s[1], largest + 1: modelled[largest + 1]}))
    assert call_seconds(gpu, largest) == pytest.approx(known.call_s[largest])
    assert call_seconds(gpu, largest + 2) == pytest.approx(modelled[largest + 2])


@pytest.mark.parametrize("gpu", MEASURED)
def test_larger_gangs_make_a_clip_sooner_and_a_clip_dearer(gpu: str, bundle: Bundle) -> None:
    found = estimates([GROUP], bundle, gpu)
    assert [one.gang_size for one in found] == [1, 2, 4, 8]
    assert [one.is_measured for one in found] == [True, True, gpu == "h100", False]
    for smaller, larger in itertools.pairwise(found):
        assert larger.clip_seconds < smaller.clip_seconds
        assert larger.clips_a_gpu_hour < smaller.clips_a_gpu_hour
        assert larger.memory_bytes < smaller.memory_bytes


def test_a_clip_costs_what_its_row_asks_for(bundle: Bundle) -> None:
    def seconds(**changes: int) -> float:
        return clip_seconds(replace(GROUP, **changes), bundle, "h100", 1)

    decoding = 7 * 0.93
    assert seconds() == pytest.approx(72 * 13.06 + decoding)
    assert seconds(guided=False) == pytest.approx(36 * 13.06 + decoding)
    assert seconds(num_steps=17) == pytest.approx(36 * 13.06 + decoding)
    assert seconds() < seconds(num_conditional_frames=1) < seconds(num_conditional_frames=5) < seconds() + 2
    assert seconds(n_views=1) < seconds() / 20  # attention sees a seventh of the tokens


def test_approximations_save_what_they_leave_out(bundle: Bundle) -> None:
    assert exact_calls(GROUP, EXACT) == 72
    assert exact_calls(GROUP, Approximations(guidance_interval=(0, 0.6))) == 36 + 22  # of 36 evaluations
    assert exact_calls(replace(GROUP, guided=False), Approximations(guidance_interval=(0, 0.6))) == 36
    everywhere = Approximations(attention="fp8", fp8_interval=(0, 1))
    assert exact_calls(GROUP, everywhere) == pytest.approx(72 * 21.97 / 26.16)  # benchmarks/results/2026-11-25-step.md
    by_default = exact_calls(GROUP, Approximations(attention="fp8"))
    assert by_default == pytest.approx(12 + 60 * 21.97 / 26.16)  # six of 36 evaluations are exact
    fp8 = estimates([GROUP], bundle, "h100", everywhere)
    assert not any(one.is_measured for one in fp8)
    for exact, cheaper in zip(estimates([GROUP], bundle, "h100"), fp8, strict=True):
        assert 0.83 < cheaper.clip_seconds / exact.clip_seconds < 0.85


def test_groups_add_up(bundle: Bundle) -> None:
    groups = [GROUP, replace(GROUP, guided=False, clips=30)]
    (one, *_), (first, *_), (second, *_) = (estimates(some, bundle, "h200") for some in (groups, *zip(groups)))
    assert one.gpu_hours == pytest.approx(first.gpu_hours + second.gpu_hours)
    assert one.clip_seconds == pytest.approx((first.clip_seconds + 3 * second.clip_seconds) / 4)
    assert one.longest_seconds == pytest.approx(first.clip_seconds)


def test_nothing_is_said_of_models_that_were_not_measured_or_without_clips(bundle: Bundle) -> None:
    assert estimates([GROUP], load_bundle("tiny"), "h100") == []
    assert estimates([], bundle, "h100") == []
    assert lines([], "h100", 1, None) == []


def test_a_line_for_people_tells_time_money_and_what_is_modelled(bundle: Bundle) -> None:
    _, one, _, _, eight, source = lines(estimates([GROUP], bundle, "h100"), "h100", gangs=2, price=3.0)
    assert "gang of 1: 15m46s a clip, 3.80 clips a GPU-hour, 2.6 GPU-hours, 7.89 USD, done in 1h18m" in one
    assert one.endswith("(measured)")
    assert eight.endswith("(modelled)")
    assert MEASURED["h100"].source in source
