"""Approximations are chosen for a job, and belong to the keys of its clips."""

from __future__ import annotations

import pytest

from cosmos_ray.approximations import Approximations
from cosmos_ray.config import GangConfig, SamplingConfig, build_config
from cosmos_ray.models.bundle import load_bundle
from cosmos_ray.spec import GangSpec


def fingerprint(**chosen: object) -> str:
    approximations = Approximations.model_validate(chosen)
    return GangSpec(load_bundle("fake"), 1, "cpu", "reference", "out", 1, GangConfig(), approximations).fingerprint


def test_without_approximations_keys_are_what_they_were_before_there_were_any() -> None:
    """The numbers are those of the releases without them: clips in flight and records stay valid."""
    assert fingerprint() == "6c23914600734a17a4f3126504d3571c58f568460ba991affed742b5f506177f"
    assert fingerprint(guidance_interval=[0, 1]) == fingerprint()


@pytest.mark.parametrize("chosen", [{"guidance_interval": [0.0, 0.5]}], ids=lambda chosen: next(iter(chosen)))
def test_each_approximation_changes_the_keys(chosen: dict[str, object]) -> None:
    assert fingerprint(**chosen) != fingerprint()


def test_they_are_sampling_settings_of_a_job() -> None:
    flags = {"manifest": "m.parquet", "output": "out"}
    config = build_config(flags, None, ["sampling.guidance_interval=[0, 0.6]", "sampling.num_steps=10"])
    assert config.sampling.approximations == Approximations(guidance_interval=(0.0, 0.6))
    assert config.sampling.approximations.chosen == {"guidance_interval": [0.0, 0.6]}
    assert SamplingConfig().approximations.chosen == {}
