"""What is asked of a refiner: a question for each caption of a clip, and the key under which its answer is kept.

Legend: V views, n conditioning frames, H/W height/width in pixels, C colours.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cosmos_ray.clip.family import Family
from cosmos_ray.clip.refiner_rules import NOT_REFINED, RefinerRules
from cosmos_ray.models.text.layout import captioned_view

#: The beginning of what chat models take for a change of speaker, a picture or an end: words must not bring their own.
_MARK = re.compile(r"<(?=\|)")
_FIELD = re.compile(r"\{(prompt|camera)\}")


@dataclass(frozen=True)
class Refining:
    """How a job refines, as its gangs are told. model: what fixes the model's answers: its name, or its files."""

    rules: RefinerRules = NOT_REFINED
    model: str = ""
    instructions: str = ""

    @property
    def deciding(self) -> dict[str, Any]:
        """What the words of a row depend on beside the row and its pictures, as JSON has it. {}: nothing is refined."""
        if not self.rules.is_on:
            return {}
        told = hashlib.sha256(self.instructions.encode()).hexdigest()
        return {"backend": self.rules.backend, "model": self.model, "instructions": told, **self.rules.deciding}


NOTHING_REFINED = Refining()


@dataclass(frozen=True)
class Ask:
    """One question. words: a caption, with no marks of conversations in it; frames: uint8 [n, H, W, C], what the clip
    begins with, or None."""

    words: str
    frames: np.ndarray | None = field(default=None, compare=False)

    def key(self, refining: Refining) -> str:
        """Of everything that decides the answer."""
        seen = None
        if self.frames is not None:
            seen = [list(self.frames.shape), hashlib.sha256(np.ascontiguousarray(self.frames).tobytes()).hexdigest()]
        facts = json.dumps([self.words, seen, refining.deciding], sort_keys=True)
        return hashlib.sha256(facts.encode(errors="backslashreplace")).hexdigest()


def asks_of(
    prompts: Sequence[str], views: Sequence[str], frames_VnHWC: np.ndarray | None, family: Family, rules: RefinerRules
) -> list[Ask | None]:
    """A question for each caption that the clip is to have; None for a caption that is empty, and stays so.

    prompts: one, or one a view. A caption of one camera goes with what that camera begins with, one of the whole clip
    with what the camera sees that it is encoded for.
    """
    if not prompts:
        return []
    if rules.captions == "each" and len(prompts) == 1 < len(views):
        prompts = list(prompts) * len(views)
    is_each = len(prompts) == len(views) > 1
    asks: list[Ask | None] = []
    for number, prompt in enumerate(prompts):
        if not prompt.strip():
            asks.append(None)
            continue
        view = number if is_each else captioned_view(views, family)
        words = _filled(rules.view_template, prompt, views[view]) if is_each and rules.captions == "each" else prompt
        asks.append(Ask(plain(words), _seen(frames_VnHWC, view, rules.frames)))
    return asks


def plain(words: str) -> str:
    """What a person wrote, as nothing but words: `<|im_end|>` in it ends nothing."""
    return _MARK.sub("< ", words)


def camera_name(view: str) -> str:
    """As a person would say it."""
    return view.replace("_", " ")


def _filled(template: str, prompt: str, view: str) -> str:
    """In one pass: what is put in is not looked at again."""
    return _FIELD.sub(lambda found: prompt if found[1] == "prompt" else camera_name(view), template)


def _seen(frames_VnHWC: np.ndarray | None, view: int, most: int | None) -> np.ndarray | None:
    """The last ones that the model is to see."""
    if frames_VnHWC is None or not frames_VnHWC.size or most == 0:
        return None
    frames: np.ndarray = frames_VnHWC[view]
    return frames if most is None else frames[-most:]
