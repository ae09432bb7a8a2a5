"""UniPC on the noise levels of Predict2's own schedule: the published solver's place can be taken by it.

Predict2's network answers a sample over (1 + noise level) with a velocity, as that of a rectified flow does at the time
level / (1 + level): in those units the two are one. What differs is here: which times there are, that conditional
frames have a time of their own, and the end. The last step leads to the lowest noise level, where the published solver
looks once more; here the clean clip is what that step's own line of predictions leads to, which leaves conditional
frames as they were given.

Legend: V views, T latent frames, l a rank's share of a view's tokens, P = 64 values a token, R texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from cosmos_ray.models.ab2 import SIGMA_MAX, SIGMA_MIN, frame_timesteps, sigma_schedule
from cosmos_ray.models.network.dit import Grid
from cosmos_ray.models.unipc import UniPC


class NoiseUniPC(UniPC):
    """One clip's schedule (`sampler.Solver`), of as many evaluations as steps. State: as `UniPC`'s."""

    reads_noise = False

    def __init__(
        self, num_steps: int, levels: tuple[float, float] = (SIGMA_MAX, SIGMA_MIN), exponent: float = 7.0
    ) -> None:
        self._levels = sigma_schedule(num_steps, *levels, order=exponent)
        self.sigmas = self._levels / (1 + self._levels)
        self.passes = num_steps

    def start(self, noise_VlP: Tensor) -> dict[str, Tensor]:
        return {"sample": float(self.sigmas[0]) * noise_VlP}

    def timesteps(self, number: int, given: int, grid: Grid, device: torch.device) -> Tensor:
        return frame_timesteps(float(self._levels[number]), given, grid, device)

    def prediction(
        self, sample_VlP: Tensor, answer_RVlP: Tensor, number: int, is_given_l1: Tensor, given_VlP: Tensor, _: Tensor
    ) -> Tensor:
        """The velocity; that of conditional frames leads to what was given."""
        return torch.where(is_given_l1, (sample_VlP - given_VlP) / float(self.sigmas[number]), answer_RVlP)

    def result(self, state: Mapping[str, Tensor], velocity_VlP: Tensor) -> Tensor:
        number = self.passes - 1
        x0_VlP = self.result_at(state, velocity_VlP, number)
        if number == 0:
            return x0_VlP
        h = self._half_log(number + 1) - self._half_log(number)
        r = (self._half_log(number - 1) - self._half_log(number)) / h
        return x0_VlP - math.expm1(-h) * (state["previous_x0"] - x0_VlP) / (2 * r)
