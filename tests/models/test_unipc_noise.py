"""UniPC in the published solver's place: the real library's numbers, how near it comes, and what it must not change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler
from support.networks import short_run
from torch import Tensor

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.family import FAMILIES, PREDICT2, Family
from cosmos_ray.errors import UsageError
from cosmos_ray.models.ab2 import SIGMA_MAX, AdamsBashforth, sigma_schedule
from cosmos_ray.models.network.dit import Grid
from cosmos_ray.models.sampler import SamplerState, Solver
from cosmos_ray.models.unipc_noise import NoiseUniPC

GRID = Grid(views=3, frames=3, height=2, width=2)
UNIPC = PREDICT2.solved_by(Approximations(solver="unipc", schedule="karras9"))
NOTHING = torch.zeros(())
NOT_GIVEN = torch.zeros(1, 1, dtype=torch.bool)
#: A clip whose values are normal around this mean, with this deviation: all that follows is known exactly.
MEAN, DEVIATION = 0.7, 1.3


def clean(sample: Tensor, level: float) -> Tensor:
    """The best guess of the clean clip behind a sample at this noise level."""
    return MEAN + DEVIATION**2 / (DEVIATION**2 + level**2) * (sample - MEAN)


def solution(start: Tensor) -> Tensor:
    """What `start`, at the largest level, leads to at the lowest, as the clean clip guessed there."""
    shrinks = math.sqrt((DEVIATION**2 + 0.01**2) / (DEVIATION**2 + SIGMA_MAX**2))
    return clean(MEAN + (start - MEAN) * shrinks, 0.01)


def solve(solver: Solver, levels: np.ndarray, noise: Tensor) -> Tensor:
    """The network's place is taken by the exact answer, a velocity."""
    state: Mapping[str, Tensor] = solver.start(noise)
    for number in range(solver.passes):
        level = float(levels[number])
        shown = solver.shown(state["sample"], number)
        answer = (shown - clean(shown * (1 + level), level)) * (1 + level) / level
        guided = solver.prediction(state["sample"], answer, number, NOT_GIVEN, NOTHING, NOTHING)
        if number + 1 == solver.passes:
            return solver.result(state, guided)
        state = solver.advance(state, guided, number)
    raise AssertionError


def error(solver: Solver, levels: np.ndarray) -> float:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[None, None]
    return float((solve(solver, levels, noise) - solution(SIGMA_MAX * noise)).abs().max())


def test_it_is_of_second_order_and_nearer_than_the_published_solver_at_the_same_cost() -> None:
    coarse, fine = (error(NoiseUniPC(steps), sigma_schedule(steps)) for steps in (32, 64))
    assert fine < coarse / 3.5
    assert coarse < error(AdamsBashforth(31), sigma_schedule(31)) / 3


@pytest.mark.parametrize("exponent", [7.0, 9.0])
def test_samples_are_those_of_diffusers(exponent: float) -> None:
    """Its scheduler keeps alpha = 1 - t and sigma = t, and is told of the same times."""
    steps = 8
    levels, solver = sigma_schedule(steps, order=exponent), NoiseUniPC(steps, exponent=exponent)
    library = UniPCMultistepScheduler(
        solver_order=2, use_flow_sigmas=True, prediction_type="sample", final_sigmas_type="zero"
    )
    library.set_timesteps(steps + 1)
    library.sigmas = torch.tensor([*(levels / (1 + levels)), 0.0], dtype=torch.float64)
    library.timesteps = torch.arange(steps + 1)
    library.set_begin_index(0)
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[None, None]
    state: Mapping[str, Tensor] = solver.start(noise)
    theirs = state["sample"]
    for number in range(steps - 1):
        level = float(levels[number])
        x0 = clean(theirs * (1 + level), level)
        velocity = (state["sample"] - x0) * (1 + level) / level
        state = solver.advance(state, velocity, number)
        theirs = library.step(x0, library.timesteps[number], theirs).prev_sample
        torch.testing.assert_close(state["sample"], theirs, rtol=1e-6, atol=1e-9)


def test_the_clip_goes_on_along_the_line_of_the_last_two_predictions() -> None:
    """Over the logarithm of the noise level, half of what the solver's own step would take of it; of one step alone
    there is no line."""
    levels, solver = sigma_schedule(6), NoiseUniPC(6)
    time = float(levels[5] / (1 + levels[5]))
    now, before = torch.tensor([2.0]), torch.tensor([1.4])
    state = {"sample": now + time * 3.0, "previous_x0": before}
    slope = 0.6 / math.log(levels[4] / levels[5])
    h = math.log(levels[5] / levels[6])
    expected = 2.0 + slope * h * (1 - math.exp(-h)) / 2
    assert solver.result(state, torch.tensor([3.0])).item() == pytest.approx(expected, rel=1e-6)
    assert solver.result(state | {"previous_x0": now}, torch.tensor([3.0])).item() == pytest.approx(2.0, rel=1e-6)
    alone, first = NoiseUniPC(1), SIGMA_MAX / (1 + SIGMA_MAX)
    assert alone.result({"sample": now + first * 3.0}, torch.tensor([3.0])).item() == pytest.approx(2.0, rel=1e-6)


def test_a_model_keeps_its_own_noise_levels() -> None:
    """Those of one view begin at 80 and end at 0.002; the last step leads to there."""
    levels = FAMILIES["predict2-video2world"].noise_levels
    solver = NoiseUniPC(4, levels, 9.0)
    assert solver.sigmas == pytest.approx([level / (1 + level) for level in sigma_schedule(4, 80.0, 0.002, 9.0)])
    assert solver.start(torch.ones(1))["sample"].item() == pytest.approx(80 / 81)


def run(family: Family = UNIPC, **changes: Any) -> Tensor:
    return short_run(GRID, family=family, **changes)


def test_conditional_frames_come_out_as_they_went_in() -> None:
    condition = torch.randn(GRID.views, GRID.tokens_per_view, 64, generator=torch.Generator().manual_seed(3))
    first = GRID.tokens_per_frame
    made = run()
    torch.testing.assert_close(made[:, :first], condition[:, :first], rtol=0, atol=1e-5)
    assert not torch.isclose(made[:, first:], condition[:, first:]).any()


def test_it_leads_to_the_clip_of_the_published_solver() -> None:
    """With many steps; the same noise, texts and guidance."""
    ours, published = (run(family, num_steps=60) for family in (UNIPC, PREDICT2))
    assert float((ours - published).norm() / published.norm()) < 0.01


@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_there_is_an_evaluation_a_step_and_any_can_be_continued_from_bit_for_bit(num_steps: int) -> None:
    states: list[SamplerState] = []
    told: list[tuple[int, int]] = []
    whole = run(num_steps=num_steps, on_state=states.append, on_step=lambda *one: told.append(one))
    assert told == [(number + 1, num_steps) for number in range(num_steps)]
    assert torch.isfinite(whole).all()
    for state in states:
        assert set(state.tensors) <= set(UNIPC.state)
        assert torch.equal(run(num_steps=num_steps, resume=state), whole)


def test_a_schedule_may_be_chosen_for_the_published_solver_too() -> None:
    family = PREDICT2.solved_by(Approximations(schedule="karras12"))
    assert (family.solver, family.exponent, family.passes(35)) == ("ab2", 12.0, 36)
    assert (UNIPC.solver, UNIPC.exponent, UNIPC.passes(35)) == ("unipc-noise", 9.0, 35)
    assert not torch.equal(run(family), run(PREDICT2))
    assert PREDICT2.solved_by(Approximations(guidance_interval=(0, 0.5))) is PREDICT2


@pytest.mark.parametrize("chosen", [{"solver": "unipc"}, {"schedule": "karras9"}])
def test_models_that_have_one_solver_refuse_another_by_name(chosen: dict[str, str]) -> None:
    (name, value) = next(iter(chosen.items()))
    approximations = Approximations.model_validate(chosen)
    with pytest.raises(UsageError, match=rf"sampling.{name}: found `{value}`; models of the family predict2.5-multi"):
        FAMILIES["predict2.5-multiview"].solved_by(approximations)
