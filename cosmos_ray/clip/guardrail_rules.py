"""What a job wants of its guardrails, and which checks that makes. No torch."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

#: Where the published files are, at the revisions that the published pipelines take.
WEIGHTS = "hf://nvidia/Cosmos-Guardrail1@d6d4bfa899a71454a700907664f3e88f503950cf"
LLAMA_GUARD = "hf://meta-llama/Llama-Guard-3-8B@7327bd9f6efbbe6101dc6cc4736302b3cbb6e425"
SIGLIP = "hf://google/siglip-so400m-patch14-384@9fdffc58afc957d1a03a25b10dba0329ab15c2a3"
#: Names of the same, without a revision.
HUB_NAMES = {uri.removeprefix("hf://").partition("@")[0]: uri for uri in (WEIGHTS, LLAMA_GUARD, SIGLIP)}

ReferenceCheck = Literal["blocklist", "llama_guard", "content_filter", "face_blur"]
#: What a check may be called.
CHECK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def from_anywhere(location: str) -> str:
    """A folder as processes find it that began in another one, and `reproduce` does later; what is none as it is."""
    is_folder = location not in HUB_NAMES and "://" not in location
    return os.path.abspath(os.path.expanduser(location)) if is_folder else location


class GuardrailRules(BaseModel):
    """Checks of prompts before a clip is made, and of its videos after. Off unless asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = False
    """Prompts and videos are checked; what is blocked is a failed row of class `guardrail`."""
    provider: Literal["reference", "package", "none"] = "reference"
    """`reference`: the published checks; `package`: those of cosmos-guardrail; `none`: only those of `own`."""
    checks: tuple[ReferenceCheck, ...] = ("blocklist", "llama_guard", "content_filter", "face_blur")
    """Which of the published ones; they run in the published order."""
    own: tuple[str, ...] = ()
    """Checks of one's own after these, by their names among the entry points `cosmos_ray.guardrails`."""
    weights: str = WEIGHTS
    """Folder, URI or name on the hub of Cosmos-Guardrail1's files: word lists, content filter, face detector."""
    llama_guard: str = LLAMA_GUARD
    """The same of Llama-Guard-3-8B, whose licence has to be accepted."""
    siglip: str | None = None
    """The same of SigLIP, through which the content filter looks; null: in `weights` if it is there, else the hub's."""
    device: Literal["gang", "cpu"] = "gang"
    """Where the networks run: the gang's GPUs, or their node's processors."""
    offload: bool = False
    """They are on a GPU only while they are needed: less of its memory, more time a clip."""

    @field_validator("weights", "llama_guard", "siglip")
    @classmethod
    def _resolve(cls, location: str | None) -> str | None:
        return None if location is None else from_anywhere(location)

    @field_validator("own")
    @classmethod
    def _check_own(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not CHECK_NAME.fullmatch(name):
                raise ValueError(f"expected names of entry points, found {name!r}")
        if len(set(names)) < len(names):
            raise ValueError(f"expected each name once, found {list(names)!r}")
        return names


@dataclass(frozen=True)
class CheckFacts:
    """Which check ran. changes_pixels: videos are not what they would be without it."""

    name: str
    version: str
    texts: bool
    videos: bool
    changes_pixels: bool = False


_OFF = GuardrailRules()


@dataclass(frozen=True)
class Guardrails:
    """A job's guardrails: what it wants, and the checks that this makes, in their order; none if they are off."""

    rules: GuardrailRules = _OFF
    checks: tuple[CheckFacts, ...] = ()

    @property
    def versions(self) -> dict[str, str]:
        """By name of the check."""
        return {check.name: check.version for check in self.checks}

    @property
    def of_pixels(self) -> dict[str, str]:
        """The same of those that change videos: the clip depends on them."""
        return {check.name: check.version for check in self.checks if check.changes_pixels}

    @property
    def chosen(self) -> dict[str, Any]:
        """The settings that are not as by default, as a job takes them again; {} if guardrails are off."""
        return self.rules.model_dump(mode="json", exclude_defaults=True) if self.checks else {}

    def as_json(self) -> dict[str, Any]:
        """For a sidecar."""
        return {"settings": self.chosen, "checks": [asdict(check) for check in self.checks]}


NO_GUARDRAILS = Guardrails()
