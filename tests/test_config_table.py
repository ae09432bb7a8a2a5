"""Every setting once more: what it is where nobody says it, what it may be, and that it is itself that is set."""

from __future__ import annotations

from typing import Any

import pytest

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.config import GenerateConfig, InputsConfig, build_config, setting_names
from cosmos_ray.errors import UsageError
from cosmos_ray.store.reach import Reach

FLAGS = {"manifest": "m.parquet", "output": "out"}
#: What a job does that says nothing; one that changes here changes jobs that are run again.
DEFAULTS: dict[str, Any] = {
    "manifest": "m.parquet", "output": "out", "model": "cosmos-predict2-2b-multiview", "dit": None,
    "picture_dit": None, "ema": False, "resolution": None, "gang_size": None, "gangs": "1", "limit": None,
    "max_failed": "0.05", "max_gpu_hours": None, "device": "auto", "max_clips": 10_000_000, "redo_changed": False,
    "sampling.solver": "published", "sampling.schedule": "published", "sampling.guidance_interval": (0.0, 1.0),
    "sampling.attention": "exact", "sampling.fp8_interval": (0.1, 0.95), "sampling.fp8_exact_blocks": (0, -1),
    "sampling.preset": "exact", "sampling.numerics": None, "sampling.num_steps": None, "sampling.guidance": None,
    "sampling.negative_prompt": None, "sampling.camera_prefix": None, "text_encoder.device": None,
    "text_encoder.dtype": None, "inputs.rate": "resample", "inputs.fit": None, "inputs.max_frames": 100_000,
    "inputs.strict": False, "inputs.allow": None, "checks.max_black": 0.5, "checks.max_frozen": 0.5,
    "checks.max_saturated": 0.3, "checks.max_flicker": 8.0, "checks.min_sharpness": 1.0,
    "checks.min_given_psnr_db": 20.0, "checks.min_agreement": None, "checks.redo": (), "checks.redo_at_most": 2,
    "checks.fail": (), "refiner.backend": "none", "refiner.url": None, "refiner.model": None, "refiner.device": None,
    "refiner.instructions": None, "refiner.captions": "one",
    "refiner.view_template": "{prompt} Describe what the {camera} camera sees.", "refiner.frames": None,
    "refiner.max_tokens": 512, "refiner.temperature": None, "refiner.on_failure": "keep", "refiner.parallel": 8,
    "refiner.timeout_s": None, "refiner.patience_s": 180.0, "refiner.attempts": 6, "guardrails.enabled": False,
    "guardrails.provider": "reference",
    "guardrails.checks": ("blocklist", "llama_guard", "content_filter", "face_blur"), "guardrails.own": (),
    "guardrails.weights": "hf://nvidia/Cosmos-Guardrail1@d6d4bfa899a71454a700907664f3e88f503950cf",
    "guardrails.llama_guard": "hf://meta-llama/Llama-Guard-3-8B@7327bd9f6efbbe6101dc6cc4736302b3cbb6e425",
    "guardrails.siglip": None, "guardrails.device": "gang", "guardrails.offload": False, "gang.max_attempts": 3,
    "gang.clips_in_flight": 3, "gang.clips_waiting": 20, "gang.deadline_factor": 4.0, "gang.deadline_min_s": 120.0,
    "gang.deadline_first_s": 1800.0, "gang.placement_timeout_s": 3600.0, "gang.load_timeout_s": 1800.0,
    "gang.spare_ranks": "auto", "gang.step_checkpoint": 0, "lease.beat_s": 5.0, "lease.life_s": 15.0,
    "breaker.max_consecutive_faults": 9, "breaker.max_pause_s": 60.0, "breaker.patience_s": 900.0,
}  # fmt: skip
#: Of numbers: the last on either side that are taken, and the first that are not. None: there is no end.
BOUNDS: dict[str, tuple[Any, Any, Any, Any]] = {
    **dict.fromkeys(("gang_size", "limit", "max_clips", "inputs.max_frames", "gang.max_attempts",
                     "gang.clips_in_flight", "breaker.max_consecutive_faults"), (0, 1, 10**6, None)),
    **dict.fromkeys(("max_gpu_hours", "refiner.timeout_s", "refiner.patience_s", "gang.deadline_min_s",
                     "gang.deadline_first_s", "gang.placement_timeout_s", "gang.load_timeout_s"),
                    (0, 0.001, 10**6, None)),
    **dict.fromkeys(("gang.clips_waiting", "gang.step_checkpoint", "breaker.max_pause_s", "breaker.patience_s"),
                    (-1, 0, 10**6, None)),
    "sampling.num_steps": (0, 1, 1000, 1001),
    "sampling.guidance": (-0.1, 0, 100, 100.1),
    "checks.redo_at_most": (0, 1, 100, 101),
    "refiner.frames": (-1, 0, 5, 6),
    "refiner.max_tokens": (15, 16, 4096, 4097),
    "refiner.temperature": (-0.1, 0, 2, 2.1),
    "refiner.parallel": (0, 1, 256, 257),
    "refiner.attempts": (0, 1, 100, 101),
    "gang.deadline_factor": (1, 1.01, 1000, None),
    "lease.beat_s": (0, 0.1, 7.49, 7.5),
    "lease.life_s": (10, 10.1, 1000, None),
}  # fmt: skip
#: Of the others a value that is not the default.
OTHERS: dict[str, Any] = {
    "manifest": "n.parquet", "output": "out2", "model": "tiny", "dit": "d.pt", "picture_dit": "p.pt", "ema": True,
    "resolution": "64x64", "gangs": "1:4", "max_failed": "3", "device": "cpu", "redo_changed": True,
    "sampling.solver": "unipc", "sampling.schedule": "karras12", "sampling.guidance_interval": (0.25, 0.5),
    "sampling.attention": "fp8", "sampling.numerics": "float32", "sampling.negative_prompt": "",
    "sampling.camera_prefix": True, "text_encoder.device": "cpu", "text_encoder.dtype": "float32",
    "inputs.rate": "as_is", "inputs.fit": "pad", "inputs.strict": True, "inputs.allow": ("/data",),
    "checks.max_black": 0.1, "checks.max_frozen": 0.1, "checks.max_saturated": 0.1, "checks.max_flicker": 0.1,
    "checks.min_sharpness": 0.1, "checks.min_given_psnr_db": 0.1, "checks.min_agreement": 0.1,
    "checks.redo": ("black",), "checks.fail": ("frozen",), "refiner.backend": "local", "refiner.url": "http://a/v1",
    "refiner.model": "m", "refiner.device": "between", "refiner.instructions": "i.txt", "refiner.captions": "each",
    "refiner.view_template": "{camera}", "refiner.on_failure": "fail", "guardrails.enabled": True,
    "guardrails.provider": "package", "guardrails.checks": ("face_blur",), "guardrails.own": ("mine",),
    "guardrails.weights": "/W", "guardrails.llama_guard": "/L", "guardrails.siglip": "/S", "guardrails.device": "cpu",
    "guardrails.offload": True, "gang.spare_ranks": "never",
}  # fmt: skip
#: Of these one decides others, or cannot be without them: what they do is told elsewhere.
TOGETHER = {"sampling.preset", "sampling.fp8_interval", "sampling.fp8_exact_blocks"}


def flat(config: GenerateConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in setting_names():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = value
    return found


def config_with(name: str, value: Any) -> GenerateConfig:
    *groups, leaf = name.split(".")
    said = {leaf: value}
    return build_config({**FLAGS, **({groups[0]: said} if groups else said)})


def test_a_job_that_says_nothing_does_what_it_did() -> None:
    assert flat(build_config(FLAGS)) == DEFAULTS


def test_what_is_set_is_the_setting_of_that_name_and_no_other() -> None:
    """One that is added later is missing here."""
    values = OTHERS | {name: most for name, (_, _, most, _) in BOUNDS.items()}
    assert values.keys() | TOGETHER == DEFAULTS.keys()
    for name, value in values.items():
        found = flat(config_with(name, list(value) if isinstance(value, tuple) else value))
        assert {key: one for key, one in found.items() if one != DEFAULTS[key]} == {name: value}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_is_taken_up_to_its_ends_and_no_further(name: str) -> None:
    below, least, most, above = BOUNDS[name]
    for value in (least, most):
        assert flat(config_with(name, value))[name] == value
    for value in (below, above):
        if value is not None:
            with pytest.raises(UsageError, match=rf"bad settings: {name.partition('.')[0]}"):
                config_with(name, value)


def test_a_checkpoint_is_named_as_the_models_too() -> None:
    config = build_config(FLAGS, None, ["model.dit=d.pt", "model.ema=true"])
    assert (config.dit, config.ema, config.model) == ("d.pt", True, DEFAULTS["model"])


def test_groups_hand_on_all_that_they_share_with_what_they_are_made_of() -> None:
    """The rules of inputs, and the approximations, are parts of their groups: none of them is lost on the way."""
    said: dict[str, Any] = {"rate": "as_is", "fit": "pad", "max_frames": 7}
    inputs = InputsConfig(**said, strict=True, allow=("/data",))
    assert inputs.rules == InputRules(**said)
    assert said.keys() == InputRules.model_fields.keys()
    assert inputs.reach("/home") == Reach("/home", ("/data",))
    chosen: dict[str, Any] = {
        "solver": "unipc", "schedule": "karras9", "guidance_interval": (0.0, 0.5), "attention": "fp8",
        "fp8_interval": (0.2, 0.8), "fp8_exact_blocks": (1,),
    }  # fmt: skip
    assert SamplingConfig(**chosen, num_steps=3).approximations == Approximations(**chosen)
    assert chosen.keys() == Approximations.model_fields.keys()
