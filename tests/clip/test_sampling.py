"""Presets: what they set, what wins over them, and what they save."""

from __future__ import annotations

import pytest

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.sampling import PRESETS, SamplingConfig
from cosmos_ray.config import build_config
from cosmos_ray.errors import UsageError
from cosmos_ray.job.cost import ClipGroup, sampling_line
from cosmos_ray.job.model import bundle_of
from cosmos_ray.job.plan import row_defaults
from cosmos_ray.models.bundle.bundle import load_bundle

PUBLISHED = "cosmos-predict2-2b-multiview"


def sampling(*assignments: str) -> SamplingConfig:
    return build_config({"manifest": "m.parquet", "output": "out"}, None, assignments).sampling


def group(num_steps: int) -> ClipGroup:
    return ClipGroup(n_views=7, num_steps=num_steps, guided=True, num_conditional_frames=0, clips=3)


def line(config: SamplingConfig, *groups: ClipGroup) -> str | None:
    bundle = load_bundle(PUBLISHED).solved_by(config.approximations)
    return sampling_line(groups, bundle, config)


def test_a_preset_is_the_settings_that_it_stands_for() -> None:
    """Keys, records and sidecars have those, and not the preset's name, which a later release may fill otherwise."""
    settings = ("sampling.solver=unipc", "sampling.schedule=karras9", "sampling.guidance_interval=[0, 0.48]")
    assert sampling("sampling.preset=balanced").approximations == sampling(*settings).approximations
    assert sampling("sampling.preset=exact").approximations == Approximations()
    steps = {name: sampling(f"sampling.preset={name}").steps_of(35) for name in PRESETS}
    assert steps == {"exact": 35, "balanced": 21, "fast": 12}
    assert [sampling(f"sampling.preset={name}").steps_of(36) for name in ("balanced", "fast")] == [22, 13], "rounded up"


def test_what_is_set_beside_it_wins() -> None:
    config = sampling("sampling.preset=fast", "sampling.guidance_interval=[0, 1]", "sampling.num_steps=30")
    assert config.approximations == Approximations(solver="unipc", schedule="karras9")
    assert config.steps_of(35) == 30
    assert row_defaults(load_bundle(PUBLISHED), config).num_steps == 30


def test_rows_that_do_not_say_get_its_steps() -> None:
    assert row_defaults(load_bundle(PUBLISHED), sampling("sampling.preset=balanced")).num_steps == 21
    assert row_defaults(load_bundle("tiny"), sampling("sampling.preset=balanced")).num_steps == 6


@pytest.mark.parametrize(("preset", "most"), [("balanced", 0.45), ("fast", 0.25)])
def test_it_says_what_it_saves(preset: str, most: float) -> None:
    config = sampling(f"sampling.preset={preset}")
    told = line(config, group(config.steps_of(35)))
    assert told is not None
    steps = config.steps_of(35)
    assert told.startswith(f"sampling: preset {preset}, num_steps {steps}, solver unipc, schedule karras9")
    share = float(told.split(" of the exact clips'")[0].rsplit(", ", 1)[1])
    assert most - 0.03 < share <= most


def test_rows_with_steps_of_their_own_are_compared_with_as_many() -> None:
    told = line(sampling("sampling.solver=unipc"), group(50))
    own = "`cosmos-ray compare` judges it on your own rows"
    assert told == f"sampling: solver unipc, 0.98 of the exact clips' network calls; {own}"


def test_the_published_sampling_needs_no_words() -> None:
    assert line(SamplingConfig(), group(35)) is None


def test_an_unknown_preset_and_a_model_without_any_are_refused() -> None:
    with pytest.raises(UsageError, match=r"sampling.preset: .*'exact', 'balanced' or 'fast'"):
        sampling("sampling.preset=best")
    flags = {"manifest": "m", "output": "o", "model": "tiny25", "sampling": {"preset": "fast"}}
    with pytest.raises(UsageError, match="one solver and one schedule"):
        bundle_of(build_config(flags))
