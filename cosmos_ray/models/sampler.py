"""From noise to a clip's latents: the rectified-flow sampler with a second-order Adams-Bashforth solver.

Everything is elementwise on a rank's share of the tokens, so it needs no communication of its own. The sample is
float32, the solver's update float64 inside.

Legend: V views, T latent frames, H/W latent height and width, L tokens of a view, l a rank's share of them, P = 64
values a token, M text tokens, C text width (of noise: latent channels), R texts of a clip that guidance weighs: the
caption's and the negative prompt's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.network.dit import Grid, MultiviewDiT, patchify
from cosmos_ray.models.noise import draw_noise
from cosmos_ray.models.parallel import ContextParallel, shard, share_slice

__all__ = ["Grid", "SamplerState", "ab2_step", "denoise", "frame_timesteps", "initial_noise", "sigma_schedule"]

SIGMA_MAX = 200.0
#: Noise level at which the network sees conditional frames.
SIGMA_CONDITIONAL = 1e-4


@dataclass(frozen=True)
class SamplerState:
    """A run between two steps: all it takes to go on (this rank's share).

    step: solver steps done; sample_VlP: float32, at the noise level of that step; previous_x0_VlP: the last step's
    prediction, None before the first.
    """

    step: int
    sample_VlP: Tensor
    previous_x0_VlP: Tensor | None


def sigma_schedule(
    num_steps: int, sigma_max: float = SIGMA_MAX, sigma_min: float = 0.01, order: float = 7.0
) -> np.ndarray:
    """Noise levels [num_steps + 1] float64, falling from sigma_max to sigma_min; no zero at the end
    (Karras et al., arXiv 2206.00364, eq. 5)."""
    if num_steps < 1:
        raise ValueError(f"num_steps {num_steps}: expected at least 1")
    fraction = np.arange(num_steps + 1, dtype=np.float64) / num_steps
    high, low = sigma_max ** (1 / order), sigma_min ** (1 / order)
    return (high + fraction * (low - high)) ** order


def initial_noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Unit normal noise, float32: the same numbers for a seed on every machine, whatever the number of ranks."""
    return torch.from_numpy(draw_noise(seed, shape))


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


@torch.no_grad()
def denoise(
    network: MultiviewDiT,
    *,
    grid: Grid,
    condition_VlP: Tensor | None,
    num_condition_latents: int,
    positive_VMC: Tensor,
    negative_VMC: Tensor | None,
    guidance: float,
    num_steps: int,
    seed: int,
    model_fps: float,
    parallel: ContextParallel,
    view_ids: Sequence[int] | None = None,
    noise_CVTHW: Tensor | None = None,
    approximations: Approximations = EXACT,
    on_step: Callable[[int, int], None] | None = None,
    on_state: Callable[[SamplerState], None] | None = None,
    resume: SamplerState | None = None,
) -> Tensor:
    """Generate one clip's latents: this rank's share [V, l, 64] float32. Collective.

    condition_VlP: this rank's share of the conditioning latents, read on the first `num_condition_latents` frames of
    each view only; None if that number is 0. positive, negative: text of each view [V, 512, C], zero padded; without
    a negative there is one text and nothing for guidance to act on. guidance: added to 1 to weigh the positive
    branch against the negative. view_ids: the camera of each view; 0 to V-1 if left out. noise: the whole clip's, where
    it was drawn from the seed ahead. approximations: among others, where guidance acts; elsewhere the positive branch
    is computed alone. on_step(done, total): after each of the num_steps + 1 steps, the last of which is the clean pass.
    on_state: the state before the first and after each solver step; given back as `resume`, on the network's device,
    it continues that run bit for bit.
    """
    _check_inputs(grid, condition_VlP, num_condition_latents, positive_VMC, negative_VMC)
    share = network.share(grid, model_fps, parallel, given_frames=num_condition_latents)
    device = network.device
    sigmas = sigma_schedule(num_steps)
    tokens = share_slice(grid.tokens_per_view, parallel)

    # Conditional tokens are the first frames of each view.
    is_given_l1 = torch.arange(tokens.start, tokens.stop, device=device)[:, None] < (
        num_condition_latents * grid.tokens_per_frame
    )
    if condition_VlP is None:
        condition_VlP = torch.zeros((), device=device)
    given_VlP = condition_VlP.to(device, torch.float32)
    mask_VlP = is_given_l1.float().expand(grid.views, -1, network.config.patch_spatial**2)

    cameras_1VT = None
    if view_ids is not None:
        cameras_1VT = torch.tensor(view_ids, device=device)[None, :, None].expand(1, grid.views, grid.frames)

    def predict(x_VlP: Tensor, step: int, texts_RVMC: Tensor) -> Tensor:
        """The clean clip as each text has it at this step's noise level, [R, V, l, 64]."""
        sigma = float(sigmas[step])
        t = _timestep(sigma)
        keep = float(np.float32(1) - t)
        net_in_VlP = torch.where(is_given_l1, given_VlP, keep * x_VlP)
        timesteps_VT = frame_timesteps(sigma, num_condition_latents, grid, device)
        velocity_RVlP = network.forward_tokens(
            net_in_VlP[None],
            mask_VlP[None],
            timesteps_VT[None],
            texts_RVMC,
            share,
            view_indices_BVT=cameras_1VT,
            fp8_blocks=approximations.fp8_blocks(step, num_steps, network.config.num_blocks),
        ).float()
        return torch.where(is_given_l1, given_VlP, keep * x_VlP - float(t) * velocity_RVlP)

    texts = [text_VMC for text_VMC in (positive_VMC, negative_VMC) if text_VMC is not None]
    texts_RVMC = torch.stack(texts).to(device, network.dtype)

    def guided(x_VlP: Tensor, step: int) -> Tensor:
        weighed_RVMC = texts_RVMC if approximations.is_guided(step, num_steps) else texts_RVMC[:1]
        x0_VlP, *negative = predict(x_VlP, step, weighed_RVMC)
        return x0_VlP + guidance * (x0_VlP - negative[0]) if negative else x0_VlP

    state = resume or _initial_state(network, seed, grid, parallel, noise_CVTHW)
    if on_state:
        on_state(state)
    for step in range(state.step, num_steps):
        x_VlP, previous_VlP = state.sample_VlP, state.previous_x0_VlP
        x0_VlP = guided(x_VlP, step)
        state = SamplerState(step + 1, ab2_step(x_VlP, x0_VlP, previous_VlP, sigmas, step), x0_VlP)
        if on_state:
            on_state(state)
        if on_step:
            on_step(step + 1, num_steps + 1)
    clean_VlP = guided(state.sample_VlP, num_steps)
    if on_step:
        on_step(num_steps + 1, num_steps + 1)
    return clean_VlP


def _timestep(sigma: float) -> np.float32:
    """sigma / (1 + sigma), in float32 from the float32 sigma on."""
    rounded = np.float32(sigma)
    return rounded / (np.float32(1) + rounded)


def _initial_state(
    network: MultiviewDiT, seed: int, grid: Grid, parallel: ContextParallel, noise_CVTHW: Tensor | None
) -> SamplerState:
    """Noise drawn for the whole clip in the single-GPU layout, then cut: the ranks' number never changes a clip."""
    config = network.config
    patch = config.patch_spatial
    if noise_CVTHW is None:
        shape = (config.in_channels, grid.views, grid.frames, grid.height * patch, grid.width * patch)
        noise_CVTHW = initial_noise(seed, shape)
    noise_VLP = patchify(noise_CVTHW.to(network.device).transpose(0, 1), patch)
    return SamplerState(0, SIGMA_MAX * shard(noise_VLP, parallel), None)


def _check_inputs(
    grid: Grid,
    condition_VlP: Tensor | None,
    num_condition_latents: int,
    positive_VMC: Tensor,
    negative_VMC: Tensor | None,
) -> None:
    if not 0 <= num_condition_latents <= grid.frames:
        raise ValueError(f"{num_condition_latents} conditional latent frames: expected 0 to {grid.frames}")
    if num_condition_latents and condition_VlP is None:
        raise ValueError(f"{num_condition_latents} conditional latent frames, but no conditioning latents")
    for name, text_VMC in (("positive", positive_VMC), ("negative", negative_VMC)):
        # Shorter text would be another softmax: the padding is part of the model.
        if text_VMC is not None and text_VMC.shape[:2] != (grid.views, TEXT_TOKENS):
            raise ValueError(
                f"{name} text {list(text_VMC.shape)}: expected [{grid.views}, {TEXT_TOKENS}, text width], zero padded"
            )
