"""From which scores on a clip is marked, and with which words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from cosmos_ray.clip.check_rules import DEFAULT_CHECKS, CheckRules, marks_of, worst
from cosmos_ray.clip.checks import BETTER_ABOVE, MEASURES, Scores

GOOD = Scores(0, 0, 0.01, 0.5, 12.0, 31.0, 0.85)


def test_a_good_clip_has_no_mark() -> None:
    assert marks_of({"front_wide": GOOD, "rear": replace(GOOD, given_psnr_db=None)}, DEFAULT_CHECKS) == ()


#: Of the one model whose clips were measured.
TINY = DEFAULT_CHECKS.of_model("tiny")


@pytest.mark.parametrize("measure", [name for name in MEASURES if name != "agreement"])
def test_each_view_is_marked_for_each_score_beyond_its_limit(measure: str) -> None:
    limit = DEFAULT_CHECKS.limit(measure)
    assert limit is not None
    sign = -1 if measure in BETTER_ABOVE else 1
    beyond, at = replace(GOOD, **{measure: limit + sign * 0.01}), replace(GOOD, **{measure: limit})
    (mark,) = marks_of({"front_wide": GOOD, "rear": beyond, "rear_left": at}, DEFAULT_CHECKS)
    assert (mark.measure, mark.view, mark.limit) == (measure, "rear", limit)
    off = CheckRules(**{f"{'min' if measure in BETTER_ABOVE else 'max'}_{measure}": None})
    assert marks_of({"rear": beyond}, off) == ()


def test_agreement_is_judged_over_the_clip() -> None:
    apart = replace(GOOD, agreement=0.4)
    assert marks_of({"front_wide": GOOD, "rear": replace(GOOD, agreement=0.6)}, TINY) == ()
    (mark,) = marks_of({"front_wide": GOOD, "rear": apart}, TINY)
    assert mark.in_words() == "agreement: 0.625 (limit 0.66)"
    assert marks_of({"rear": replace(GOOD, agreement=None)}, TINY) == ()


def test_marks_say_what_was_found_and_the_limit() -> None:
    bad = Scores(1, 0.75, 0.5, 30, 0.5, 12.345, 0.1)
    words = [mark.in_words() for mark in marks_of({"rear": bad}, TINY)]
    assert words == [
        "black: rear: 100 % (limit 50 %)",
        "frozen: rear: 75 % (limit 50 %)",
        "saturated: rear: 50 % (limit 30 %)",
        "flicker: rear: 30 levels (limit 8 levels)",
        "sharpness: rear: 0.5 levels (limit 1 levels)",
        "given_psnr_db: rear: 12.3 dB (limit 20 dB)",
        "agreement: 0.1 (limit 0.66)",
    ]


def test_only_a_model_that_was_measured_has_a_limit_of_agreement_unless_one_is_set() -> None:
    """Whatever the views of another model's clips have, none of them is marked for it."""
    for name in ("cosmos-predict2-2b-multiview", "fake", "tiny25", "of-my-own"):
        assert DEFAULT_CHECKS.of_model(name).min_agreement is None
        assert marks_of({"rear": replace(GOOD, agreement=0.0)}, DEFAULT_CHECKS.of_model(name)) == ()
    assert TINY.min_agreement == 0.66
    for limit in (None, 0.9):
        assert CheckRules(min_agreement=limit).of_model("tiny").min_agreement == limit
    assert CheckRules(fail=("black",)).of_model("tiny").fail == ("black",)


def test_a_clip_is_as_good_as_its_worst_view() -> None:
    one, other = Scores(0, 0.2, 0.3, 1, 9, 30, 0.8), Scores(0.1, 0, 0.4, 0.5, 11, None, 0.6)
    assert worst({"front_wide": one, "rear": other}) == Scores(0.1, 0.2, 0.4, 1, 9, 30, pytest.approx(0.7))
    assert worst({}) is None


@pytest.mark.parametrize("wrong", [{"redo": ["blck"]}, {"redo_at_most": 0}, {"max_blck": 1}, {"fail": "black"}])
def test_rules_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CheckRules.model_validate(wrong)


def test_a_marked_clip_is_made_again_so_often_and_then_fails_if_that_is_asked_for() -> None:
    (black,) = marks_of({"rear": replace(GOOD, black=1.0)}, DEFAULT_CHECKS)
    rules = CheckRules(redo=("black",), redo_at_most=2, fail=("black", "flicker"))
    assert [rules.verdict([black], tries) for tries in range(4)] == ["redo", "redo", "fail", "fail"]
    assert rules.verdict([], 0) == "keep"
    assert CheckRules(redo=("flicker",)).verdict([black], 0) == "keep"
    assert CheckRules(redo=("black",), redo_at_most=1).verdict([black], 1) == "keep"
    assert DEFAULT_CHECKS.verdict([black], 0) == "keep"
