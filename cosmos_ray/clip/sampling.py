"""How a job's clips are sampled where their rows do not say, and sets of approximations that were judged together.

The published weights were never judged with them: `tiny` was (docs/tiny.md). `cosmos-ray compare` shows one's own rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, model_validator

from cosmos_ray.clip.approximations import Approximations


@dataclass(frozen=True)
class Preset:
    """approximations: what is set of `Approximations`. steps: of the model's own number, where a row does not say."""

    approximations: Mapping[str, Any] = field(default_factory=dict)
    steps: float = 1.0


PRESETS: dict[str, Preset] = {
    "exact": Preset(),
    "balanced": Preset({"solver": "unipc", "schedule": "karras9", "guidance_interval": (0.0, 0.48)}, 0.6),
    "fast": Preset({"solver": "unipc", "schedule": "karras9", "guidance_interval": (0.0, 0.4)}, 0.34),
}


class SamplingConfig(Approximations):
    """What a row may leave out, and the numerics of all rows (null: the model's own); and the job's approximations."""

    preset: Literal["exact", "balanced", "fast"] = "exact"
    """A judged set of the settings of this group: `balanced` takes about 0.43 of the exact clip's network calls, `fast`
    0.24. What is set beside it wins. Flow models, Predict2.5's, have none but `exact`."""
    numerics: Literal["reference", "float32"] | None = None
    """`reference`: rounded as the published pipeline does; `float32`; null: the model's own."""
    num_steps: int | None = Field(None, ge=1, le=1000)
    """Steps of a clip whose row does not say; null: the model's own."""
    guidance: float | None = Field(None, ge=0, le=100)
    """Guidance of a clip whose row does not say; null: the model's own."""
    negative_prompt: str | None = None
    """Negative prompt of a clip whose row does not say; null: the model's own; "": none, at half the cost."""
    camera_prefix: bool | None = None
    """Each view's caption begins with where its camera looks, as Predict2.5's present checkpoint was trained, and the
    negative prompt is every view's; null: as the model's bundle says, which is as published: no."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        """What the preset says, where nothing else is said."""
        preset = PRESETS.get(str(given.get("preset", "exact"))) if isinstance(given, Mapping) else None
        return {**preset.approximations, **given} if preset else given

    def steps_of(self, of_model: int) -> int:
        """Of a clip whose row does not say."""
        return math.ceil(PRESETS[self.preset].steps * of_model) if self.num_steps is None else self.num_steps

    @property
    def approximations(self) -> Approximations:
        return Approximations(**self.model_dump(include=set(Approximations.model_fields)))
