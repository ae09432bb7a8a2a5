"""One clip of a random network, from latents and text to latents: the same on a gang of any size, on CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.network import attention
from cosmos_ray.models.network.dit import Grid, MultiviewDiT, patchify
from cosmos_ray.models.parallel import ContextParallel, gather_all, shard
from cosmos_ray.models.sampler import denoise

#: What the published pipeline does if nothing is said.
GUIDANCE = 7.0
#: Tokens of the caption; the rest of a view's text is padding.
_CAPTION = 40


def sample(
    network: MultiviewDiT,
    grid: Grid,
    steps: int,
    parallel: ContextParallel,
    approximations: Approximations = EXACT,
    on_step: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Whole latents [V, L, 64] of a clip with one conditional latent frame and a caption in view 0. Collective."""
    config = network.config
    generator = torch.Generator().manual_seed(2)
    size = (2 * grid.height, 2 * grid.width)
    latents_VCTHW = torch.randn(grid.views, config.in_channels, grid.frames, *size, generator=generator)
    text_VMC = torch.zeros(grid.views, TEXT_TOKENS, config.crossattn_emb_channels)
    text_VMC[0, :_CAPTION] = torch.randn(_CAPTION, config.crossattn_emb_channels, generator=generator)
    share_VlP = denoise(
        network,
        grid=grid,
        condition_VlP=shard(patchify(latents_VCTHW), parallel).to(network.device),
        num_condition_latents=1,
        positive_VMC=text_VMC,
        negative_VMC=text_VMC.roll(1, dims=1),
        guidance=GUIDANCE,
        num_steps=steps,
        seed=5,
        model_fps=30.0,
        parallel=parallel,
        approximations=approximations,
        on_step=on_step,
    )
    return gather_all(share_VlP, parallel).cpu().numpy()


@contextmanager
def attention_by(*backends: SDPBackend) -> Iterator[None]:
    """Exact attention by the first of these kernels of torch's that takes the shapes: what another kernel changes is
    what rounding in other places changes. (Where a log-sum-exp is asked for, torch has one kernel a device.)"""
    torchs_own = mock.patch.object(attention, "attention_kernel", return_value="sdpa")
    with torchs_own, sdpa_kernel(list(backends), set_priority=True):
        yield


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """||found - expected|| / ||expected||."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    """In dB, against the range of what was expected; infinite for equal arrays."""
    mean_square = float(np.square(found - expected, dtype=np.float64).mean())
    peak = float(expected.max() - expected.min())
    return 10 * float(np.log10(peak**2 / mean_square)) if mean_square else float("inf")
