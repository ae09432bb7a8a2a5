"""The solvers that are compared are what they are called: on a clip that needs no network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from solvers import SCHEDULES, SOLVERS, Tried, profile_of, schedule_of  # type: ignore[import-not-found]
from torch import Tensor

from cosmos_ray.models.ab2 import AdamsBashforth

NOISE = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

SPREAD = 0.5


def solve(solver: AdamsBashforth) -> Tensor:
    """The clip of a normal distribution, mean 1 and deviation 0.5, whose best prediction is known."""
    state = solver.start(NOISE)
    for number in range(solver.passes):
        level = float(solver._sigmas[number])
        x0 = (SPREAD**2 * state["sample"] + level**2) / (SPREAD**2 + level**2)
        if number + 1 < solver.passes:
            state = dict(solver.advance(state, x0, number))
    return solver.result(state, x0)


def test_ab2_is_the_published_solver() -> None:
    torch.testing.assert_close(solve(Tried("ab2", schedule_of("karras7", 12, None))), solve(AdamsBashforth(11)))


@pytest.mark.parametrize("solver", [*SOLVERS, "ab2-stop", "unipc2-stop"])
def test_every_solver_comes_nearer_with_more_evaluations(solver: str) -> None:
    exact = 1 + (200 * NOISE - 1) * SPREAD / math.hypot(SPREAD, 200)
    far, near, nearest = (
        (solve(Tried(solver, schedule_of("karras7", count, None))) - exact).norm() for count in (10, 20, 80)
    )
    assert nearest < near < far
    assert nearest < 0.01 * exact.norm()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_falls_from_the_highest_noise_level_to_the_lowest(name: str) -> None:
    converged = Tried("ab3", schedule_of("karras7", 40, None))
    solve(converged)
    levels = schedule_of(name, 9, profile_of([converged]))
    assert levels.shape == (9,)
    assert levels[[0, -1]] == pytest.approx([200, 0.01])
    assert (np.diff(levels) < 0).all()
