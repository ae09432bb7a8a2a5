"""A job's rules for its inputs, where the family of its model decides what they leave open."""

from __future__ import annotations

from cosmos_ray.clip.family import PREDICT2, PREDICT25
from cosmos_ray.clip.input_rules import InputRules


def test_a_family_fills_in_what_a_job_does_not_say() -> None:
    said = InputRules(rate="as_is", max_frames=7)
    of = said.of(PREDICT25)
    assert (of.rate, of.max_frames, of.fit, of.fitted, of.takes_first) == ("as_is", 7, None, "stretch", True)
    assert (said.fitted, said.takes_first) == ("crop", False)
    assert InputRules(fit="pad").of(PREDICT25).fitted == "pad"


def test_what_is_usual_is_nobodys_choice() -> None:
    for family, usual, other in ((PREDICT2, "crop", "stretch"), (PREDICT25, "stretch", "crop")):
        for rules in (InputRules(), InputRules.model_validate({"fit": usual}), InputRules(max_frames=3)):
            assert rules.of(family).chosen == {}
        assert InputRules.model_validate({"fit": other, "rate": "as_is"}).of(family).chosen == {
            "fit": other,
            "rate": "as_is",
        }
