"""The control branch of Transfer2.5: blocks of its own that follow a second video and steer those of the network.

Parameters carry the names of the published checkpoint.

Legend: as in `dit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_ray.models.network.block import Block, Dims
from cosmos_ray.models.network.layers import linear

#: Layers with SiLU between the control's tokens and the control blocks.
_HINT_LAYERS = 7


class ControlDims(Dims, Protocol):
    """What the branch needs to know of the network's configuration."""

    @property
    def in_channels(self) -> int: ...
    @property
    def patch_spatial(self) -> int: ...
    @property
    def view_condition_dim(self) -> int: ...
    @property
    def num_control_blocks(self) -> int: ...
    @property
    def control_channels(self) -> int: ...


class ControlBlock(Block):
    """A block, and the Linears with which the first one takes in the network's tokens and each gives out its hint."""

    def __init__(self, config: ControlDims, is_first: bool) -> None:
        super().__init__(config)
        width = config.model_channels
        self.before_proj = nn.Linear(width, width) if is_first else None
        self.after_proj = nn.Linear(width, width)


def control_modules(config: ControlDims) -> dict[str, nn.Module]:
    """The branch's modules, by the names that the published checkpoint has at its top."""
    width, area = config.model_channels, config.patch_spatial**2
    # A token has room for the latents of several videos, then the condition mask, a padding mask and the view.
    values = area * (config.control_channels + 2 + config.view_condition_dim)
    hint_layers: list[nn.Module] = []
    for _ in range(_HINT_LAYERS):
        hint_layers += [nn.Linear(width, width), nn.SiLU()]
    return {
        "control_embedder": nn.ModuleDict({"proj": nn.Sequential(nn.Identity(), linear(values, width))}),
        "input_hint_block": nn.Sequential(*hint_layers),
        "control_blocks": nn.ModuleList(
            ControlBlock(config, is_first=number == 0) for number in range(config.num_control_blocks)
        ),
    }


def control_hints(
    branch: Mapping[str, Any],
    tokens_BVSsP: Tensor,
    latent_values: int,
    x_BVSsD: Tensor,
    control_BVlP: Tensor,
    rest: tuple[Any, ...],
) -> Iterator[Tensor]:
    """Hints [B, V, S, s, D], each when it is asked for: they do not depend on what the network's blocks make.

    branch: `control_modules`. tokens: the network's own, of which all but the first `latent_values` are the same here.
    x: those, embedded. rest: what blocks take beside their tokens.
    """
    control_BVSsP = control_BVlP.unflatten(2, tokens_BVSsP.shape[2:4])
    others_BVSsP = tokens_BVSsP[..., latent_values:]
    # The columns of the embedder that are for zeros are left out.
    weight_DP = branch["control_embedder"]["proj"][1].weight
    used_DP = torch.cat((weight_DP[:, :latent_values], weight_DP[:, -others_BVSsP.shape[-1] :]), dim=1)
    c_BVSsD = branch["input_hint_block"](F.linear(torch.cat((control_BVSsP, others_BVSsP), dim=-1), used_DP))
    for block in branch["control_blocks"]:
        if block.before_proj is not None:
            c_BVSsD = block.before_proj(c_BVSsD) + x_BVSsD
        c_BVSsD = block(c_BVSsD, *rest)
        yield block.after_proj(c_BVSsD)
