"""Training of the tiny model's network and text encoder together: rectified flow, as the sampler will ask for it.

The sampler shows the network  (1 - t) (x0 + sigma n) = (1 - t) x0 + t n,  t = sigma / (1 + sigma), takes its answer v
and believes  x0 = (1 - t) x - t v.  So the answer to learn is  v = n - x0.

Legend: B batch, V views, T latent frames, C latent channels (or text width), H/W latent height/width, L tokens of a
view, P values a token, M text tokens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from tiny_data import CAPTION_TOKENS, Clips
from tiny_optim import Average, Optimiser
from torch import Tensor, nn
from transformers import T5EncoderModel

from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.ab2 import SIGMA_CONDITIONAL, sigma_schedule
from cosmos_ray.models.network import attention
from cosmos_ray.models.network.dit import Grid, MultiviewDiT, Share, patchify
from cosmos_ray.models.parallel import ContextParallel

#: Share of clips without caption but with the negative prompt, and without any text.
NEGATIVE_SHARE, EMPTY_SHARE = 0.10, 0.03
#: Share of the captioned clips with a caption a view; the others have one caption, at view 0.
LIST_SHARE = 0.35
#: Noise levels: this share from the sampler's own grids, the rest log-normal with this mean and deviation.
GRID_SHARE, LOG_SIGMA = 0.3, (1.2, 1.4)
GRID_STEPS = (6, 10, 20, 35)
#: Weight in the loss of latent cells with something of a car; others have 1.
CAR_WEIGHT = 4.0
_SECONDS_BETWEEN_LOGS = 20.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """One step's input and target. x0, noise: [B, V, C, T, H, W]; sigma, given: [B], given conditional latent frames;
    cars: bool [B, V, T, H, W]; tokens: int64 [K, M] of K texts; text_clip, text_view: [K], whose they are."""

    x0: Tensor
    noise: Tensor
    sigma: Tensor
    given: Tensor
    cars: Tensor
    tokens: Tensor
    text_clip: Tensor
    text_view: Tensor


def initialise(network: MultiviewDiT) -> None:
    """Every gate closed and the answer 0: training starts from the identity."""
    for name, parameter in network.named_parameters():
        if name == "final_layer.linear.weight" or name.endswith((".2.weight", "linear_2.weight")):
            nn.init.zeros_(parameter)


def draw_sigmas(random: np.random.Generator, count: int) -> np.ndarray:
    """[count] float32: where the sampler will be, and everything between."""
    grid = np.concatenate([sigma_schedule(steps) for steps in GRID_STEPS])
    spread = np.exp(random.normal(*LOG_SIGMA, count))
    return np.where(random.random(count) < GRID_SHARE, random.choice(grid, count), spread).astype(np.float32)


def draw_batch(clips: Clips, negative_M: Tensor, size: int, random: np.random.Generator) -> Batch:
    device = clips.latents.device
    numbers = random.integers(len(clips), size=size)
    rows, owners, cameras = [], [], []
    for index, clip in enumerate(numbers):
        kind = random.random()
        if kind < EMPTY_SHARE:
            continue
        if kind < EMPTY_SHARE + NEGATIVE_SHARE:
            texts = [(0, negative_M)]
        elif random.random() < LIST_SHARE:
            texts = list(enumerate(clips.tokens[clip, 1:]))
        else:
            texts = [(0, clips.tokens[clip, 0])]
        for view, tokens_M in texts:
            rows.append(tokens_M)
            owners.append(index)
            cameras.append(view)
    chosen = torch.from_numpy(numbers).to(device)
    x0 = clips.latents[chosen].float()
    empty = torch.zeros(0, CAPTION_TOKENS, dtype=torch.int16)
    return Batch(
        x0=x0,
        noise=torch.randn_like(x0),
        sigma=torch.from_numpy(draw_sigmas(random, size)).to(device),
        given=torch.from_numpy(random.integers(3, size=size)).to(device),
        cars=clips.cars[chosen],
        tokens=(torch.stack(rows) if rows else empty).long().to(device),
        text_clip=torch.tensor(owners, dtype=torch.long, device=device),
        text_view=torch.tensor(cameras, dtype=torch.long, device=device),
    )


def text_windows(encoder: T5EncoderModel, batch: Batch, width: int) -> Tensor:
    """[B, V, 512, C], zero where there is no text. Texts are padded to fewer tokens than `TextEncoder` pads to, which
    its mask makes the same."""
    windows = torch.zeros(*batch.x0.shape[:2], TEXT_TOKENS, width, device=batch.x0.device)
    if len(batch.tokens):
        mask = batch.tokens.ne(0)
        hidden = encoder(input_ids=batch.tokens, attention_mask=mask.long()).last_hidden_state
        hidden = torch.where(mask[..., None], hidden.float(), 0.0)
        places = (batch.text_clip[:, None], batch.text_view[:, None], torch.arange(hidden.shape[1], device=mask.device))
        windows = windows.index_put(places, hidden)
    return windows


def flow_loss(network: MultiviewDiT, encoder: T5EncoderModel, batch: Batch, share: Share) -> Tensor:
    """Mean squared error of the velocity over all cells that are not given, cars weighing more."""
    t_B = batch.sigma / (1 + batch.sigma)
    t_given = SIGMA_CONDITIONAL / (1 + SIGMA_CONDITIONAL)
    frames = torch.arange(batch.x0.shape[3], device=t_B.device)
    given_BT = frames < batch.given[:, None]
    timesteps_BT = torch.where(given_BT, t_given, t_B[:, None])
    timesteps_BVT = timesteps_BT[:, None].expand(-1, batch.x0.shape[1], -1)

    given_BTHW = given_BT[:, None, None, :, None, None]
    t = t_B[:, None, None, None, None, None]
    net_in = torch.where(given_BTHW, batch.x0, (1 - t) * batch.x0 + t * batch.noise)
    mask_BVlm = patchify(given_BTHW.float().expand(-1, batch.x0.shape[1], 1, -1, *batch.x0.shape[4:]))
    with torch.autocast(t_B.device.type, torch.bfloat16, enabled=t_B.is_cuda):
        context = text_windows(encoder, batch, network.config.crossattn_emb_channels)
        found = network.forward_tokens(patchify(net_in), mask_BVlm, timesteps_BVT, context, share)
    error = (found.float() - patchify(batch.noise - batch.x0)).square()
    weight = 1 + (CAR_WEIGHT - 1) * batch.cars.float()
    weight = patchify((weight * ~given_BT[:, None, :, None, None])[:, :, None])  # [B, V, L, 4]
    by_cell = rearrange(error, "b v l (c m) -> b v l m c", m=weight.shape[-1]).mean(dim=-1)
    return (weight * by_cell).sum() / weight.sum()


def trainable(network: MultiviewDiT, encoder: T5EncoderModel) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters of both, under `net.` and `text.`."""
    return [
        *((f"net.{name}", parameter) for name, parameter in network.named_parameters()),
        *((f"text.{name}", parameter) for name, parameter in encoder.named_parameters()),
    ]


#: Embeddings and the ends of the network: no matrices between features of one kind, so not for Muon.
PLAIN = (
    "x_embedder.proj.1.weight",
    "view_embeddings.weight",
    "final_layer.linear.weight",
    "shared.weight",
    "relative_attention_bias.weight",
)


def check_attention(loss: Callable[[], Tensor]) -> None:
    """One backward pass. The kernel that the network prefers is chosen for inference; where it cannot be trained
    through, torch's own choice is taken for the rest of this process."""
    try:
        loss().backward()
    except RuntimeError as error:
        logger.warning("the attention kernel does not train, torch's choice is taken: %s", error)
        attention.attention_kernel = lambda *_: "sdpa"  # type: ignore[assignment]
        loss().backward()


def train_dit(
    network: MultiviewDiT,
    encoder: T5EncoderModel,
    optimiser: Optimiser,
    average: Average,
    clips: Clips,
    negative_M: Tensor,
    share: Callable[[], float],
    step: int,
    save: Callable[[int], None],
    batch_size: int,
    model_fps: float,
    compiled: bool = False,
) -> int:
    """Train until `share` (of the phase's time) reaches 1 or more; the number of steps done in all."""
    network.train().requires_grad_(True)
    encoder.train().requires_grad_(True)
    height, width = clips.latents.shape[-2:]
    grid = Grid(clips.latents.shape[1], network.config.state_t, height // 2, width // 2)
    frame_share = network.share(grid, model_fps, ContextParallel())
    random = np.random.default_rng((5, step))
    check_attention(lambda: flow_loss(network, encoder, draw_batch(clips, negative_M, batch_size, random), frame_share))
    optimiser.forget_gradients()
    if compiled:
        for block in network.blocks:
            block.compile()
    logged, losses, first = time.monotonic(), [], step
    while (position := share()) < 1:
        loss = flow_loss(network, encoder, draw_batch(clips, negative_M, batch_size, random), frame_share)
        loss.backward()
        optimiser.step(position)
        average.update()
        losses.append(loss.detach())
        step += 1
        if time.monotonic() - logged > _SECONDS_BETWEEN_LOGS:
            mean, seconds = torch.stack(losses).mean().item(), time.monotonic() - logged
            rate = 1000 * seconds / len(losses)
            logger.info("network step %d, %.0f %%: loss %.4f, %.0f ms a step", step, 100 * position, mean, rate)
            save(step)
            logged, losses = time.monotonic(), []
    logger.info("network: %d steps in this run", step - first)
    return step
