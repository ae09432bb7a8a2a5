"""What the rules of clips give over tables of everything they are asked: settings, marks, requests.

The texts are `tests/golden-surfaces/clip`; a silent change of a value is a line that differs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError
from support.surfaces import assert_as_it_was

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.check_rules import CheckRules, Mark, marks_of, worst
from cosmos_ray.clip.checks import MEASURES, Scores
from cosmos_ray.clip.family import FAMILIES
from cosmos_ray.clip.guardrail_rules import CheckFacts, GuardrailRules, Guardrails
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.clip.request import ALL_VIEWS, VIEWS, ClipRequest, ClipText, file_of
from cosmos_ray.clip.sampling import PRESETS, SamplingConfig
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.words import counted


def answer(function: Callable[..., Any], *given: Any, **named: Any) -> str:
    """What a call gives, or how it refuses."""
    try:
        return repr(function(*given, **named))
    except (RowError, UsageError, ValueError) as error:
        said = "; ".join(one["msg"] for one in error.errors()) if isinstance(error, ValidationError) else str(error)
        return f"{type(error).__name__}: {said}"


def test_what_settings_of_sampling_become() -> None:
    given: list[dict[str, Any]] = [
        {}, *({"preset": name} for name in PRESETS), {"preset": "fast", "solver": "published"},
        {"preset": "fast", "guidance_interval": (0.1, 0.9), "num_steps": 7}, {"preset": "none"},
        {"guidance_interval": (0.6, 0.4)}, {"guidance_interval": (-0.1, 1)}, {"guidance_interval": (0.5, 0.5)},
        {"attention": "fp8"}, {"attention": "fp8", "fp8_interval": (0.2, 0.3), "fp8_exact_blocks": (1, -2)},
        {"fp8_interval": (0.2, 0.3)}, {"fp8_exact_blocks": ()}, {"fp8_interval": (0.3, 0.2), "attention": "fp8"},
        {"guidance": 101}, {"guidance": -1}, {"num_steps": 0}, {"num_steps": 1001}, {"schedule": "karras12"},
        {"numerics": "float32", "camera_prefix": True, "negative_prompt": ""}, {"other": 1},
    ]  # fmt: skip
    text = []
    for one in given:
        text += [f"== {one}", answer(SamplingConfig, **one)]
        if "Error" in text[-1]:
            continue
        config = SamplingConfig(**one)
        of: Approximations = config.approximations
        text += [
            f"steps {[config.steps_of(model) for model in (1, 4, 10, 35, 50)]}",
            f"{of.chosen} {of.in_effect} {of.guided_share:.4f}",
            f"guided {[int(of.is_guided(number, 10)) for number in range(10)]}",
            f"fp8 {[sorted(of.fp8_blocks(number, 10, 4)) for number in range(10)]}",
            answer(of.check_blocks, 1),
            answer(of.check_blocks, 2),
        ]
    assert_as_it_was("clip/sampling.txt", "\n".join(text))


#: Of settings: what of them decides a clip, or is kept with it.
CHECKED = (CheckFacts("blocklist", "1", texts=True, videos=False),)
DECIDING: dict[type[BaseModel], Callable[[Any], Any]] = {
    Approximations: lambda rules: (rules.chosen, rules.in_effect),
    SamplingConfig: lambda rules: (rules.chosen, rules.in_effect, rules.approximations, rules.steps_of(35)),
    InputRules: lambda rules: [(rules.of(family).chosen, rules.of(family).numbered) for family in FAMILIES.values()],
    RefinerRules: lambda rules: (rules.deciding, rules.answer_s),
    GuardrailRules: lambda rules: Guardrails(rules, CHECKED).as_json(),
    CheckRules: lambda rules: [rules.limit(measure) for measure in MEASURES],
}


@pytest.mark.parametrize("kind", DECIDING, ids=lambda kind: kind.__name__)
def test_a_default_that_is_said_is_as_if_nothing_were(kind: type[BaseModel]) -> None:
    of = DECIDING[kind]
    bases: tuple[dict[str, Any], ...] = ({}, {"backend": "local"}, {"attention": "fp8"})
    for base in bases:
        if base.keys() <= kind.model_fields.keys():
            usual = of(kind(**base))
            for name, field in kind.model_fields.items():
                assert of(kind(**{name: field.default, **base})) == usual, (base, name)


# --- what clips look like ---


def scores(**given: float | None) -> Scores:
    return Scores(**{"black": 0.0, "frozen": 0.0, "saturated": 0.0, "flicker": 0.0, "sharpness": 5.0, **given})  # type: ignore[arg-type]


def test_which_scores_mark_a_clip_and_what_is_done() -> None:
    text = []
    for bundle in ("tiny", "other"):
        rules = CheckRules().of_model(bundle)
        text.append(f"{bundle}: {rules}, own {CheckRules(min_agreement=0.2).of_model(bundle).min_agreement}")
        for measure, share in product(MEASURES, (0.0, 0.999, 1.0, 1.001, 2.0)):
            limit = rules.limit(measure) or 0.5
            found = {"rear": scores(**{measure: limit * share}), "front_wide": scores(agreement=0.9)}
            marks = marks_of(found, rules)
            text.append(f"{measure} x {share}: {[mark.in_words() for mark in marks]} {worst(found)}")
    text.append(f"{worst({})} {marks_of({}, rules)}")
    for redo, fail, tries in product(((), ("black",)), ((), ("black",), ("frozen",)), (0, 1, 2)):
        doing = CheckRules(redo=redo, fail=fail, redo_at_most=2)  # type: ignore[arg-type]
        done = [doing.verdict([Mark(name, "", 1, 0)], tries) for name in ("black", "frozen", "flicker")]
        text.append(f"{redo} {fail} {tries}: {done} {doing.verdict([], tries)}")
    text += [Mark(measure, "rear", 0.12345, 12.345).in_words() for measure in MEASURES]
    assert_as_it_was("clip/marks.txt", "\n".join(text))


# --- requests, refiner, guardrails ---

WRONG = (None, True, 1.5, float("nan"), 3, "a", "\ud800", b"a", ["a"], ("a", 1), np.zeros(2, np.uint8), {}, {1})


def test_which_values_fields_of_a_request_take() -> None:
    good: dict[str, Any] = {"id": "a", "prompts": ("p",), "negative_prompt": "", "n_views": 7,
                            "num_conditional_frames": 0, "seed": 1, "guidance": 7.0, "num_steps": 4}  # fmt: skip
    text = [repr(ClipRequest(**good)), repr(ClipRequest(**good).view_ids)]
    for name in ClipRequest.__dataclass_fields__:
        text += [f"{name}={one!r}: {answer(ClipRequest, **{**good, name: one})[:300]}" for one in WRONG]
    mixed = ClipRequest(**{**good, "n_views": 3, "chosen_views": ["rear", "video", "front_tele"]})
    text.append(f"{mixed.views} {mixed.view_ids} {ClipRequest(**{**good, 'n_views': 2}).views}")
    text += [f"{view}: {file_of(view)}" for view in ALL_VIEWS]
    two = np.zeros((2, 3), np.float32)
    with_all = {
        "frames": np.zeros((7, 1, 4, 8, 3), np.uint8), "noise": two, "controls": two, "chosen_views": VIEWS[::-1],
        "text": ClipText((two, two[:1]), None, ("doubtful",)), "picture_text": ClipText((two,), (two[:0],)),
        "prompts": ("a long caption " * 40, "b"), "attempt": 3, "chunk_overlap": 5,
    }  # fmt: skip
    text.append(repr(ClipRequest(**{**good, **with_all})))
    assert_as_it_was("clip/requests.txt", "\n".join(text))


REFINERS: tuple[dict[str, Any], ...] = (
    {}, {"backend": "local"}, {"backend": "endpoint"}, {"backend": "endpoint", "url": "http://a:8000/v1/"},
    {"backend": "local", "url": "http://a/v1"}, {"url": "ftp://a"}, {"url": "http://"}, {"url": "http://a:0"},
    {"url": "http://u:p@a/v1"}, {"url": "http://a/v1?k=1"}, {"url": "http://a/v1#b"}, {"url": "http://a:99999"},
    {"url": " https://a/v1// "}, {"view_template": "{camera}"}, {"view_template": "{prompt}"},
    {"view_template": "{x}{camera}"},
    {"backend": "local", "captions": "each", "temperature": 0, "frames": 2, "max_tokens": 16, "timeout_s": 5},
    {"frames": 6}, {"frames": -1}, {"max_tokens": 15}, {"max_tokens": 4097}, {"temperature": 2.1}, {"parallel": 0},
    {"parallel": 257}, {"timeout_s": 0}, {"patience_s": 0}, {"attempts": 0}, {"attempts": 101},
    {"backend": "local", "model": "hf://a/b@c"}, {"backend": "endpoint", "url": "http://a", "model": "a/b"},
)  # fmt: skip
GUARDRAILS: tuple[dict[str, Any], ...] = (
    {}, {"own": ("a", "a")}, {"own": ("a", "b", "a")}, {"own": ("-a",)}, {"own": ("a" * 64, "b.c-d_e")},
    {"own": ("a" * 65,)},
    {"weights": "s3://b/c"}, {"siglip": "google/siglip-so400m-patch14-384"}, {"llama_guard": "/a/../b"},
    {"checks": ("face_blur",)}, {"checks": ("x",)}, {"provider": "package"}, {"device": "cpu", "offload": True},
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "table"), [(RefinerRules, REFINERS), (GuardrailRules, GUARDRAILS)], ids=["refiner", "guardrails"]
)
def test_which_settings_are_taken(kind: type[BaseModel], table: tuple[dict[str, Any], ...]) -> None:
    text = []
    for given in table:
        text += [f"== {given}", answer(kind, **given)]
        if kind is RefinerRules and "Error" not in text[-1]:
            rules = RefinerRules(**given)
            text.append(f"{rules.is_on} {rules.answer_s} {rules.deciding}")
    assert counted(len(table), "row").endswith("rows")
    assert_as_it_was(f"clip/{kind.__name__}.txt", "\n".join(text))
