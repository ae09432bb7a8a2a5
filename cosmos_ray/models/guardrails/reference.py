"""The published checks, as checks: what each needs, what it depends on, and its networks once they are loaded."""

from __future__ import annotations

import importlib.metadata
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_ray.clip.guardrail_rules import SIGLIP, GuardrailRules
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.cache import cache_folder, node_lock
from cosmos_ray.models.guardrails.blocklist import Blocklist, WordLists, lemmatiser
from cosmos_ray.models.guardrails.check import Check, VideoAnswer
from cosmos_ray.models.guardrails.places import Place

_BLOCKLIST, _FILTER = "blocklist", "video_content_safety_filter"
_HEAD, _FACES = f"{_FILTER}/safety_filter.pt", "face_blur_filter/Resnet50_Final.pth"
_LISTS = ("custom", "whitelist", "exact_match")


def reference_checks(rules: GuardrailRules, of_videos: bool) -> list[Check]:
    """Those that are wanted, in the published order: prompts first, then what a video shows, then its faces.

    of_videos: these last two as well.
    """
    made: dict[str, type[_Reference]] = {
        "blocklist": BlocklistCheck,
        "llama_guard": LlamaGuardCheck,
        "content_filter": ContentFilter,
        "face_blur": FaceBlur,
    }
    wanted = [kind(rules) for name, kind in made.items() if name in rules.checks]
    return [check for check in wanted if of_videos or hasattr(check, "check_text")]


class _Reference(ABC):
    """One of them. places: where its files are."""

    name = ""
    changes_pixels = False

    def __init__(self, rules: GuardrailRules) -> None:
        self._rules = rules

    @property
    @abstractmethod
    def places(self) -> Sequence[Place]: ...

    @cached_property
    def version(self) -> str:
        return " ".join(["reference", *(place.version() for place in self.places)])

    def problems(self) -> list[str]:
        if found := [problem for place in self.places for problem in place.problems()]:
            return found
        found = _said(self.look)
        return [] if found and any(place.can_be_fetched() for place in self.places) else found

    @abstractmethod
    def look(self) -> None:
        """What is here of its files is what it has to be. Raises UsageError."""


def _said(look: Callable[[], None]) -> list[str]:
    try:
        look()
    except UsageError as error:
        return [str(error)]
    return []


class BlocklistCheck(_Reference):
    """See `blocklist`."""

    name = "blocklist"

    @property
    def places(self) -> Sequence[Place]:
        return (Place(self._rules.weights, (_BLOCKLIST,)),)

    @cached_property
    def version(self) -> str:
        packages = [f"{name} {importlib.metadata.version(name)}" for name in ("better-profanity", "nltk")]
        return " ".join([super().version, *packages])

    def problems(self) -> list[str]:
        for package in ("better-profanity", "nltk"):
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                return [f"the package {package} is not installed: pip install '.[guardrail]'"]
        return super().problems()

    def look(self) -> None:
        if (folder := self.places[0].here()) is not None:
            _loaded_blocklist(folder / _BLOCKLIST, "")

    def load(self, device: str) -> None:
        self._list = _loaded_blocklist(self.places[0].folder() / _BLOCKLIST, self.version)

    def check_text(self, text: str) -> str | None:
        return self._list.check_text(text)


def _loaded_blocklist(folder: Path, version: str) -> Blocklist:
    missing = [name for name in (*_LISTS, "nltk_data") if not (folder / name).is_dir()]
    if missing:
        raise UsageError(f"{folder} has no {', '.join(missing)}")
    try:
        return Blocklist(WordLists.read(folder), lemmatiser(_regular(folder / "nltk_data")), version)
    except (LookupError, OSError, ValueError) as error:
        raise UsageError(f"{folder}: nltk's data cannot be read ({type(error).__name__}): punkt_tab, wordnet") from None


def _regular(folder: Path) -> Path:
    """The folder, or a copy without links: the hub's cache is made of links, and nltk follows none."""
    if not any(path.is_symlink() for path in folder.rglob("*")):
        return folder
    revision = next((part for part in reversed(folder.parts) if len(part) == 40), "links")
    copy = cache_folder("guardrails") / f"nltk_data-{revision}"
    with node_lock(str(copy), f"copying {folder}"):
        if not copy.is_dir():
            part = copy.with_name(copy.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(folder, part)
            part.rename(copy)
    return copy


class LlamaGuardCheck(_Reference):
    """See `llama_guard`. An answer that says neither safe nor unsafe is one that objects to nothing, as published."""

    name = "llama_guard"

    @property
    def places(self) -> Sequence[Place]:
        return (Place(self._rules.llama_guard, (), "config.json"),)

    def look(self) -> None:
        from cosmos_ray.models.guardrails.llama_guard import read_tokenizer

        folder = self.places[0].here()
        if folder is None:
            return
        if not hub.weight_files(folder):
            raise UsageError(f"{folder} has no weights in Hugging Face layout")
        read_tokenizer(folder)

    def load(self, device: str) -> None:
        from cosmos_ray.models.guardrails.llama_guard import read_llama_guard

        self._device = device
        self._tokenizer, self._model = read_llama_guard(self.places[0].folder())
        if not self._rules.offload:
            self._model.to(device)

    def check_text(self, text: str) -> str | None:
        from cosmos_ray.models.guardrails.llama_guard import answer, category_of
        from cosmos_ray.models.guardrails.networks import on_device

        with on_device(self._model, self._device, self._rules.offload) as model:
            return category_of(answer(text, self._tokenizer, model))


class ContentFilter(_Reference):
    """See `content_filter`."""

    name = "content_filter"

    @property
    def places(self) -> Sequence[Place]:
        head = Place(self._rules.weights, (_HEAD,))
        return head, self._siglip

    @cached_property
    def _siglip(self) -> Place:
        """Where the setting says; else in the weights' folder, where the published program keeps it; else the hub's."""
        if self._rules.siglip is not None:
            return Place(self._rules.siglip, (), "config.json")
        here = Place(self._rules.weights, (_HEAD,)).here()
        inside = sorted((here / _FILTER).rglob("config.json")) if here else []
        return Place(str(inside[0].parent) if inside else SIGLIP, (), "config.json")

    def look(self) -> None:
        from cosmos_ray.models.guardrails.content_filter import read_classifier

        head, siglip = (place.here() for place in self.places)
        if head is not None:
            read_classifier(head / _HEAD)
        if siglip is not None and not hub.weight_files(siglip):
            raise UsageError(f"{siglip} has no weights in Hugging Face layout")

    def load(self, device: str) -> None:
        from cosmos_ray.models.guardrails.content_filter import read_classifier, read_siglip

        head, siglip = self.places
        self._device = device
        self._networks: tuple[Any, Any] = read_siglip(siglip.folder()), read_classifier(head.folder() / _HEAD)
        if not self._rules.offload:
            for network in self._networks:
                network.to(device)

    def check_video(self, frames_THWC: np.ndarray) -> VideoAnswer:
        from cosmos_ray.models.guardrails.content_filter import CLASSES, seen
        from cosmos_ray.models.guardrails.networks import on_device

        offload, (siglip, classifier) = self._rules.offload, self._networks
        with on_device(siglip, self._device, offload), on_device(classifier, self._device, offload):
            found = seen(frames_THWC, siglip, classifier, self._device)
        return CLASSES[found] if found else None


class FaceBlur(_Reference):
    """See `face_blur`. Never blocks."""

    name = "face_blur"
    changes_pixels = True

    @property
    def places(self) -> Sequence[Place]:
        return (Place(self._rules.weights, (_FACES,)),)

    def look(self) -> None:
        from cosmos_ray.models.guardrails.face_blur import read_retinaface

        if (folder := self.places[0].here()) is not None:
            read_retinaface(folder / _FACES)

    def load(self, device: str) -> None:
        from cosmos_ray.models.guardrails.face_blur import read_retinaface

        self._device = device
        self._net = read_retinaface(self.places[0].folder() / _FACES)
        if not self._rules.offload:
            self._net.to(device)

    def check_video(self, frames_THWC: np.ndarray) -> VideoAnswer:
        from cosmos_ray.models.guardrails.face_blur import blurred
        from cosmos_ray.models.guardrails.networks import on_device

        with on_device(self._net, self._device, self._rules.offload) as net:
            frames, regions = blurred(frames_THWC, net, self._device)
        return (frames, regions) if regions else None
