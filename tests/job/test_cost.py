"""What clips cost, by gang size: measured times come back as they were, and the rest follows from the work."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import ROOT

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.family import PREDICT2
from cosmos_ray.job.cost import (
    MEASURED,
    ClipGroup,
    call_seconds,
    clip_seconds,
    estimates,
    exact_calls,
    exchange_seconds,
    is_known,
    lines,
    neighbours_line,
    planned_gpu_seconds,
    spares_line,
)
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.bundle.memory import memory_plan

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


@pytest.mark.parametrize(("gang_size", "decodes"), [(1, 7), (2, 4), (4, 2), (7, 1), (8, 1)])
def test_a_rank_decodes_whole_views(bundle: Bundle, gang_size: int, decodes: int) -> None:
    """The one that has most of them is waited for; encoding is a part of decoding as large as its arithmetic."""
    calls_s = 72 * call_seconds("h100", gang_size)
    for frames, encoding in ((0, 0), (1, 6.3 / 225), (5, 24.7 / 225)):
        seconds = clip_seconds(replace(GROUP, num_conditional_frames=frames), bundle, "h100", gang_size)
        assert seconds - calls_s == pytest.approx(decodes * 0.93 * (1 + encoding), rel=1e-9)


def test_a_smaller_picture_is_decoded_as_much_sooner(bundle: Bundle) -> None:
    half = bundle.model_copy(update={"height": 352, "width": 640})
    group = replace(GROUP, n_views=1)
    tokens, channels = 28_160 / 4, 2048
    call_s = 13.06 * tokens * (tokens + 7 * channels) / (7 * 28_160 * (7 * 28_160 + 7 * channels))
    assert clip_seconds(group, half, "h100", 1) == pytest.approx(72 * call_s + 0.93 / 4, rel=1e-9)


def test_exchanges_cost_what_a_rank_sends() -> None:
    """Of 404 MB that two ranks trade, half; four times a block, in 28 blocks."""
    assert exchange_seconds(1) == 0
    assert exchange_seconds(2) == pytest.approx(4 * 28 * 0.80e-3, rel=2e-3)
    assert exchange_seconds(4) == pytest.approx(exchange_seconds(2) * 3 / 4)
    assert exchange_seconds(8) == pytest.approx(exchange_seconds(2) * 7 / 16)


def test_what_was_not_timed_is_modelled_from_what_was() -> None:
    """As docs/performance.md has it: the part that is not divided, and the exchanges."""
    undivided = (4 * (3.40 - exchange_seconds(4)) - 13.06) / 3
    assert call_seconds("h100", 8) == pytest.approx((13.06 - undivided) / 8 + undivided + exchange_seconds(8))
    undivided = (2 * (6.76 - exchange_seconds(2)) - 13.27) / 1
    assert call_seconds("h200", 4) == pytest.approx((13.27 - undivided) / 4 + undivided + exchange_seconds(4))


_groups = st.builds(
    ClipGroup, st.integers(1, 7), st.integers(1, 100), st.booleans(), st.sampled_from([0, 1, 5]), st.integers(1, 9)
)


@settings(max_examples=100)
@given(_groups, st.sampled_from(sorted(MEASURED)), st.sampled_from([1, 2, 4, 8]))
def test_whatever_is_asked_for_more_costs_more(group: ClipGroup, gpu: str, gang_size: int) -> None:
    bundle = load_bundle("cosmos-predict2-2b-multiview")

    def seconds(**changes: int) -> float:
        return clip_seconds(replace(group, **changes), bundle, gpu, gang_size)

    one = seconds()
    assert one < seconds(num_steps=group.num_steps + 1)
    assert one < seconds(n_views=group.n_views + 1)
    assert seconds(guided=False) < seconds(guided=True) < 2 * seconds(guided=False)
    assert seconds(num_conditional_frames=0) < seconds(num_conditional_frames=1) < seconds(num_conditional_frames=5)
    assert one == seconds(clips=group.clips + 1)
    cheaper = Approximations(attention="fp8", guidance_interval=(0.2, 0.6))
    assert clip_seconds(group, bundle, gpu, gang_size, cheaper) <= one


@pytest.mark.parametrize(("size", "neighbours"), [("2b", 0.1653), ("14b", 0.1712)])
def test_attention_to_neighbourhoods_costs_what_its_windows_hold(size: str, neighbours: float) -> None:
    """By the table of facts: windows of 64, 192, 288, 800 and 1568 of 3520 places, or all."""
    dense, windowed = (load_bundle(f"cosmos-predict2-{size}-video2world{end}") for end in ("", "-natten"))
    channels, tokens = dense.network.model_channels, 24 * 44 * 80
    share = (neighbours * tokens + 7 * channels) / (tokens + 7 * channels)
    group = replace(GROUP, n_views=1, num_conditional_frames=1)
    decoding = 4.93 + 0.93 * (93 / 29) * 6.3 / 225
    seconds = [clip_seconds(group, one, "h100", 1) - decoding for one in (dense, windowed)]
    assert seconds[1] / seconds[0] == pytest.approx(share, rel=2e-3)
    said = neighbours_line(windowed)
    assert said is not None
    assert f"{neighbours:.2f} of all tokens, {share:.2f} of a dense call's" in said
    assert neighbours_line(dense) is None
    (one, *_) = estimates([group], windowed, "h100")
    assert not one.is_measured


def test_approximations_save_what_they_leave_out(bundle: Bundle) -> None:
    assert exact_calls(GROUP, EXACT) == 72
    assert exact_calls(GROUP, Approximations(guidance_interval=(0, 0.6))) == 36 + 22  # of 36 evaluations
    assert exact_calls(replace(GROUP, guided=False), Approximations(guidance_interval=(0, 0.6))) == 36
    solver = Approximations(solver="unipc")
    assert exact_calls(replace(GROUP, num_steps=21), solver, PREDICT2.solved_by(solver)) == 42
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


def test_an_estimate_is_of_all_clips_together(bundle: Bundle) -> None:
    groups = [GROUP, replace(GROUP, n_views=1, clips=30)]
    for one in estimates(groups, bundle, "h100", limit=4):
        each = [clip_seconds(group, bundle, "h100", one.gang_size) for group in groups]
        total_s = 10 * each[0] + 30 * each[1]
        assert one.gpu_hours == pytest.approx(total_s * one.gang_size / 3600)
        assert one.clips_a_gpu_hour == pytest.approx(40 / one.gpu_hours)
        assert one.clip_seconds == pytest.approx(total_s / 40)
        assert one.longest_seconds == each[0]
        assert one.memory_bytes == memory_plan(bundle, one.gang_size).total
    assert [one.gang_size for one in estimates(groups, bundle, "h100", limit=4)] == [1, 2, 4]


def test_only_the_network_that_was_timed_is_known(bundle: Bundle) -> None:
    """Its picture and its views may be others."""
    assert is_known(bundle)
    assert is_known(bundle.model_copy(update={"height": 352, "n_views": 3}))
    for change in ({"model_channels": 1024}, {"num_blocks": 27}):
        assert not is_known(bundle.model_copy(update={"network": bundle.network.model_copy(update=change)}))
    assert not is_known(bundle.model_copy(update={"generator": "fake"}))


def test_nothing_is_said_of_models_that_were_not_measured_or_without_clips(bundle: Bundle) -> None:
    assert estimates([GROUP], load_bundle("tiny"), "h100") == []
    assert [one.gang_size for one in estimates([GROUP], bundle, "h100", gang_size=4)] == [4]
    assert estimates([], bundle, "h100") == []
    assert lines([], "h100", 1, None) == []


def test_a_line_for_people_tells_time_money_and_what_is_modelled(bundle: Bundle) -> None:
    _, one, _, _, eight, source = lines(estimates([GROUP], bundle, "h100"), "h100", gangs=2, price=3.0)
    assert "gang of 1: 15m46s a clip, 3.80 clips a GPU-hour, 2.6 GPU-hours, 7.89 USD, done in 1h18m" in one
    assert one.endswith("(measured)")
    assert eight.endswith("(modelled)")
    assert MEASURED["h100"].source in source
    assert source.strip().startswith("measured:")


def test_nothing_of_another_family_is_called_measured() -> None:
    later = load_bundle("cosmos-predict2.5-2b-multiview")
    *told, source = lines(estimates([GROUP], later, "h100"), "h100", gangs=1, price=None)
    assert all(line.endswith("(modelled)") for line in told[1:])
    assert source.strip().startswith("modelled from:")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(59.9, "0m59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (86399, "23h59m"), (187_200, "2d04h")],
)
def test_times_are_shown_in_two_units(bundle: Bundle, seconds: float, shown: str) -> None:
    (one, *_) = estimates([GROUP], bundle, "h100")
    _, line, _ = lines([replace(one, clip_seconds=seconds, gpu_hours=seconds / 3600)], "h100", gangs=1, price=None)
    assert f": {shown} a clip," in line
    assert f"done in {shown}," in line
    assert "USD" not in line


def test_gangs_at_once_divide_the_time_and_not_the_cost(bundle: Bundle) -> None:
    """Thirty clips of twelve minutes; a clip is one gang's, so more gangs than clips are no sooner than one clip."""
    found = estimates([GROUP], bundle, "h100")
    two = replace(found[1], gang_size=2, gpu_hours=12, clip_seconds=720)
    for gangs, done in ((1, "6h00m"), (3, "2h00m"), (4, "1h36m"), (40, "12m00s")):
        line = lines([two], "h100", gangs, price=2.5)[1]
        assert f"12.0 GPU-hours, 30.00 USD, done in {done}, {two.memory_bytes / 1e9:.0f} GB a GPU" in line
    assert "12.0 GPU-hours, 0.00 USD, done in" in lines([two], "h100", 1, price=0.0)[1], "GPUs of one's own"


#: Clips of 35 steps as they were reckoned from timed passes, on H200s: benchmarks/results/2026-11-28-passes.md.
#: Several of a gang's size: cards of several days.
TOOK_S = {
    ("cosmos-predict2-2b-multiview", 1): (934,),
    ("cosmos-predict2-2b-multiview", 4): (245,),
    ("cosmos-predict2-2b-video2world", 1): (200, 201),
    ("cosmos-predict2-2b-video2world", 2): (108,),
    ("cosmos-predict2-2b-video2world", 4): (58,),
    ("cosmos-predict2-14b-video2world", 1): (771, 773),
    ("cosmos-predict2-14b-video2world", 2): (402,),
    ("cosmos-predict2-14b-video2world", 4): (210,),
    ("cosmos-predict2.5-2b-multiview", 1): (1035, 1059, 1044),
    ("cosmos-predict2.5-2b-multiview", 2): (519,),
    ("cosmos-predict2.5-2b-multiview", 4): (269, 266),
    ("cosmos-transfer2.5-2b-multiview", 1): (1192,),
    ("cosmos-transfer2.5-2b-multiview", 2): (595,),  # 9m51s, and half of the 7 s that control frames take alone
    ("cosmos-transfer2.5-2b-multiview", 4): (303,),
}


@pytest.mark.parametrize(("name", "gang_size"), TOOK_S)
def test_other_networks_cost_what_they_took(name: str, gang_size: int) -> None:
    other = load_bundle(name)
    said = clip_seconds(ClipGroup(other.n_views, 35, True, 1, 1), other, "h200", gang_size)
    for took in TOOK_S[name, gang_size]:
        assert said == pytest.approx(took, rel=0.04)


@pytest.mark.parametrize(("size", "two", "four"), [("2b", 0.951, 0.918), ("14b", 0.965, 0.936)])
def test_gangs_lose_more_of_fewer_tokens(size: str, two: float, four: float) -> None:
    """Against one GPU, passes alone: arithmetic falls with the square of the tokens, what is exchanged with them. Of
    the seven views that were timed gangs of two and four are 0.982 and 0.964 efficient."""
    video = load_bundle(f"cosmos-predict2-{size}-video2world")

    def passes_s(gang_size: int) -> float:
        more, fewer = (ClipGroup(1, steps, True, 1, 1) for steps in (70, 35))
        return clip_seconds(more, video, "h200", gang_size) - clip_seconds(fewer, video, "h200", gang_size)

    for gang_size, efficient in ((2, two), (4, four)):
        assert passes_s(1) / (gang_size * passes_s(gang_size)) == pytest.approx(efficient, abs=0.017)


@pytest.mark.parametrize(
    ("end", "gpu", "pieces"),
    [
        ("", "h200", 1.65),
        ("-720p-10fps", "h200", 1.65),
        ("-720p-10fps", "h100", 1.65),
        ("-480p-16fps", "h100", 1.65),
        ("-480p-16fps", "h200", 1),
        ("-480p-10fps", "h100", 1),
    ],
)
def test_a_video_that_is_too_large_to_be_decoded_whole_takes_longer(end: str, gpu: str, pieces: float) -> None:
    """93 frames of 704x1280 took 4.9 s on an H200; whole they would need 80 GB, of which a GPU has a third."""
    video = load_bundle(f"cosmos-predict2-2b-video2world{end}")
    steps = [clip_seconds(ClipGroup(1, number, True, 1, 1), video, gpu, 1) for number in (1, 2)]
    decoding = steps[0] - 2 * (steps[1] - steps[0])  # a clip of one step has two passes
    whole = 0.93 * video.height * video.width * video.num_frames / (704 * 1280 * 29)
    assert decoding == pytest.approx(whole * (pieces + 6.3 / 225), rel=0.01)


def test_memory_of_spares_is_told_unless_there_are_none() -> None:
    assert spares_line("never") is None
    for spares in ("auto", "always"):
        told = spares_line(spares)
        assert told is not None
        assert "377 MB" in told
        assert "gang.spare_ranks=never" in told


def test_a_clip_that_begins_with_a_picture_costs_the_picture_too() -> None:
    """By its own model and that model's passes, each of two texts whether or not the clip itself is guided."""
    from_text, from_video = (load_bundle(f"cosmos-predict2-2b-{name}world") for name in ("text2", "video2"))
    picture = from_text.picture_bundle()
    assert (picture.height, picture.width, picture.sampling.num_steps) == (768, 1360, 35)
    tokens, whole, per_token = 48 * 85, 7 * 28_160, 7 * 2048
    a_pass = 13.06 * tokens * (tokens + per_token) / (whole * (whole + per_token))
    for guided in (True, False):
        group = ClipGroup(1, 35, guided, 1, 1)
        first, second = (clip_seconds(group, one, "h100", 1) for one in (from_text, from_video))
        assert first - second == pytest.approx(36 * 2 * a_pass, rel=1e-6)


def test_what_a_job_is_planned_to_take_is_of_all_its_gpus(bundle: Bundle) -> None:
    """As on H100s; nothing is said of a model whose times are not known."""
    groups = [GROUP, replace(GROUP, n_views=1, clips=3)]
    seconds = [clip_seconds(group, bundle, "h100", 2) for group in groups]
    planned = planned_gpu_seconds(groups, bundle, 2, EXACT)
    assert planned == pytest.approx(2 * (10 * seconds[0] + 3 * seconds[1]))
    cheaper = planned_gpu_seconds(groups, bundle, 2, Approximations(guidance_interval=(0, 0.6)))
    assert cheaper is not None
    assert planned is not None
    assert cheaper < 0.9 * planned
    assert planned_gpu_seconds(groups, load_bundle("fake"), 2, EXACT) is None
    assert planned_gpu_seconds([], bundle, 2, EXACT) is None


def test_more_steps_of_a_video_are_none_of_the_picture_that_it_begins_with() -> None:
    def more_s(name: str) -> float:
        bundle = load_bundle(name)
        seconds = [clip_seconds(replace(GROUP, n_views=1, num_steps=steps), bundle, "h100", 1) for steps in (35, 70)]
        return seconds[1] - seconds[0]

    assert more_s("cosmos-predict2-2b-text2world") == pytest.approx(more_s("cosmos-predict2-2b-video2world"))
