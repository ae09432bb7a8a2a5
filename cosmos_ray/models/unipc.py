"""The order-2 UniPC solver of rectified flows (arXiv 2302.04867, B2(h)): how the models from Predict2.5 on denoise.

A step corrects the sample that it was given with what the network has said of it, then predicts the next one; the last
prediction of the clean clip is the result. Conditional frames are replaced before the network sees them, and their
velocity by the one that leads to them: they end 2e-4 of the noise away from what was given, as published.

Legend: V views, T latent frames, l a rank's share of a view's tokens, P = 64 values a token, R texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cosmos_ray.models.network.dit import Grid

#: Of the schedule before it is shifted.
_FIRST = float(np.float32(0.999))
TIMESTEPS = 1000
#: Of the network: its time is a timestep of TIMESTEPS times this.
TIMESTEP_SCALE = 0.001
SHIFT = 5.0


def flow_sigmas(num_steps: int, shift: float = SHIFT) -> np.ndarray:
    """Parts of noise [num_steps + 1] float64, falling from nearly 1; the last one is 0."""
    if num_steps < 1:
        raise ValueError(f"num_steps {num_steps}: expected at least 1")
    plain = _FIRST * (1 - np.arange(num_steps, dtype=np.float64) / num_steps)
    return np.append(shift * plain / (1 + (shift - 1) * plain), 0.0)


def flow_timesteps(sigmas: np.ndarray) -> np.ndarray:
    """int64 [num_steps]: what the network is told, before its scale."""
    return np.trunc(TIMESTEPS * sigmas[:-1]).astype(np.int64)


class UniPC:
    """One clip's schedule (`sampler.Solver`), in float32 but for the scalars.

    State before a pass: `sample`, as predicted; and, from the second and third on, `corrected`, the sample before it;
    `previous_x0` and `earlier_x0`, the clean clip as it was predicted there, and one before.
    """

    reads_noise = True

    def __init__(self, num_steps: int, shift: float = SHIFT) -> None:
        # Tables are float32, as the published solver keeps them; what follows from them is float64.
        sigmas = flow_sigmas(num_steps, shift)
        self.sigmas = sigmas.astype(np.float32).astype(np.float64)
        self.times = flow_timesteps(sigmas)
        self.passes = num_steps

    def start(self, noise_VlP: Tensor) -> dict[str, Tensor]:
        return {"sample": noise_VlP}

    def timesteps(self, number: int, given: int, grid: Grid, device: torch.device) -> Tensor:
        """[1, 1] float32: one for all frames, conditional ones too."""
        return torch.tensor([[int(self.times[number])]], device=device) * TIMESTEP_SCALE

    def shown(self, sample_VlP: Tensor, number: int) -> Tensor:
        return sample_VlP

    def prediction(
        self,
        sample_VlP: Tensor,
        answer_RVlP: Tensor,
        number: int,
        is_given_l1: Tensor,
        given_VlP: Tensor,
        noise_VlP: Tensor,
    ) -> Tensor:
        """The velocity, from the clean clip to the noise."""
        return torch.where(is_given_l1, noise_VlP - given_VlP, answer_RVlP)

    def advance(self, state: Mapping[str, Tensor], velocity_VlP: Tensor, number: int) -> dict[str, Tensor]:
        x0_VlP = self.result_at(state, velocity_VlP, number)
        corrected_VlP = self._corrected(state, x0_VlP, number)
        sample_VlP = self._predicted(corrected_VlP, x0_VlP, state.get("previous_x0"), number)
        after = {"sample": sample_VlP, "corrected": corrected_VlP, "previous_x0": x0_VlP}
        return after | ({"earlier_x0": state["previous_x0"]} if number else {})

    def result(self, state: Mapping[str, Tensor], velocity_VlP: Tensor) -> Tensor:
        """At the last step the predictor leads to the clean clip itself, whatever the corrector says."""
        return self.result_at(state, velocity_VlP, self.passes - 1)

    def result_at(self, state: Mapping[str, Tensor], velocity_VlP: Tensor, number: int) -> Tensor:
        """The clean clip, as this velocity has it."""
        return state["sample"] - float(self.sigmas[number]) * velocity_VlP

    def _corrected(self, state: Mapping[str, Tensor], x0_VlP: Tensor, number: int) -> Tensor:
        """The sample of this pass, seen again with what the network has said of it."""
        if number == 0:
            return state["sample"]
        h, alpha = self._half_log(number) - self._half_log(number - 1), 1 - float(self.sigmas[number])
        grown = math.expm1(-h)
        before_VlP = state["previous_x0"]
        base_VlP = float(self.sigmas[number] / self.sigmas[number - 1]) * state["corrected"]
        base_VlP = base_VlP - alpha * grown * before_VlP
        change_VlP = x0_VlP - before_VlP
        if number == 1:  # the pass before had none before it
            return base_VlP - alpha * grown * 0.5 * change_VlP
        r = (self._half_log(number - 2) - self._half_log(number - 1)) / h
        slope_VlP = (state["earlier_x0"] - before_VlP) / r
        q = -h
        b1 = (grown / q - 1) / grown
        b2 = 2 * ((grown / q - 1) / q - 0.5) / grown
        rho1 = (b1 - b2) / (1 - r)
        return base_VlP - alpha * grown * (rho1 * slope_VlP + (b1 - rho1) * change_VlP)

    def _predicted(self, sample_VlP: Tensor, x0_VlP: Tensor, before_VlP: Tensor | None, number: int) -> Tensor:
        """The sample of the next pass, which is not the last one's end: there all that counts is x0."""
        sigma, after = float(self.sigmas[number]), float(self.sigmas[number + 1])
        h = self._half_log(number + 1) - self._half_log(number)
        grown = math.expm1(-h)
        next_VlP = (after / sigma) * sample_VlP - (1 - after) * grown * x0_VlP
        if before_VlP is None:
            return next_VlP
        r = (self._half_log(number - 1) - self._half_log(number)) / h
        return next_VlP - (1 - after) * grown * (before_VlP - x0_VlP) / (2 * r)

    def _half_log(self, number: int) -> float:
        """Half the logarithm of the ratio of signal to noise."""
        sigma = float(self.sigmas[number])
        return math.log(1 - sigma) - math.log(sigma)
