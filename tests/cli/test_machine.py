"""`doctor`: a line a finding, and an exit code that says whether a job could run."""

from __future__ import annotations

from typing import Any

import pytest

from cosmos_ray.clip.guardrail_rules import NO_GUARDRAILS
from cosmos_ray.clip.refiner_rules import NOT_REFINED
from cosmos_ray.job.doctor import Finding


@pytest.mark.parametrize(
    ("levels", "code", "verdict"),
    [
        (("ok", "ok"), 0, "a job would run here"),
        (("ok", "slower"), 0, "slower than it could"),
        (("slower", "missing"), 1, "a job could not run here"),
        (("missing", "slower", "ok"), 1, "a job could not run here"),
        (("slower", "ok"), 0, "slower than it could"),
    ],
    ids=["fine", "slower", "missing", "missing first", "slower first"],
)
def test_the_verdict(
    cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch, levels: tuple[Any, ...], code: int, verdict: str
) -> None:
    asked = []
    found = [Finding(level, f"part {number}", "as seen") for number, level in enumerate(levels)]
    monkeypatch.setattr("cosmos_ray.job.doctor.examine", lambda *given: asked.append(given) or found)
    answer = cosmos_ray("doctor", "--model", "tiny", "--store", "s3://bucket/folder")
    assert answer.code == code
    assert answer.out.splitlines()[:-1] == [f"{level:8} part {number}: as seen" for number, level in enumerate(levels)]
    assert verdict in answer.out.splitlines()[-1]
    assert asked == [("tiny", "s3://bucket/folder", NOT_REFINED, NO_GUARDRAILS.rules)]


def test_a_model_that_is_not_known(cosmos_ray: Any) -> None:
    answer = cosmos_ray("doctor", "--model", "no-such-model")
    assert answer.code == 2
    assert "no-such-model" in answer.err
