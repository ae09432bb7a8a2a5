"""The checks of the package cosmos-guardrail, which are not the published pipelines' (docs/guardrails.md says how)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.references import HubFile
from cosmos_ray.models.guardrails.check import VideoAnswer

T = TypeVar("T")
_PACKAGE, _MODULE = "cosmos-guardrail", "cosmos_guardrail"
#: What it takes from the hub, at whatever revision is the newest: the repositories, and a file of each.
_MODELS = (
    ("nvidia/Cosmos-1.0-Guardrail", "face_blur_filter/Resnet50_Final.pth"),
    ("Qwen/Qwen3Guard-Gen-0.6B", "config.json"),
)
#: Its own: they write the prompts that they block.
_LOGGERS = ("cosmos_guardrail.cosmos_guardrail", "cosmos_guardrail.cosmos_utils", "cosmos_guardrail.utils")


class PackageCheck:
    """All of the package's checks in one: it says no more than yes or no of a prompt, and blurs a video at once."""

    name = "cosmos_guardrail"
    changes_pixels = True

    def __init__(self, rules: GuardrailRules) -> None:
        self._rules = rules
        self._checker: Any = None

    @property
    def version(self) -> str:
        return f"package {importlib.metadata.version(_PACKAGE)}"

    def problems(self) -> list[str]:
        if importlib.util.find_spec(_MODULE) is None:
            return [
                f"the package {_PACKAGE} is not installed: pip install '.[guardrail-package]' where its dependencies "
                "can be had, or guardrails.provider=reference, which needs none of them"
            ]
        files = [HubFile(repo=repo, revision="main", path=path) for repo, path in _MODELS]
        answers = [hub.ask(file, "dit") for file in files if hub.cached(file, "dit") is None]
        return [answer.message for answer in answers if answer.level != "ok"]

    def load(self, device: str) -> None:
        checks = importlib.import_module(f"{_MODULE}.{_MODULE}")
        self._device, self._checker = device, checks.CosmosSafetyChecker()
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_HEARD)
        if not self._rules.offload:
            self._checker.to(device)

    def check_text(self, text: str) -> str | None:
        is_safe = self._asked(lambda: self._checker.check_text_safety(text))
        return None if is_safe else "text"

    def check_video(self, frames_THWC: np.ndarray) -> VideoAnswer:
        found = self._asked(lambda: self._checker.check_video_safety(frames_THWC.copy()))
        if found is None:
            return "video"
        frames = np.asarray(found)
        changed = int((frames != frames_THWC).any(axis=(1, 2, 3)).sum())
        return (frames, changed) if changed else None

    def _asked(self, ask: Callable[[], T]) -> T:
        """Raises where a check of the package has failed: it logs that, and calls what it was asked about safe."""
        _HEARD.here.has_failed = False
        try:
            if self._rules.offload:
                self._checker.to(self._device)
            found = ask()
        finally:
            if self._rules.offload:
                self._checker.to("cpu")
        if _HEARD.here.has_failed:
            raise RuntimeError("a check of the package failed")
        return found


class _Heard(logging.Filter):
    """Lets nothing through, and knows whether this thread has logged an error; a blocked prompt is worse than that, and
    none."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        is_fault = record.levelno in (logging.WARNING, logging.ERROR)
        if is_fault and "postprocessors" not in str(record.msg):
            self.here.has_failed = True
        return False


#: One a process, as loggers are.
_HEARD = _Heard()
