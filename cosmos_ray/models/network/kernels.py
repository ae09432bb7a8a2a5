"""Which kernels a network runs with on a device, in words for the line of a gang that is up and for `doctor`."""

from __future__ import annotations

import torch

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.models.bundle.bundle import Bundle
from cosmos_ray.models.network.attention import Kernel, attention_kernel
from cosmos_ray.models.network.dit import NUMERICS_DTYPE
from cosmos_ray.models.network.fp8 import check_fp8
from cosmos_ray.models.network.passes import why_plain

ATTENTION: dict[Kernel, str] = {"flash-attention-3": "FA3", "cudnn": "cuDNN", "sdpa": "SDPA"}


def kernels_of(bundle: Bundle, device: str, approximations: Approximations = EXACT) -> str:
    """`FA3, fused`, or `cuDNN, plain: no C compiler`: attention, then the passes between matrix products."""
    head = bundle.network.model_channels // bundle.network.num_heads
    return in_words(torch.device(device), NUMERICS_DTYPE[bundle.numerics], head, approximations)


def in_words(device: torch.device, dtype: torch.dtype, head_dim: int, approximations: Approximations = EXACT) -> str:
    """`FA3, fused`: the attention and the passes between matrix products that a network would have here."""
    attention = ATTENTION[attention_kernel(device, dtype, head_dim)]
    if approximations.attention == "fp8":
        attention += " and 8 bits"
    why = why_plain(device)
    return f"{attention}, {f'plain: {why}' if why else 'fused'}"


def check_approximations(bundle: Bundle, device: torch.device, approximations: Approximations) -> None:
    """UsageError for blocks that the network does not have, and for 8-bit attention where it cannot run."""
    network = bundle.network
    approximations.check_blocks(network.num_blocks)
    if approximations.attention == "fp8":
        check_fp8(device, NUMERICS_DTYPE[bundle.numerics], network.model_channels // network.num_heads)
