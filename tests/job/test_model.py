"""Settings that no row of a model could be made with are refused at once, and not row by row."""

from __future__ import annotations

from typing import Any

import pytest

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.job.model import bundle_of


def config(model: str, **sampling: Any) -> GenerateConfig:
    return GenerateConfig.model_validate({"manifest": "m", "output": "o", "model": model, "sampling": sampling})


def test_a_distilled_model_knows_so_many_steps() -> None:
    for model in ("tiny-text2image-distilled", "cosmos-predict2-0.6b-text2image-distilled"):
        assert bundle_of(config(model, num_steps=4)).name == bundle_of(config(model)).name == model
        with pytest.raises(UsageError, match=rf"sampling\.num_steps: found 7, expected 1 to 4, as model `{model}`"):
            bundle_of(config(model, num_steps=7))
    for model in ("tiny-text2image", "tiny-text2world-distilled2", "tiny"):  # these count other steps
        bundle_of(config(model, num_steps=7))


def test_a_model_that_weighs_against_no_text_takes_no_negative_prompt() -> None:
    model = "cosmos-predict2.5-2b-multiview-2025-10"
    bundle_of(config(model, negative_prompt=""))
    with pytest.raises(UsageError, match=r"sampling\.negative_prompt: found a text, expected null or an empty one"):
        bundle_of(config(model, negative_prompt="rain"))
