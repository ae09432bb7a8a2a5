"""The sampler to the bit: where it rounds, and what it asks of the network and makes of its answer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import caption, small_network
from torch import Tensor

from cosmos_ray.models.ab2 import ab2_step, frame_timesteps, sigma_schedule
from cosmos_ray.models.network.dit import NUMERICS_DTYPE, Grid
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import SamplerState, denoise, initial_noise

GRID = Grid(views=2, frames=3, height=2, width=2)


class Answering:
    """In the network's place: gives a velocity that the test knows, and remembers what it was asked."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.config, self.dtype, self.device = small_network().config, dtype, torch.device("cpu")
        self.asked: list[tuple[Tensor, Tensor]] = []
        self.learns: list[bool] = []
        generator = torch.Generator().manual_seed(7)
        self.velocity = torch.randn(1, GRID.views, GRID.tokens_per_view, 64, generator=generator).to(dtype)

    def share(self, *_: Any, **__: Any) -> None:
        return None

    def forward_tokens(self, x: Tensor, _mask: Tensor, timesteps: Tensor, *_: Any, **__: Any) -> Tensor:
        self.asked.append((x[0], timesteps[0]))
        self.learns.append(torch.is_grad_enabled())
        return self.velocity


def run(network: Any, **changes: Any) -> Tensor:
    settings: dict[str, Any] = {
        "grid": GRID,
        "condition_VlP": None,
        "num_condition_latents": 0,
        "positive_VMC": caption(GRID),
        "negative_VMC": None,
        "guidance": 3.0,
        "num_steps": 3,
        "seed": 0,
        "model_fps": 30.0,
        "parallel": ContextParallel(),
    }
    return denoise(network, **(settings | changes))


@settings(max_examples=100)
@given(st.integers(1, 200), st.floats(1.0, 500.0), st.floats(1e-4, 0.9), st.floats(1.0, 12.0))
def test_any_schedule_falls_strictly_from_its_first_level_to_its_last(
    num_steps: int, sigma_max: float, sigma_min: float, order: float
) -> None:
    sigmas = sigma_schedule(num_steps, sigma_max, sigma_min, order)
    assert (sigmas.shape, sigmas.dtype) == ((num_steps + 1,), np.float64)
    assert sigmas[[0, -1]] == pytest.approx([sigma_max, sigma_min], rel=1e-9)
    assert all(after < before for before, after in pairwise(sigmas))
    roots = sigmas ** (1 / order)
    assert np.diff(roots) == pytest.approx((roots[-1] - roots[0]) / num_steps, rel=1e-5), "even in the roots"


def test_a_timestep_is_rounded_to_float32_before_and_after_each_operation() -> None:
    """As the published pipeline has it: not the float32 next to the exact quotient, for some noise levels."""
    levels = sigma_schedule(35).tolist()
    one = np.float32(1)
    expected = [float(np.float32(level) / (one + np.float32(level))) for level in levels]
    found = [frame_timesteps(level, 0, GRID, torch.device("cpu"))[0, 0].item() for level in levels]
    assert found == expected
    assert expected != [float(np.float32(level / (1 + level))) for level in levels], "levels that tell the two apart"


@pytest.mark.parametrize("has_previous", [False, True])
def test_a_solver_step_is_float64_and_rounded_once(has_previous: bool) -> None:
    """Of float32 tensors: the number nearest to what the formula gives in float64, every time."""
    generator = torch.Generator().manual_seed(0)
    x, now, before = (torch.randn(4000, generator=generator) * size for size in (50.0, 1.0, 1.0))
    sigmas, step = sigma_schedule(20), 5
    a = sigmas[step + 1] / sigmas[step]
    x_64, now_64, before_64 = (tensor.numpy().astype(np.float64) for tensor in (x, now, before))
    if has_previous:
        h = np.log(sigmas[step] / sigmas[step + 1])
        r = np.log(sigmas[step - 1] / sigmas[step]) / h
        f1 = (1 - np.exp(-h)) / h
        f2 = (1 - f1) / h
        expected = a * x_64 + h * ((f1 + f2 / r) * now_64 - f2 / r * before_64)
    else:
        expected = a * x_64 + (1 - a) * now_64
    found = ab2_step(x, now, before if has_previous else None, sigmas, step)
    assert found.dtype == torch.float32
    assert (found.numpy() != expected.astype(np.float32)).mean() < 0.001, "but for a number on the very edge"


def test_a_velocity_in_bfloat16_is_widened_before_it_is_used() -> None:
    """The network answers in bfloat16; everything after it is float32, or the product with the time rounds again."""
    network = Answering(NUMERICS_DTYPE["reference"])
    states: list[SamplerState] = []
    out = run(network, on_state=states.append)
    answers = [*(state.tensors.get("previous_x0") for state in states[1:]), out]
    for (_, timesteps), before, answer in zip(network.asked, states, answers, strict=True):
        t = float(timesteps[0, 0])
        keep = float(np.float32(1) - np.float32(t))
        assert answer is not None
        assert answer.dtype == torch.float32
        assert torch.equal(answer, keep * before.tensors["sample"] - t * network.velocity[0].float())


def test_the_network_sees_the_sample_scaled_and_given_frames_as_they_are() -> None:
    network = Answering(torch.float32)
    states: list[SamplerState] = []
    given = torch.randn(GRID.views, GRID.tokens_per_view, 64, generator=torch.Generator().manual_seed(3))
    out = run(network, condition_VlP=given, num_condition_latents=1, on_state=states.append)
    first = GRID.tokens_per_frame
    for (seen, timesteps), state in zip(network.asked, states, strict=True):
        assert torch.equal(seen[:, :first], given[:, :first])
        assert torch.equal(seen[:, first:], (1 - timesteps[0, -1]) * state.tensors["sample"][:, first:])
        assert (timesteps[:, 0] < 1e-3).all()
    assert torch.equal(out[:, :first], given[:, :first])


def test_nothing_is_learnt_while_a_clip_is_made() -> None:
    """Activations of all steps would be kept; and fused kernels are for inference only."""
    network = Answering(torch.float32)
    with torch.enable_grad():
        out = run(network)
    assert network.learns == [False] * 4
    assert not out.requires_grad


def test_all_frames_may_be_given() -> None:
    given = torch.randn(GRID.views, GRID.tokens_per_view, 64, generator=torch.Generator().manual_seed(3))
    assert torch.equal(run(Answering(torch.float32), condition_VlP=given, num_condition_latents=3), given)


def test_a_run_begins_at_200_times_unit_noise_of_each_view() -> None:
    """Views one after the other in the noise, as in the layout of a single GPU."""
    states: list[SamplerState] = []
    run(Answering(torch.float32), on_state=states.append, seed=11)
    noise_CVTHW = initial_noise(11, (16, 2, 3, 4, 4))
    token = states[0].tensors["sample"][1, (2 * GRID.height + 1) * GRID.width + 0]  # view 1, frame 2, row 1, column 0
    assert torch.equal(token.view(16, 2, 2), 200 * noise_CVTHW[:, 1, 2, 2:4, 0:2])


@pytest.mark.parametrize("name", ["positive_VMC", "negative_VMC"])
def test_text_of_another_length_is_another_softmax_and_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name[:8]} text \[2, 511, 10\]: expected \[2, 512"):
        run(Answering(torch.float32), **{name: caption(GRID)[:, :511]})
