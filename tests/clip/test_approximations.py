"""Approximations are chosen for a job, and belong to the keys of its clips."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.networks import caption, relative_error, small_network

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.config import GangConfig, build_config
from cosmos_ray.errors import UsageError
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.job.job import generate
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.network.dit import Grid
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import denoise


def fingerprint(**chosen: object) -> str:
    approximations = Approximations.model_validate(chosen)
    return GangSpec(load_bundle("fake"), 1, "cpu", "reference", "out", 1, GangConfig(), approximations).fingerprint


def test_without_approximations_keys_are_what_they_were_before_there_were_any() -> None:
    """The numbers are those of the releases without them: clips in flight and records stay valid."""
    assert fingerprint() == "6c23914600734a17a4f3126504d3571c58f568460ba991affed742b5f506177f"
    assert fingerprint(guidance_interval=[0, 1]) == fingerprint()


def test_each_approximation_has_keys_of_its_own() -> None:
    """Also those at their defaults, which a later version may choose otherwise."""
    chosen: list[dict[str, object]] = [
        {},
        {"guidance_interval": [0.0, 0.5]},
        {"solver": "unipc"},
        {"schedule": "karras9"},
        {"solver": "unipc", "schedule": "karras9"},
        {"attention": "fp8"},
        {"attention": "fp8", "fp8_interval": [0.2, 0.9]},
        {"attention": "fp8", "fp8_exact_blocks": []},
    ]
    assert len({fingerprint(**one) for one in chosen}) == len(chosen)
    assert Approximations(attention="fp8").chosen == {
        "attention": "fp8",
        "fp8_interval": [0.1, 0.95],
        "fp8_exact_blocks": [0, -1],
    }


def test_they_are_sampling_settings_of_a_job() -> None:
    flags = {"manifest": "m.parquet", "output": "out"}
    config = build_config(flags, None, ["sampling.guidance_interval=[0, 0.6]", "sampling.num_steps=10"])
    assert config.sampling.approximations == Approximations(guidance_interval=(0.0, 0.6))
    assert config.sampling.approximations.chosen == {"guidance_interval": [0.0, 0.6]}
    assert SamplingConfig().approximations.chosen == {}


def test_fp8_spares_steps_and_blocks_at_both_ends() -> None:
    """Of the published model's 36 evaluations the first four and the last two, of its 28 blocks the first and last."""
    approximations = Approximations(attention="fp8")
    by_step = [approximations.fp8_blocks(step, 36, 28) for step in range(36)]
    assert [step for step, blocks in enumerate(by_step) if blocks] == list(range(4, 34))
    assert set(by_step[4:34]) == {frozenset(range(1, 27))}
    assert not any(Approximations().fp8_blocks(step, 36, 28) for step in range(36))


def test_blocks_that_the_network_does_not_have_are_refused_before_a_job_begins(tmp_path: Path) -> None:
    config = build_config(
        {"manifest": str(tmp_path / "none.parquet"), "output": str(tmp_path / "out"), "model": "fake"},
        None,
        ["sampling.attention=fp8", "sampling.fp8_exact_blocks=[0, 28]"],
    )
    with pytest.raises(UsageError, match="fp8_exact_blocks: found 28, the network has"):
        generate(config)


def denoised(**chosen: object) -> list[torch.Tensor]:
    """The samples after each of four steps, and the clip, of a network of two blocks."""
    grid, states = Grid(2, 3, 2, 2), list[torch.Tensor]()
    clip = denoise(
        small_network(head_dim=16),
        grid=grid,
        condition_VlP=None,
        num_condition_latents=0,
        positive_VMC=caption(grid, seed=1),
        negative_VMC=caption(grid, seed=2),
        guidance=3.0,
        num_steps=4,
        seed=0,
        model_fps=30.0,
        parallel=ContextParallel(),
        approximations=Approximations.model_validate(chosen),
        on_state=lambda state: states.append(state.tensors["sample"]),
    )
    return [*states[1:], clip]


def test_attention_in_8_bits_reaches_the_steps_and_blocks_that_it_is_meant_for() -> None:
    exact = denoised()
    everywhere = denoised(attention="fp8", fp8_interval=[0, 1], fp8_exact_blocks=[])
    assert 1e-4 < relative_error(everywhere[-1], exact[-1]) < 0.1
    nowhere = denoised(attention="fp8", fp8_interval=[0, 1], fp8_exact_blocks=[0, -1])
    assert all(torch.equal(one, other) for one, other in zip(nowhere, exact, strict=True))
    later = denoised(attention="fp8", fp8_interval=[0.4, 1], fp8_exact_blocks=[0])
    same = [torch.equal(one, other) for one, other in zip(later, exact, strict=True)]
    assert same == [True, True, False, False, False], "evaluations lie at 0.1, 0.3, 0.5, ..."
    last = denoised(attention="fp8", fp8_interval=[0.85, 1], fp8_exact_blocks=[])
    same = [torch.equal(one, other) for one, other in zip(last, exact, strict=True)]
    assert same == [True, True, True, True, False], "the clean pass at 0.9 is one of them"


def test_a_place_at_either_end_of_an_interval_lies_in_it() -> None:
    middle = Approximations(guidance_interval=(0.5, 0.5))
    assert [middle.is_guided(number, 3) for number in range(3)] == [False, True, False]
    assert Approximations(guidance_interval=(0.2, 0.5)).guided_share == pytest.approx(0.3)
    assert all(Approximations().is_guided(number, 36) for number in range(36))


def test_blocks_are_counted_from_both_ends() -> None:
    def of(*exact: int) -> Approximations:
        return Approximations(attention="fp8", fp8_interval=(0, 1), fp8_exact_blocks=exact)

    assert of(1, -2).fp8_blocks(0, 1, 4) == {0, 3}
    of(-4, 3).check_blocks(4)
    for wrong in (4, -5):
        with pytest.raises(UsageError, match=f"found {wrong}, the network has 4 blocks"):
            of(wrong).check_blocks(4)
    Approximations().check_blocks(0)


def test_what_is_in_effect_is_all_of_them_and_null_where_there_are_no_8_bits() -> None:
    exact = Approximations().in_effect
    assert exact.keys() == Approximations.model_fields.keys()
    assert {name for name, value in exact.items() if value is None} == {"fp8_interval", "fp8_exact_blocks"}
    assert None not in Approximations(attention="fp8").in_effect.values()


def test_what_is_not_used_is_not_told() -> None:
    assert Approximations().chosen == {}
    assert Approximations(attention="fp8").chosen == {
        "attention": "fp8",
        "fp8_interval": [0.1, 0.95],
        "fp8_exact_blocks": [0, -1],
    }
    said = {"solver": "unipc", "schedule": "karras12", "guidance_interval": [0.0, 0.5]}
    assert Approximations.model_validate(said).chosen == said
