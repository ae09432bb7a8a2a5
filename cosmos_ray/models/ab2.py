"""Second-order Adams-Bashforth over falling noise levels: how Predict2 denoises.

The clip is predicted once more at the lowest level, and that prediction is the result. Conditional frames are shown to
the network almost clean. The sample is float32, the solver's update float64 inside.

Legend: V views, T latent frames, l a rank's share of a view's tokens, P = 64 values a token, R texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cosmos_ray.models.network.dit import Grid

#: Of the multiview model.
SIGMA_MAX, SIGMA_MIN = 200.0, 0.01
#: Noise level at which the network sees conditional frames.
SIGMA_CONDITIONAL = 1e-4


def sigma_schedule(
    num_steps: int, sigma_max: float = SIGMA_MAX, sigma_min: float = SIGMA_MIN, order: float = 7.0
) -> np.ndarray:
    """Noise levels [num_steps + 1] float64, falling from sigma_max to sigma_min; no zero at the end
    (Karras et al., arXiv 2206.00364, eq. 5)."""
    if num_steps < 1:
        raise ValueError(f"num_steps {num_steps}: expected at least 1")
    fraction = np.arange(num_steps + 1, dtype=np.float64) / num_steps
    high, low = sigma_max ** (1 / order), sigma_min ** (1 / order)
    return (high + fraction * (low - high)) ** order


def ab2_step(sample: Tensor, x0: Tensor, previous_x0: Tensor | None, sigmas: np.ndarray, step: int) -> Tensor:
    """Take the sample from noise level sigmas[step] to sigmas[step + 1], given the prediction x0 there.

    Exponential Adams-Bashforth in log sigma, second order from the second step on. Computed in float64, stored in
    the sample's dtype.
    """
    sigma, sigma_next = float(sigmas[step]), float(sigmas[step + 1])
    ratio = sigma_next / sigma
    x, now = sample.double(), x0.double()
    if previous_x0 is None:
        return (ratio * x + (1 - ratio) * now).to(sample.dtype)
    h = math.log(sigma / sigma_next)
    r = math.log(float(sigmas[step - 1]) / sigma) / h
    f1 = (1 - math.exp(-h)) / h
    f2 = (1 - f1) / h
    update = (f1 + f2 / r) * now - (f2 / r) * previous_x0.double()
    return (ratio * x + h * update).to(sample.dtype)


def frame_timesteps(sigma: float, num_condition_latents: int, grid: Grid, device: torch.device) -> Tensor:
    """Timesteps [V, T] float32: sigma / (1 + sigma), and nearly 0 on each view's conditional frames."""
    timesteps_VT = torch.full((grid.views, grid.frames), float(_timestep(sigma)), device=device)
    timesteps_VT[:, :num_condition_latents] = float(_timestep(SIGMA_CONDITIONAL))
    return timesteps_VT


class AdamsBashforth:
    """One clip's schedule (`sampler.Solver`). State: `sample`, and `previous_x0` from the second step on."""

    reads_noise = False
    _sigma_max = SIGMA_MAX

    def __init__(
        self, num_steps: int, levels: tuple[float, float] = (SIGMA_MAX, SIGMA_MIN), exponent: float = 7.0
    ) -> None:
        self._sigma_max = levels[0]
        self._sigmas = sigma_schedule(num_steps, *levels, order=exponent)
        self.passes = num_steps + 1

    def start(self, noise_VlP: Tensor) -> dict[str, Tensor]:
        return {"sample": self._sigma_max * noise_VlP}

    def timesteps(self, number: int, given: int, grid: Grid, device: torch.device) -> Tensor:
        return frame_timesteps(float(self._sigmas[number]), given, grid, device)

    def shown(self, sample_VlP: Tensor, number: int) -> Tensor:
        return self._keep(number) * sample_VlP

    def prediction(
        self, sample_VlP: Tensor, answer_RVlP: Tensor, number: int, is_given_l1: Tensor, given_VlP: Tensor, _: Tensor
    ) -> Tensor:
        """The clean clip as each text has it."""
        t = float(_timestep(float(self._sigmas[number])))
        return torch.where(is_given_l1, given_VlP, self._keep(number) * sample_VlP - t * answer_RVlP)

    def advance(self, state: Mapping[str, Tensor], x0_VlP: Tensor, number: int) -> dict[str, Tensor]:
        sample_VlP = ab2_step(state["sample"], x0_VlP, state.get("previous_x0"), self._sigmas, number)
        return {"sample": sample_VlP, "previous_x0": x0_VlP}

    def result(self, _: Mapping[str, Tensor], x0_VlP: Tensor) -> Tensor:
        return x0_VlP

    def _keep(self, number: int) -> float:
        return float(np.float32(1) - _timestep(float(self._sigmas[number])))


def _timestep(sigma: float) -> np.float32:
    """sigma / (1 + sigma), in float32 from the float32 sigma on."""
    rounded = np.float32(sigma)
    return rounded / (np.float32(1) + rounded)
