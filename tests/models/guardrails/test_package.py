"""cosmos-guardrail's checks behind ours, with a module in its place: its log is closed, and its failures fail a row."""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from support.hub_server import REVISION

from cosmos_ray.clip.family import PREDICT2
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.errors import UsageError
from cosmos_ray.models.guardrails.check import facts_of
from cosmos_ray.models.guardrails.checks import guardrails_of
from cosmos_ray.models.guardrails.package import PackageCheck

FRAMES = np.full((3, 8, 8, 3), 9, np.uint8)


LOG, LOG_OF_FILES = (logging.getLogger(f"cosmos_guardrail.{name}") for name in ("cosmos_guardrail", "cosmos_utils"))


class CosmosSafetyChecker:
    """As the package's 0.3.2: it logs what it blocks, calls safe what it cannot check, and gives every video anew."""

    unreadable = ""

    def __init__(self, checkpoint_id: str = "nvidia/Cosmos-1.0-Guardrail") -> None:
        self.places: list[str] = []
        if self.unreadable:
            LOG_OF_FILES.error(f"Error reading file {self.unreadable}: [Errno 13]")

    def to(self, device: str | None = None, dtype: Any = None) -> None:
        self.places.append(str(device))

    def check_text_safety(self, prompt: str) -> bool:
        if "fail" in prompt:
            LOG.error("Unexpected error occurred when running Qwen3Guard guardrail: %s", prompt)
        if "gronk" in prompt:
            LOG.critical("GUARDRAIL BLOCKED: Prompt blocked by censorship: %s", prompt)
        return "gronk" not in prompt

    def check_video_safety(self, frames: np.ndarray) -> Any:
        if frames.max() > 200:
            LOG.critical("GUARDRAIL BLOCKED: unsafe frames detected")
            return None
        if frames.max() > 100:
            frames[1, :2] = 0
        return np.array(list(frames))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package, module = ModuleType("cosmos_guardrail"), ModuleType("cosmos_guardrail.cosmos_guardrail")
    module.CosmosSafetyChecker = CosmosSafetyChecker  # type: ignore[attr-defined]
    for log in (LOG, LOG_OF_FILES):
        monkeypatch.setattr(log, "handlers", [logging.StreamHandler(sys.stdout)])
    monkeypatch.setitem(sys.modules, "cosmos_guardrail", package)
    monkeypatch.setitem(sys.modules, "cosmos_guardrail.cosmos_guardrail", module)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.3.2")
    return module


def package_check(**settings: Any) -> PackageCheck:
    return PackageCheck(GuardrailRules(enabled=True, provider="package", **settings))


@pytest.fixture
def check(installed: ModuleType) -> PackageCheck:
    made = package_check(offload=True)
    made.load("cuda")
    return made


def refused(**settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        guardrails_of(GuardrailRules(enabled=True, provider="package", **settings), PREDICT2)
    return str(caught.value)


def cache(home: Path, repo: str, *files: str) -> None:
    """As the hub's client keeps what it has brought."""
    folder = home / f"models--{repo.replace('/', '--')}"
    for name in files:
        path = folder / "snapshots" / REVISION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(REVISION)


def test_a_package_that_is_not_there_is_refused_with_what_brings_it() -> None:
    if importlib.util.find_spec("cosmos_guardrail") is None:
        words = (
            r"the package cosmos-guardrail is not installed: pip install '.\[guardrail-package\]'.*provider=reference"
        )
        assert re.search(words, refused())


def test_a_package_that_cannot_be_imported_is_found_before_a_job(
    installed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where torchvision's binary is for another torch than the one that is here, or a library of OpenCV lacks."""
    monkeypatch.delitem(sys.modules, "cosmos_guardrail.cosmos_guardrail")
    assert "cannot be imported: ModuleNotFoundError: " in refused()
    assert "python -c 'import torchvision'" in refused()


def test_models_that_are_not_here_whole_are_asked_for(
    installed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    own, language = "nvidia/Cosmos-1.0-Guardrail", "Qwen/Qwen3Guard-Gen-0.6B"
    lists = [f"blocklist/{name}/words" for name in ("custom", "whitelist", "exact_match", "nltk_data")]
    cache(tmp_path, own, "face_blur_filter/Resnet50_Final.pth", *lists[:3])
    cache(tmp_path, language, "config.json", "tokenizer.json")
    assert own in refused()
    assert language in refused(), "it has no weights"
    cache(tmp_path, own, lists[3])
    assert own not in refused()
    cache(tmp_path, language, "model.safetensors")
    found = guardrails_of(GuardrailRules(enabled=True, provider="package"), PREDICT2)
    assert found.versions == {"cosmos_guardrail": "package 0.3.2"}


def test_settings_of_the_published_checks_are_not_dropped(installed: ModuleType) -> None:
    said = refused(weights="/models/Cosmos-Guardrail1", checks=("face_blur",))
    assert "guardrails.checks, guardrails.weights: of the published checks" in said


@pytest.mark.parametrize("fault", ["a list", "a model"])
def test_what_cannot_be_loaded_is_not_gone_on_without(
    installed: ModuleType, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "a list":
        monkeypatch.setattr(CosmosSafetyChecker, "unreadable", "custom.txt")
    else:
        monkeypatch.setattr(installed, "CosmosSafetyChecker", partial(open, "/nowhere"))
    with pytest.raises(UsageError, match="the models of cosmos-guardrail cannot be loaded"):
        package_check().load("cpu")


@pytest.mark.parametrize("name", ["MemoryError", "OutOfMemoryError"])
def test_a_gpu_that_is_full_is_no_fault_of_the_package(
    installed: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The gang is begun again, elsewhere perhaps. torch's error is known by its name."""
    error = type(name, (MemoryError if name == "MemoryError" else RuntimeError,), {})

    def full() -> None:
        raise error("the GPU is full")

    monkeypatch.setattr(installed, "CosmosSafetyChecker", full)
    with pytest.raises(error, match="the GPU is full"):
        package_check().load("cuda")


def test_what_failed_once_is_forgotten_when_it_is_asked_again(check: PackageCheck) -> None:
    """Also where a thread's last question raised."""
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a check of the package failed"):
            check.check_text("fail")
        assert check.check_video(FRAMES) is None


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
