"""How a job's prompts are refined: rewritten by a language model that sees what the clip begins with."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from cosmos_ray.clip.guardrail_rules import from_anywhere
from cosmos_ray.foreign import looks_like_a_key, shown_uri

#: Where the key of an endpoint comes from.
_KEY = "COSMOS_RAY_REFINER_KEY"
#: What stands for the row's own words, and for a camera's name, in `view_template`.
_FIELDS = re.compile(r"\{([^{}]*)\}")
#: Not the key of an endpoint, given as its URL.
_NEARLY_URL = re.compile(r"[A-Za-z][\w+.-]*:/|[\w.-]+:\d+(?:/|$)|\d+(?:\.\d+){3}(?:/|$)")
#: The published refiner of prompts.
PUBLISHED = "hf://nvidia/Cosmos-Reason1-7B@8fe96c1fa10db9e666b6fa6a87fea57dd9635649"


class RefinerRules(BaseModel):
    """Rewriting the rows' prompts before their clips are made. What a row said stays in the manifest's columns."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    backend: Literal["none", "local", "endpoint"] = "none"
    """`none`: prompts are taken as they are; `local`: a Qwen2.5-VL in the gang; `endpoint`: a server at `url` that
    speaks OpenAI's chat protocol (vLLM and others)."""
    url: str | None = None
    """Of the endpoint, up to its version: `http://HOST:8000/v1`. Its key comes from COSMOS_RAY_REFINER_KEY alone."""
    model: str | None = None
    """`local`: a folder in Hugging Face layout, or `hf://owner/repo@revision`; null: Cosmos-Reason1-7B, as published.
    `endpoint`: what the server calls it; null: the one that it has."""
    device: Literal["gang", "cpu", "between"] | None = None
    """Of the local model. `gang`: stays on the gang's first GPU; `cpu`: on its node's processors; `between`: in its
    node's memory, and on that GPU while it writes; null: `gang` if it fits beside all else there, else `cpu`."""
    instructions: str | None = None
    """File or URI of what the model is told to do with prompts, text in UTF-8; null: the project's own."""
    captions: Literal["one", "each"] = "one"
    """`one`: a caption of the row stays one caption. `each`: every camera gets one of its own, of `view_template`."""
    view_template: str = "{prompt} Describe what the {camera} camera sees."
    """For captions of one camera: what is asked of the model, {prompt} and {camera} standing for the row's words and
    the camera's name."""
    frames: int | None = Field(None, ge=0, le=5)
    """How many of the frames that a clip begins with the model sees, the last ones; 0: words alone; null: all."""
    max_tokens: int = Field(512, ge=16, le=4096)
    """Longest answer, in tokens."""
    temperature: float | None = Field(None, ge=0, le=2)
    """Of the choice of words; 0: always the likeliest; null: as the model's own settings say."""
    on_failure: Literal["keep", "fail"] = "keep"
    """A clip whose prompt could not be refined is made of the row's own words, with a warning, or fails."""
    parallel: int = Field(8, ge=1, le=256)
    """Most questions at once, of a gang to the endpoint."""
    timeout_s: float | None = Field(None, gt=0)
    """Seconds for one answer; null: 60 of an endpoint, 900 of the local model."""
    patience_s: float = Field(180.0, gt=0)
    """Seconds for one prompt at an endpoint, with all that is asked again."""
    attempts: int = Field(6, ge=1, le=100)
    """How often one prompt is asked for, where there is no answer that can be used."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value.strip())
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_good = False
        if not is_good:
            found = shown_uri(value) if _NEARLY_URL.match(value) else f"a text of {len(value)} characters"
            raise ValueError(f"found {found}, expected one such as http://10.0.0.7:8000/v1")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError(
                f"found {shown_uri(value)}, expected a URL without user, password and query: the key of an endpoint "
                f"comes from the environment, {_KEY}"
            )
        return value.strip().rstrip("/")

    @field_validator("model")
    @classmethod
    def _resolve_model(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and looks_like_a_key(value):
            raise ValueError(
                f"found what looks like a key, expected the name of a model: a key comes from the environment, {_KEY}"
            )
        return from_anywhere(value) if value is not None and info.data.get("backend") == "local" else value

    @field_validator("view_template")
    @classmethod
    def _check_template(cls, value: str) -> str:
        found = _FIELDS.findall(value)
        if set(found) - {"prompt", "camera"} or "camera" not in found:
            raise ValueError(
                f"found {value!r}, expected a text with {{camera}}, and nothing in braces but it, {{prompt}}"
            )
        return value

    @model_validator(mode="after")
    def _check(self) -> RefinerRules:
        if self.backend == "endpoint" and self.url is None:
            raise ValueError(
                "found refiner.backend=endpoint without refiner.url, expected one such as http://10.0.0.7:8000/v1"
            )
        if self.backend == "local" and self.url is not None:
            raise ValueError("found refiner.backend=local beside refiner.url, expected one of them")
        return self

    @property
    def is_on(self) -> bool:
        return self.backend != "none"

    @property
    def answer_s(self) -> float:
        """Seconds for one answer."""
        return self.timeout_s or (60.0 if self.backend == "endpoint" else 900.0)

    @property
    def deciding(self) -> dict[str, Any]:
        """What the words depend on, beside prompt, pictures, model and instructions. {} if nothing is refined."""
        if not self.is_on:
            return {}
        found: dict[str, Any] = {"captions": self.captions, "frames": self.frames, "max_tokens": self.max_tokens}
        if self.captions == "each":
            found["view_template"] = self.view_template
        if self.temperature is not None:
            found["temperature"] = self.temperature
        return found


#: As a job has them that says nothing.
NOT_REFINED = RefinerRules()
