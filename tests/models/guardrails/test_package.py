"""cosmos-guardrail's checks behind ours, with a module in its place: its log is closed, and its failures fail a row."""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.models.guardrails.check import facts_of
from cosmos_ray.models.guardrails.package import PackageCheck

FRAMES = np.full((3, 8, 8, 3), 9, np.uint8)


class CosmosSafetyChecker:
    """As the package's: it logs what it blocks, and calls safe what it cannot check."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self.log = logging.getLogger("cosmos_guardrail.cosmos_guardrail")
        self.log.addHandler(logging.StreamHandler(sys.stdout))

    def to(self, device: str) -> None:
        self.places.append(device)

    def check_text_safety(self, prompt: str) -> bool:
        if "fail" in prompt:
            self.log.error("Unexpected error: %s", prompt)
        if "gronk" in prompt:
            self.log.critical("GUARDRAIL BLOCKED: Prompt: %s", prompt)
        return "gronk" not in prompt

    def check_video_safety(self, frames: np.ndarray) -> Any:
        if frames.max() > 200:
            return None
        if frames.max() > 100:
            frames[1, :2] = 0
        return frames


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> PackageCheck:
    package, module = ModuleType("cosmos_guardrail"), ModuleType("cosmos_guardrail.cosmos_guardrail")
    module.CosmosSafetyChecker = CosmosSafetyChecker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cosmos_guardrail", package)
    monkeypatch.setitem(sys.modules, "cosmos_guardrail.cosmos_guardrail", module)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.3.2")
    made = PackageCheck(GuardrailRules(enabled=True, provider="package", offload=True))
    made.load("cuda")
    return made


def test_a_yes_or_a_no_and_its_log_has_no_prompt(
    check: PackageCheck, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert check.check_text("a street") is None
    assert check.check_text("a gronk") == "text"
    assert "gronk" not in capsys.readouterr().out + caplog.text


def test_what_it_could_not_check_raises(check: PackageCheck) -> None:
    with pytest.raises(RuntimeError, match="a check of the package failed"):
        check.check_text("fail")
    assert check.check_text("a street") is None


def test_a_video_is_blocked_changed_or_left(check: PackageCheck) -> None:
    assert check.check_video(FRAMES) is None
    assert check.check_video(FRAMES + 240) == "video"
    answer = check.check_video(FRAMES + 100)
    assert isinstance(answer, tuple)
    assert (answer[1], answer[0][1, 0, 0, 0]) == (1, 0)


def test_it_is_on_the_gpu_only_while_it_is_asked(check: PackageCheck) -> None:
    check.check_text("a street")
    assert check._checker.places == ["cuda", "cpu"]
    facts = facts_of(check)
    assert (facts.version, facts.texts, facts.videos, facts.changes_pixels) == ("package 0.3.2", True, True, True)
