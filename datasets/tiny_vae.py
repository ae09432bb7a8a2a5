"""Training of the tiny model's autoencoder, and its end: latents of zero mean and unit variance in weights of 16 bits.

Legend: N clips, B batch, V views, C channels, T frames, H/W height/width.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from diffusers import AutoencoderKLWan
from tiny_data import signed
from tiny_optim import Optimiser
from torch import Tensor
from torch.nn import functional as F

from cosmos_ray.models.vae.vae import LATENT_MEAN, LATENT_STD
from cosmos_ray.models.vae.vae_whole import decode_whole, encode_whole

#: Frames of a training clip -> views in a batch. Short clips teach pixels, long ones that colours must not drift.
BATCHES = {9: 40, 29: 12}
#: Noise on latents, in their standard deviations: generated latents are never exact, the decoder must bear that.
LATENT_NOISE = 0.05
#: Weight of a car's pixels in the loss; others have 1.
CAR_WEIGHT = 3.0
_SECONDS_BETWEEN_LOGS = 20.0

logger = logging.getLogger(__name__)


def vae_loss(model: AutoencoderKLWan, video_BCTHW: Tensor, weight_BTHW: Tensor) -> tuple[Tensor, Tensor]:
    """(loss, mean squared error). Absolute differences keep edges, squares keep flat areas true in colour."""
    with torch.autocast(video_BCTHW.device.type, torch.bfloat16, enabled=video_BCTHW.is_cuda):
        latent = encode_whole(model, video_BCTHW)
        spread = latent.detach().float().std(dim=(0, 2, 3, 4), keepdim=True)
        found = decode_whole(model, latent + LATENT_NOISE * spread * torch.randn_like(latent))
    difference = found.float() - video_BCTHW
    weight = weight_BTHW[:, None] / weight_BTHW.mean()
    # The size of latents is free; this only keeps them within what 16 bits tell apart.
    loss = (weight * difference.abs()).mean() + 3 * (weight * difference.square()).mean()
    return loss + 1e-5 * latent.float().square().mean(), difference.detach().square().mean()


class ViewSampler:
    """Random stretches of random views out of rendered clips."""

    def __init__(self, frames_NVTHWC: Tensor, cars_NVThw: Tensor, seed: int) -> None:
        self.frames, self.cars = frames_NVTHWC.flatten(0, 1), cars_NVThw.flatten(0, 1)
        self.random = torch.Generator().manual_seed(seed)

    def draw(self, length: int, batch: int) -> tuple[Tensor, Tensor]:
        """Video [B, 3, length, H, W] in [-1, 1] and weights [B, length, H, W]."""
        clips, total = self.frames.shape[:2]
        chosen = torch.randint(clips, (batch, 1), generator=self.random)
        starts = torch.randint(total - length + 1, (batch, 1), generator=self.random)
        times = starts + torch.arange(length)
        where = (chosen.to(self.frames.device), times.to(self.frames.device))
        video = signed(self.frames[where]).permute(0, 4, 1, 2, 3)
        weight = 1 + (CAR_WEIGHT - 1) * self.cars[where].float()
        return video, F.interpolate(weight, scale_factor=8.0, mode="nearest")


def train_vae(
    model: AutoencoderKLWan,
    optimiser: Optimiser,
    views: ViewSampler,
    share: Callable[[], float],
    step: int,
    save: Callable[[int], None],
    compiled: bool = False,
    batches: dict[int, int] = BATCHES,
) -> int:
    """Train until `share` (of the phase's time) reaches 1 or more; the number of steps done in all.

    share: where in the schedule we are, asked before each step; above 1, the run is over. save(step): now and then.
    """
    model.train().requires_grad_(True)
    loss_of = torch.compile(vae_loss) if compiled else vae_loss
    logged, errors = time.monotonic(), []
    while (position := share()) < 1:
        length, batch = list(batches.items())[step % len(batches)]
        loss, error = loss_of(model, *views.draw(length, batch))
        loss.backward()
        optimiser.step(position)
        errors.append(error)
        step += 1
        if time.monotonic() - logged > _SECONDS_BETWEEN_LOGS:
            db = -10 * torch.stack(errors).mean().div(4).log10().item()
            logger.info("autoencoder step %d, %.0f %% of its time: %.2f dB", step, 100 * position, db)
            logged, errors = time.monotonic(), []
            save(step)
    return step


@torch.no_grad()
def normalise(model: AutoencoderKLWan, video_BCTHW: Tensor) -> None:
    """Rescale the latent channels so that on this video the published mean and deviation normalise them to 0 and 1.

    Nothing else changes: the last layer of the encoder takes the scale, the first of the decoder its inverse.
    """
    channels = model.config.z_dim
    latent = torch.cat([encode_whole(model, part) for part in video_BCTHW.split(4)])
    mean, std = latent.mean(dim=(0, 2, 3, 4)), latent.std(dim=(0, 2, 3, 4))
    wanted_mean, wanted_std = (torch.tensor(v[:channels], device=mean.device) for v in (LATENT_MEAN, LATENT_STD))
    scale = wanted_std / std
    weight, bias = model.quant_conv.weight, model.quant_conv.bias
    weight[:channels] *= scale[:, None, None, None, None]
    bias[:channels] = (bias[:channels] - mean) * scale + wanted_mean
    first = model.post_quant_conv
    inverse = first.weight / scale[None, :, None, None, None]
    first.bias += first.weight.flatten(1) @ mean - inverse.flatten(1) @ wanted_mean
    first.weight.copy_(inverse)


@torch.no_grad()
def round_weights(module: torch.nn.Module) -> None:
    """To the bfloat16 numbers that will be shipped, so that nothing is fitted to others."""
    for parameter in module.parameters():
        parameter.copy_(parameter.bfloat16())
