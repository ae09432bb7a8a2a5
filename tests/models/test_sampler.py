"""The sampler: schedule, solver, noise, guidance, conditional frames, and going on from any step."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from support.networks import caption, relative_error, short_run, small_network

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.models.ab2 import ab2_step, frame_timesteps, sigma_schedule
from cosmos_ray.models.network.dit import Grid, MultiviewDiT
from cosmos_ray.models.sampler import SamplerState, initial_noise

GRID = Grid(views=3, frames=3, height=2, width=2)


run = partial(short_run, GRID)


def test_schedule_falls_from_200_to_001_without_a_zero() -> None:
    sigmas = sigma_schedule(35)
    assert sigmas.shape == (36,)
    assert sigmas.dtype == np.float64
    assert sigmas[[0, -1]] == pytest.approx([200.0, 0.01], rel=1e-12)
    assert all(before > after for before, after in pairwise(sigmas))


def test_schedule_needs_a_step() -> None:
    with pytest.raises(ValueError, match="num_steps 0"):
        sigma_schedule(0)


def test_noise_is_the_legacy_generators() -> None:
    """Known first numbers of numpy.random.RandomState(0), a stream that numpy promises never to change."""
    noise = initial_noise(0, (1, 16, 2, 2, 2))
    assert noise.dtype == torch.float32
    torch.testing.assert_close(noise.flatten()[:3], torch.tensor([1.7640524, 0.4001572, 0.978738]))


def test_solver_is_exact_for_a_prediction_that_does_not_change() -> None:
    """With x0 constant, x - x0 is proportional to sigma: one step or twenty end at the same place."""
    x0 = torch.tensor([0.5, -1.0], dtype=torch.float64)
    x = start = torch.tensor([100.0, -300.0], dtype=torch.float64)
    sigmas = sigma_schedule(20)
    previous = None
    for step in range(20):
        x, previous = ab2_step(x, x0, previous, sigmas, step), x0
    torch.testing.assert_close(x, x0 + (start - x0) * (sigmas[-1] / sigmas[0]), rtol=1e-12, atol=1e-12)


def test_solver_is_of_second_order() -> None:
    """For x0 linear in log sigma the exponential Adams-Bashforth step has no error at all after the first."""
    sigmas = sigma_schedule(10)

    def prediction(sigma: float) -> torch.Tensor:
        return torch.tensor([np.log(sigma)], dtype=torch.float64)

    def solution(sigma: float) -> torch.Tensor:
        # dx/d(log sigma) = x - x0 with x0 = log sigma has the solution log sigma + 1 + c * sigma.
        return torch.tensor([np.log(sigma) + 1 + 2 * sigma], dtype=torch.float64)

    x = ab2_step(solution(sigmas[3]), prediction(sigmas[3]), prediction(sigmas[2]), sigmas, 3)
    torch.testing.assert_close(x, solution(sigmas[4]), rtol=1e-12, atol=1e-12)


def test_timesteps_tell_conditional_frames_from_the_others() -> None:
    timesteps = frame_timesteps(200.0, 2, GRID, torch.device("cpu"))
    torch.testing.assert_close(timesteps, torch.tensor([[1e-4 / 1.0001, 1e-4 / 1.0001, 200 / 201]]).expand(3, 3))


def test_conditional_frames_come_out_as_they_went_in() -> None:
    condition = torch.randn(GRID.views, GRID.tokens_per_view, 64, generator=torch.Generator().manual_seed(3))
    out = run()
    first = GRID.tokens_per_frame
    assert torch.equal(out[:, :first], condition[:, :first])
    assert not torch.isclose(out[:, first:], condition[:, first:]).any()


def test_only_the_conditional_frames_are_read() -> None:
    """What stands in the conditioning latents beyond the conditional frames decides nothing, not even NaN."""
    condition = torch.randn(GRID.views, GRID.tokens_per_view, 64, generator=torch.Generator().manual_seed(3))
    condition[:, GRID.tokens_per_frame :] = float("nan")
    assert torch.equal(run(condition_VlP=condition), run())


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"guidance": 4.0}, {"num_steps": 5}, {"positive_VMC": caption(GRID, seed=9)}, {"model_fps": 10.0}],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_decides_the_result(changes: dict[str, Any]) -> None:
    assert relative_error(run(**changes), run()) > 1e-4


def test_the_same_seed_gives_the_same_clip() -> None:
    assert torch.equal(run(), run())


class Counting(MultiviewDiT):
    """A network that counts its calls, and the texts it answered for."""

    calls = branches = 0

    def forward_tokens(self, *arguments: Any, **named: Any) -> torch.Tensor:
        answers = super().forward_tokens(*arguments, **named)
        self.calls += 1
        self.branches += len(answers)
        return answers


def counting_network() -> Counting:
    source = small_network()
    network = Counting(source.config)
    network.load(source.state_dict())
    return network


def test_two_branches_a_step_and_two_for_the_clean_pass() -> None:
    network = counting_network()
    run(network)
    assert (network.calls, network.branches) == (4 + 1, 2 * (4 + 1))


def test_without_a_negative_there_is_one_branch_and_guidance_has_no_effect() -> None:
    network = counting_network()
    alone = run(network, negative_VMC=None, guidance=7.0)
    assert (network.calls, network.branches) == (4 + 1, 4 + 1)
    assert torch.equal(alone, run(negative_VMC=None, guidance=0.0))
    # Equal branches are what the reference evaluates in that case.
    assert relative_error(run(negative_VMC=caption(GRID, seed=1), guidance=7.0), alone) < 1e-6


@pytest.mark.parametrize(
    ("interval", "guided"),
    [((0.0, 1.0), [0, 1, 2, 3, 4]), ((0.2, 0.6), [1, 2]), ((0.1, 0.1), [0]), ((0.7, 1.0), [3, 4]), ((0.0, 0.0), [])],
)
def test_guidance_acts_on_the_evaluations_whose_middle_lies_in_its_interval(
    interval: tuple[float, float], guided: list[int]
) -> None:
    """Five evaluations (four steps and the clean pass) lie at 0.1, 0.3, ... 0.9."""
    approximations = Approximations(guidance_interval=interval)
    assert [step for step in range(5) if approximations.is_guided(step, 5)] == guided
    network = counting_network()
    run(network, approximations=approximations)
    assert (network.calls, network.branches) == (5, 5 + len(guided)), "one branch where there is no guidance"


def test_a_step_outside_the_interval_is_that_of_a_clip_without_guidance() -> None:
    """Guided to the end of step 2: from there on it goes on as if there were no negative prompt, and before as ever."""
    whole: list[SamplerState] = []
    part: list[SamplerState] = []
    run(on_state=whole.append)
    approximations = Approximations(guidance_interval=(0.0, 0.4))
    out = run(on_state=part.append, approximations=approximations)
    assert all(
        torch.equal(one.tensors["sample"], other.tensors["sample"])
        for one, other in zip(whole[:3], part[:3], strict=True)
    )
    assert torch.equal(out, run(resume=whole[2], negative_VMC=None))
    assert relative_error(out, run()) > 1e-4
    for state in part:
        assert torch.equal(run(resume=state, approximations=approximations), out), "a continued run decides alike"


def test_steps_are_told_including_the_clean_pass() -> None:
    told: list[tuple[int, int]] = []
    run(on_step=lambda step, total: told.append((step, total)))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_run_can_be_continued_from_any_step_bit_for_bit() -> None:
    states: list[SamplerState] = []
    whole = run(on_state=states.append)
    assert [state.step for state in states] == [0, 1, 2, 3, 4]
    assert states[0].tensors.get("previous_x0") is None
    for state in states:
        assert torch.equal(run(resume=state), whole)


def test_a_continued_run_tells_only_its_own_steps() -> None:
    states: list[SamplerState] = []
    run(on_state=states.append)
    told: list[int] = []
    run(resume=states[3], on_step=lambda step, _: told.append(step))
    assert told == [4, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition_VlP": None}, "no conditioning latents"),
        ({"num_condition_latents": 4}, "expected 0 to 3"),
        ({"positive_VMC": torch.zeros(3, 20, 10)}, r"expected \[3, 512"),
        ({"negative_VMC": torch.zeros(2, 512, 10)}, r"expected \[3, 512"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(**changes)
