"""The memory plan: what it counts, and that more work never needs less."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_spec import random_tiny_spec

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.bundle.dims import Qwen2Dims
from cosmos_ray.models.bundle.memory import (
    GPU_BYTES,
    REASON1_7B_PARAMETERS,
    T5_11B_ENCODER_PARAMETERS,
    MemoryPlan,
    guardrail_bytes,
    memory_plan,
    memory_plans,
    parameters,
    runs_on_cpus,
    whole_decode_bytes,
)
from cosmos_ray.models.bundle.shapes import qwen2_shapes

PUBLISHED = load_bundle("cosmos-predict2-2b-multiview")


def bundle_of(**sizes: int) -> Bundle:
    """The tiny model with other sizes, and 64 heads, so that many gangs fit."""
    spec = random_tiny_spec()
    spec["network"] |= {"num_heads": 64, "model_channels": 1024}
    return Bundle.model_validate(spec | sizes)


def test_the_total_is_the_sum_of_all_parts() -> None:
    parts = [field.name for field in fields(MemoryPlan) if field.name != "gang_size"]
    plan = MemoryPlan(**{"gang_size": 4} | {part: 10**number for number, part in enumerate(parts)})
    assert plan.total == 111_111_111


def test_guardrails_take_their_part_where_they_are() -> None:
    def size(**settings: object) -> float:
        return guardrail_bytes(GuardrailRules.model_validate({"enabled": True, **settings}), PUBLISHED) / 1e9

    assert size() == pytest.approx(19.9, abs=0.1)
    assert size(checks=["face_blur"]) == pytest.approx(1.1, abs=0.1)
    assert size(provider="package") == pytest.approx(3.6, abs=0.1)
    assert size(checks=["blocklist"]) == size(device="cpu") == size(provider="none") == size(enabled=False) == 0
    tiny = load_bundle("tiny")
    plan = memory_plans(tiny, guardrails=10**9)[0]
    assert plan.total == memory_plans(tiny)[0].total + 10**9
    assert "guardrails 1.0" in plan.line()


def test_the_package_holds_three_copies_of_the_longest_video() -> None:
    rules = GuardrailRules(enabled=True, provider="package")
    usual, longer = guardrail_bytes(rules, PUBLISHED), guardrail_bytes(rules, PUBLISHED, 281)
    assert longer - usual == 3 * (281 - 29) * 704 * 1280 * 3 * 4
    assert guardrail_bytes(rules, PUBLISHED, 20) == usual, "a shorter one is none that this model makes"
    assert guardrail_bytes(rules, load_bundle("cosmos-predict2-2b-video2world")) / 1e9 == pytest.approx(5.6, abs=0.1)


@pytest.mark.parametrize(
    ("gigabytes", "said"),
    [
        (79.9, "fits 80 GB, fits 141 GB"),
        (80, "fits 80 GB, fits 141 GB"),
        (80.1, "too much for 80 GB, fits 141 GB"),
        (142, "too much for 80 GB, too much for 141 GB"),
    ],
)
def test_a_plan_says_on_which_gpus_all_of_it_fits(gigabytes: float, said: str) -> None:
    """All of it: the network alone would fit."""
    plan = MemoryPlan(4, 10**9, 10**9, 0, round((gigabytes - 5) * 1e9), 0, 0)
    assert plan.total == round(gigabytes * 1e9)
    assert plan.line() == (
        f"gang of 4: {gigabytes:.1f} GB on rank 0 (network 1.0 GB, vae 1.0 GB, text encoder 0 bytes, "
        f"activations {gigabytes - 5:.1f} GB, latents 0 bytes, decode 0 bytes, overhead 3.0 GB); {said}"
    )


def test_a_text_encoder_counts_where_and_as_it_is_held() -> None:
    plans = {
        (device, dtype): memory_plan(PUBLISHED.with_text_encoder(device, dtype), 1)
        for device in ("gang", "cpu")
        for dtype in ("bfloat16", "float32")
    }
    assert {key: plan.text_encoder for key, plan in plans.items()} == {
        ("gang", "bfloat16"): 2 * T5_11B_ENCODER_PARAMETERS,
        ("gang", "float32"): 4 * T5_11B_ENCODER_PARAMETERS,
        ("cpu", "bfloat16"): 0,
        ("cpu", "float32"): 0,
    }
    assert len({plan.total - plan.text_encoder for plan in plans.values()}) == 1
    assert memory_plan(PUBLISHED, 1, text_parameters=1000).text_encoder == 2000, "as its own weights say"
    tiny = load_bundle("tiny")
    known = memory_plan(tiny, 1).text_encoder
    assert memory_plan(tiny, 1, text_parameters=1000).text_encoder == known, "the bundle's word counts"


def test_a_gang_needs_room_for_the_exchange() -> None:
    """15 instead of 14 numbers a token and channel, on half the tokens."""
    one, two = (memory_plan(PUBLISHED, size).activations for size in (1, 2))
    tokens, width = 7 * 28_160, 2048
    table = 28_160 * 128 * 4
    assert one == 2 * 14 * tokens * width * 2 + table
    assert two == 2 * 15 * (tokens // 2) * width * 2 + table // 2


def test_a_rank_keeps_the_frames_of_the_views_that_it_decodes() -> None:
    """7 views over 4 ranks: two of them on rank 0, beside what decoding one takes."""
    pixels, frames = 704 * 1280, 29
    by_size = {size: memory_plan(PUBLISHED, size).decode for size in (1, 2, 4, 8)}
    workspace = whole_decode_bytes(96, frames, pixels, 2)
    assert workspace == pytest.approx(25e9, rel=0.02)
    expected = {
        size: 3 * frames * pixels * (2 * 2 + views) + workspace for size, views in ((1, 7), (2, 4), (4, 2), (8, 1))
    }
    assert by_size == expected


def test_a_view_that_is_too_large_is_decoded_in_parts() -> None:
    """In float32 a 720p view at once would take more than a third of the smaller GPU."""
    whole, in_parts = memory_plan(PUBLISHED, 1).decode, memory_plan(PUBLISHED.with_numerics("float32"), 1).decode
    assert whole_decode_bytes(96, 29, 704 * 1280, 4) > GPU_BYTES["80 GB"] / 3
    assert in_parts < whole


def test_decoding_in_parts_takes_the_last_doubling_the_convolutions_output_and_its_caches() -> None:
    """Four frames at once, at full size: twice the base width in float32 and once more, then the base width."""
    pixels, frame = 704 * 1280, 96 * 704 * 1280
    finished = 3 * 29 * pixels * (2 * 4 + 7)
    doubling, output, caches = 4 * 2 * frame * (4 + 4), 4 * frame * 4, 7 * 2 * frame * 4
    plan = memory_plan(PUBLISHED.with_numerics("float32"), 1)
    assert plan.decode == finished + doubling + output + caches
    more = PUBLISHED.model_copy(update={"vae": PUBLISHED.vae.model_copy(update={"num_res_blocks": 3})})
    assert memory_plan(more.with_numerics("float32"), 1).decode == plan.decode + 2 * 2 * frame * 4


def test_text_encoders_that_come_with_their_own_words_are_taken_for_the_published_ones() -> None:
    """Of Reason1 by its dimensions; without its head, which no caption needs."""
    reason1 = Qwen2Dims(
        vocab_size=152_064, hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
        intermediate_size=18_944,
    )  # fmt: skip
    assert parameters(qwen2_shapes(reason1)) == REASON1_7B_PARAMETERS == 7_070_619_136
    later = load_bundle("cosmos-predict2.5-2b-multiview")
    assert later.text_encoder is None
    assert memory_plan(later.with_text_encoder("gang", "float32"), 2).text_encoder == 4 * REASON1_7B_PARAMETERS
    assert memory_plan(later.with_text_encoder("gang", "bfloat16"), 2, 10).text_encoder == 20
    tiny = load_bundle("tiny25")
    assert isinstance(tiny.text_encoder, Qwen2Dims)
    assert memory_plan(tiny, 1).text_encoder == parameters(qwen2_shapes(tiny.text_encoder)) * (
        2 if tiny.text_encoder_dtype == "bfloat16" else 4
    )


def test_a_network_is_worth_running_without_gpus_up_to_a_size() -> None:
    tiny = load_bundle("tiny")

    def is_small(channels: int, blocks: int) -> bool:
        network = tiny.network.model_copy(update={"model_channels": channels, "num_blocks": blocks})
        return runs_on_cpus(tiny.model_copy(update={"network": network}))

    assert [is_small(512, 12), is_small(512, 13), is_small(544, 12)] == [True, False, False]
    assert (runs_on_cpus(tiny), runs_on_cpus(PUBLISHED)) == (True, False)


def test_each_guardrail_takes_its_own_memory() -> None:
    """Parameters of the published networks, and room for their work."""

    def size(*checks: str) -> int:
        return guardrail_bytes(GuardrailRules.model_validate({"enabled": True, "checks": checks}), PUBLISHED)

    alone = {check: size(check) for check in ("blocklist", "llama_guard", "content_filter", "face_blur")}
    assert alone == {
        "blocklist": 0,
        "llama_guard": 2 * 8_030_261_248 + 500_000_000,
        "content_filter": 4 * 428_225_600 + 500_000_000,
        "face_blur": 4 * 27_300_000 + 1_000_000_000,
    }
    assert size(*alone) == sum(alone.values())
    rules, picture = GuardrailRules(enabled=True), load_bundle("cosmos-predict2-2b-text2image")
    assert guardrail_bytes(rules, picture) == alone["llama_guard"], "nothing looks at a picture"
    assert guardrail_bytes(rules, load_bundle("cosmos-predict2-2b-text2world")) == sum(alone.values())


def test_latents_are_eight_float32_copies_of_a_ranks_share() -> None:
    for size in (1, 2, 8):
        assert memory_plan(PUBLISHED, size).latents == 8 * 4 * 7 * 28_160 * 64 // size


def test_plans_are_of_the_sizes_that_fit_up_to_the_limit() -> None:
    assert [plan.gang_size for plan in memory_plans(PUBLISHED)] == [1, 2, 4, 8]
    assert [plan.gang_size for plan in memory_plans(PUBLISHED, limit=16)] == [1, 2, 4, 8, 16]


SIZES = {
    "n_views": st.integers(1, 7),
    "state_t": st.integers(1, 16),
    "height": st.integers(4, 40).map(lambda n: 16 * n),
    "width": st.integers(4, 40).map(lambda n: 16 * n),
}


@settings(max_examples=50)
@given(st.fixed_dictionaries(SIZES), st.sampled_from(list(SIZES)), st.data())
def test_more_of_anything_never_needs_less(sizes: dict[str, int], grown: str, data: st.DataObject) -> None:
    """More views, frames or pixels, on one rank: no part of the plan shrinks, but for decoding that changes its way."""
    larger = sizes | {grown: max(sizes[grown], data.draw(SIZES[grown]))}
    small, large = (memory_plan(bundle_of(**size), 1) for size in (sizes, larger))
    for part in ("network", "vae", "text_encoder", "activations", "latents", "decode", "overhead"):
        assert getattr(large, part) >= getattr(small, part), part


@settings(max_examples=50)
@given(st.fixed_dictionaries(SIZES))
def test_a_larger_gang_never_needs_more_of_a_rank(sizes: dict[str, int]) -> None:
    """From two ranks on: the first step to a gang buys the exchange's buffers."""
    plans = memory_plans(bundle_of(**sizes), limit=64)
    for smaller, larger in pairwise(plans[1:]):
        assert larger.activations <= smaller.activations
        assert larger.latents <= smaller.latents
        assert larger.decode <= smaller.decode
        assert (larger.network, larger.vae, larger.text_encoder) == (smaller.network, smaller.vae, smaller.text_encoder)
