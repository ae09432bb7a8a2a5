"""A network with its heads repeated, which computes the same: so that golden numbers of two heads can be compared with
what gangs of four and eight make.

All that is as wide as the network stands there `times` times over, each copy the same: channels, heads, hidden values
of an MLP. A matrix's outputs are repeated; of its inputs it reads the first copy, the others have weights of 0. Norms
see the same mean and variance, the width of a head stays. Which copy of a head a rank has makes no difference, which of
the heads does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from cosmos_ray.models.bundle.shapes import dit_shapes
from cosmos_ray.models.network.dit import DiTConfig, MultiviewDiT


def times_to_fit(heads: int, ranks: int) -> int:
    """How often the heads are to be there, so that they divide over the ranks."""
    return ranks // math.gcd(heads, ranks)


def repeated_config(config: DiTConfig, times: int) -> DiTConfig:
    return config.model_copy(
        update={"num_heads": config.num_heads * times, "model_channels": config.model_channels * times}
    )


def repeated_weights(config: DiTConfig, weights: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
    """weights: of the network as it is, by its own names; those of `repeated_config`."""
    shapes = dit_shapes(repeated_config(config, times))
    return {name: _repeated(weight, shapes[name], config.model_channels, times) for name, weight in weights.items()}


def repeat_sinusoid(network: MultiviewDiT, times: int) -> None:
    """A wider sinusoid has other frequencies: the narrow one is repeated."""
    sinusoid = network.t_embedder[0]
    sinusoid.frequencies //= times
    sinusoid.register_forward_hook(lambda module, given, found: found.repeat(*[1] * (found.ndim - 1), times))


def _repeated(weight: Tensor, shape: tuple[int, ...], width: int, times: int) -> Tensor:
    """Outputs [k·D, ...] become [k·times·D, ...]: a third of them, say a shift, stays a third."""
    if weight.shape[0] != shape[0]:
        parts = weight.unflatten(0, (-1, 1, width))
        weight = parts.expand(-1, times, *parts.shape[2:]).flatten(0, 2)
    if weight.ndim > 1 and weight.shape[1] != shape[1]:
        parts = weight.unflatten(1, (-1, 1, width))
        read = torch.zeros(parts.shape[0], parts.shape[1], times, width, dtype=weight.dtype)
        read[:, :, :1] = parts
        weight = read.flatten(1, 3)
    return weight.contiguous()
