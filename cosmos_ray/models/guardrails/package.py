"""The checks of the package cosmos-guardrail, which are not the published pipelines' (docs/guardrails.md says how)."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.errors import UsageError, first_line
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.references import HubFile
from cosmos_ray.models.guardrails.check import VideoAnswer

T = TypeVar("T")
_PACKAGE, _MODULE = "cosmos-guardrail", "cosmos_guardrail"
#: What it takes from the hub, at whatever revision is the newest: all of a language model, and of its own files these.
_LANGUAGE = HubFile(repo="Qwen/Qwen3Guard-Gen-0.6B", revision="main", path=None)
_OWN = HubFile(repo="nvidia/Cosmos-1.0-Guardrail", revision="main", path=None)
_FACES = "face_blur_filter/Resnet50_Final.pth"
_PARTS = (_FACES, *(f"blocklist/{name}" for name in ("custom", "whitelist", "exact_match", "nltk_data")))
#: Settings of the published checks alone.
_NOT_ITS = ("checks", "weights", "llama_guard", "siglip")
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
        given = self._rules.model_dump(exclude_defaults=True)
        if foreign := [f"guardrails.{name}" for name in _NOT_ITS if name in given]:
            return [f"{', '.join(foreign)}: of the published checks; the package has its own models, from the hub"]
        try:
            _imported()
        except UsageError as error:
            return [str(error)]
        return [answer.message for answer in _asked_for() if answer.level != "ok"]

    def load(self, device: str) -> None:
        """UsageError where it cannot be, also where it logs that a word list cannot be read and goes on without."""
        checks = _imported()
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_HEARD)
        _HEARD.here.has_failed, said = False, "it could not read one of its files, and would go on without"
        try:
            self._device, self._checker = device, checks.CosmosSafetyChecker()
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
                raise
            _HEARD.here.has_failed, said = True, f"{type(error).__name__}: {first_line(error)}"
        if _HEARD.here.has_failed:
            raise UsageError(f"guardrails: the models of {_PACKAGE} cannot be loaded: {said}")
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


def _imported() -> Any:
    """Its module. UsageError where it is not there, or does not load: nobody's problem but this machine's."""
    instead = "or guardrails.provider=reference, which needs none of its dependencies"
    try:
        importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            f"the package {_PACKAGE} is not installed: pip install '.[guardrail-package]', {instead}"
        ) from None
    try:
        return importlib.import_module(f"{_MODULE}.{_MODULE}")
    except Exception as error:  # of its own dependencies: missing ones, libraries, binaries for another torch
        raise UsageError(
            f"the package {_PACKAGE} is installed and cannot be imported: {type(error).__name__}: {first_line(error)}. "
            f"Its torchvision has to be of the torch that is here (`python -c 'import torchvision'`); {instead}"
        ) from error


def _asked_for() -> Iterator[hub.HubAnswer]:
    """What the hub says of models that are not on this machine whole."""
    found = hub.cached(_OWN.model_copy(update={"path": _FACES}), "dit")
    folder = found and found.parents[_FACES.count("/")]
    if folder is None or not all((folder / part).exists() for part in _PARTS):
        yield hub.ask_parts(_OWN, _PARTS)
    if hub.cached(_LANGUAGE, "text_encoder") is None or hub.cached(_LANGUAGE, "tokenizer") is None:
        yield hub.ask(_LANGUAGE, "text_encoder")


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
