"""A few evaluations under the caption alone, each from new noise: how distilled Text2Image networks are sampled.

Between two evaluations the sample is float32, as the network's wrapper takes it; around each one it is float64.

Legend: V views, T latent frames, l a rank's share of a view's tokens, P = 64 values a token, R texts (one, here).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from cosmos_ray.errors import column_error
from cosmos_ray.models.network.dit import Grid

#: Noise levels of the evaluations; fewer steps take the first ones.
SIGMAS = (80.0, 3.6, 1.5574, 0.684)


class Distilled:
    """One picture's schedule (`sampler.Solver`). draw: the noise that pass `number` begins with, this rank's share."""

    reads_noise = False

    def __init__(self, num_steps: int, draw: Callable[[int], Tensor]) -> None:
        if not 1 <= num_steps <= len(SIGMAS):
            raise column_error("num_steps", num_steps, f"1 to {len(SIGMAS)}: the model is distilled")
        self._draw = draw
        self.passes = num_steps

    def start(self, noise_VlP: Tensor) -> dict[str, Tensor]:
        return {"sample": SIGMAS[0] * noise_VlP}

    def timesteps(self, number: int, given: int, grid: Grid, device: torch.device) -> Tensor:
        return torch.full((grid.views, grid.frames), _timestep(number), device=device)

    def shown(self, sample_VlP: Tensor, number: int) -> Tensor:
        return ((1 - _timestep(number)) * sample_VlP.double()).float()

    def prediction(
        self, sample_VlP: Tensor, answer_RVlP: Tensor, number: int, is_given_l1: Tensor, given_VlP: Tensor, _: Tensor
    ) -> Tensor:
        """The clean picture, float64."""
        t = _timestep(number)
        return (1 - t) * sample_VlP.double() - t * answer_RVlP.double()

    def advance(self, state: Mapping[str, Tensor], x0_VlP: Tensor, number: int) -> dict[str, Tensor]:
        noise_VlP = self._draw(number + 1).double()
        return {"sample": (x0_VlP + SIGMAS[number + 1] * noise_VlP).float()}

    def result(self, _: Mapping[str, Tensor], x0_VlP: Tensor) -> Tensor:
        return x0_VlP.float()


def _timestep(number: int) -> float:
    """sigma / (1 + sigma), in float64 from the float32 sigma on."""
    rounded = float(np.float32(SIGMAS[number]))
    return rounded / (1 + rounded)
