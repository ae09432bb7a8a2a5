"""Settings that no row of a model could be made with are refused at once, and not row by row."""

from __future__ import annotations

from typing import Any

import pytest

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.job import model as module
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


@pytest.mark.parametrize(
    ("model", "settings", "expected"),
    [
        ("tiny", {"resolution": "64x32"}, {"width": 64, "height": 32}),
        ("tiny", {"sampling": {"numerics": "reference"}}, {"numerics": "reference"}),
        ("tiny", {"sampling": {"numerics": "float32"}}, {"numerics": "float32"}),
        ("cosmos-predict2-2b-multiview", {"text_encoder": {"device": "cpu"}}, {"text_encoder_device": "cpu"}),
        ("cosmos-predict2-2b-multiview", {"text_encoder": {"dtype": "bfloat16"}}, {"text_encoder_dtype": "bfloat16"}),
        ("cosmos-predict2-2b-multiview", {"text_encoder": {"dtype": "float32"}}, {"text_encoder_dtype": "float32"}),
    ],
)
def test_each_setting_of_a_job_reaches_its_model(
    model: str, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    """And with it the fingerprint of all that is made."""
    found = bundle_of(GenerateConfig.model_validate({"manifest": "m", "output": "o", "model": model, **settings}))
    usual = bundle_of(GenerateConfig(manifest="m", output="o", model=model))
    assert {name: getattr(found, name) for name in expected} == expected
    is_other = any(getattr(usual, name) != value for name, value in expected.items())
    assert (found.fingerprint != usual.fingerprint) is is_other


def test_a_prefix_of_captions_and_a_solver_reach_the_model_too() -> None:
    told = bundle_of(config("tiny25", camera_prefix=True))
    assert (told.sampling.camera_prefix, bundle_of(config("tiny25")).sampling.camera_prefix) == (True, False)
    solved = bundle_of(config("tiny", solver="unipc", schedule="karras9"))
    assert (solved.recipe.solver, solved.recipe.exponent) == ("unipc-noise", 9.0)


def test_checkpoints_of_ones_own_take_their_networks_places(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []

    def with_dit(bundle: object, dit: str, ema: bool = False, of_picture: bool = False) -> object:
        told.append((dit, ema, of_picture))
        return bundle

    monkeypatch.setattr(module, "with_dit", with_dit)
    common = {"manifest": "m", "output": "o", "model": "tiny"}
    for more in (
        {"dit": "d"},
        {"dit": "d", "ema": True},
        {"picture_dit": "p", "ema": True},
        {"dit": "d", "picture_dit": "p"},
    ):
        bundle_of(GenerateConfig.model_validate({**common, **more}))
    assert told == [("d", False, False), ("d", True, False), ("p", True, True), ("d", False, False), ("p", False, True)]
    with pytest.raises(UsageError, match=r"ema: found true without dit"):
        bundle_of(GenerateConfig.model_validate({**common, "ema": True}))
