"""The distilled model's few evaluations, number by number: where they are float64, and which noise each begins with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cosmos_ray.errors import RowError
from cosmos_ray.models.distilled import SIGMAS, Distilled

NOTHING = torch.zeros(())
SAMPLE, ANSWER = torch.tensor([1.1, -30.0]), torch.tensor([0.3, 2.7])


def solver(num_steps: int = 4, drawn: list[int] | None = None) -> Distilled:
    def draw(number: int) -> torch.Tensor:
        if drawn is not None:
            drawn.append(number)
        return torch.tensor([0.1, 0.7]) * number

    return Distilled(num_steps, draw)


@pytest.mark.parametrize("number", range(4))
def test_around_an_evaluation_it_is_float64_of_the_float32_level(number: int) -> None:
    level = float(np.float32(SIGMAS[number]))
    t = level / (1 + level)
    found = solver().prediction(SAMPLE, ANSWER, number, NOTHING, NOTHING, NOTHING)
    expected = [(1 - t) * one - t * other for one, other in zip(SAMPLE.tolist(), ANSWER.tolist(), strict=True)]
    assert found.tolist() == expected, "to the last bit"
    shown = solver().shown(SAMPLE, number)
    assert shown.dtype == torch.float32
    assert shown.tolist() == [float(np.float32((1 - t) * one)) for one in SAMPLE.tolist()]


def test_the_next_evaluation_begins_with_its_own_noise_at_its_own_level() -> None:
    drawn: list[int] = []
    clean = torch.tensor([0.5, 0.25], dtype=torch.float64)
    sample = solver(drawn=drawn).advance({}, clean, 1)["sample"]
    assert drawn == [2]
    assert sample.dtype == torch.float32
    noise = (torch.tensor([0.1, 0.7]) * 2).tolist()
    expected = [one + SIGMAS[2] * each for one, each in zip(clean.tolist(), noise, strict=True)]
    assert sample.tolist() == [float(np.float32(one)) for one in expected]
    assert solver().result({}, clean).dtype == torch.float32


@pytest.mark.parametrize("num_steps", [0, 5])
def test_it_knows_four_steps(num_steps: int) -> None:
    assert solver(4).passes == 4
    with pytest.raises(RowError, match=f"`num_steps`: found {num_steps}, expected 1 to 4"):
        solver(num_steps)
