"""A transformer block and the final layer, modulated by the timestep.

The timestep's own path (its MLP, norm and modulation layers, and the final layer) is computed in the dtype that the
embedding comes in: the network's, or float32 where the recipe has it so; what it makes of a block's tokens is rounded
to theirs.

Legend: as in `dit`.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from cosmos_ray.models.network.layers import MLP, CrossAttention, SelfAttention, adaln, linear_as_input
from cosmos_ray.models.network.passes import add_gated, modulated_norm
from cosmos_ray.models.parallel import SharedAttention


class Dims(Protocol):
    """What the parts need to know of the network's configuration."""

    @property
    def model_channels(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def adaln_lora_dim(self) -> int: ...
    @property
    def crossattn_emb_channels(self) -> int: ...


class Places(Protocol):
    """What the parts need to know of a rank's share (`dit.Share` has it). views: of the clip."""

    @property
    def views(self) -> int: ...
    @property
    def frame_S(self) -> Tensor: ...
    @property
    def cos_l1k(self) -> Tensor: ...
    @property
    def sin_l1k(self) -> Tensor: ...


class Block(nn.Module):
    """Self-attention, cross-attention and MLP, each modulated by the timestep and added through a gate."""

    def __init__(self, config: Dims) -> None:
        super().__init__()
        width, rank = config.model_channels, config.adaln_lora_dim
        self.self_attn = SelfAttention(width, width, config.num_heads)
        self.cross_attn = CrossAttention(width, config.crossattn_emb_channels, config.num_heads)
        self.mlp = MLP(width)
        self.adaln_modulation_self_attn = adaln(width, rank, 3)
        self.adaln_modulation_cross_attn = adaln(width, rank, 3)
        self.adaln_modulation_mlp = adaln(width, rank, 3)

    def forward(
        self,
        x_BVSsD: Tensor,
        embedding_BVTD: Tensor,
        lora_BVT3D: Tensor,
        context_BvMC: Tensor,
        views_with_text: Tensor,
        share: Places,
        attend: SharedAttention,
    ) -> Tensor:
        def parts(modulation: nn.Module) -> tuple[Tensor, ...]:
            together_BVS1E = at_segments(modulation(embedding_BVTD) + lora_BVT3D, share)
            return together_BVS1E.to(x_BVSsD.dtype).chunk(3, dim=-1)

        shift, scale, gate = parts(self.adaln_modulation_self_attn)
        y_BVSsD = modulated_norm(x_BVSsD, shift, scale)
        attended_BVSsD = self.self_attn(y_BVSsD, share.cos_l1k, share.sin_l1k, attend)
        x_BVSsD = add_gated(x_BVSsD, gate, attended_BVSsD)

        # One clip under several texts parts here, in the first block: until now no text has been seen.
        x_BVSsD = x_BVSsD.expand(len(context_BvMC), -1, -1, -1, -1).contiguous()
        if len(views_with_text) == share.views:
            shift, scale, gate = parts(self.adaln_modulation_cross_attn)
            read_BVSsD = self.cross_attn(modulated_norm(x_BVSsD, shift, scale), context_BvMC)
            x_BVSsD = add_gated(x_BVSsD, gate, read_BVSsD)
        elif len(views_with_text):
            shift, scale, gate = (part[:, views_with_text] for part in parts(self.adaln_modulation_cross_attn))
            x_BvSsD = x_BVSsD[:, views_with_text]
            read_BvSsD = self.cross_attn(modulated_norm(x_BvSsD, shift, scale), context_BvMC)
            x_BVSsD.index_copy_(1, views_with_text, add_gated(x_BvSsD, gate, read_BvSsD))

        shift, scale, gate = parts(self.adaln_modulation_mlp)
        return add_gated(x_BVSsD, gate, self.mlp(modulated_norm(x_BVSsD, shift, scale)))


class FinalLayer(nn.Module):
    """Tokens to velocities; takes the first two thirds of the timestep MLP's output, as shift and scale."""

    def __init__(self, width: int, rank: int, values: int) -> None:
        super().__init__()
        self.adaln_modulation = adaln(width, rank, 2)
        self.linear = linear_as_input(width, values)

    def forward(self, x_BVSsD: Tensor, embedding_BVTD: Tensor, lora_BVT3D: Tensor, share: Places) -> Tensor:
        lora_BVT2D = lora_BVT3D[..., : 2 * x_BVSsD.shape[-1]]
        shift, scale = at_segments(self.adaln_modulation(embedding_BVTD) + lora_BVT2D, share).chunk(2, dim=-1)
        return self.linear(modulated_norm(x_BVSsD.to(embedding_BVTD.dtype), shift, scale))


def at_segments(x_BVTD: Tensor, share: Places) -> Tensor:
    """A vector a frame -> the vector of each segment's frame, [B, V, S, 1, D]. [B, 1, 1, D]: one for all frames."""
    if x_BVTD.shape[1:3] == (1, 1):
        return x_BVTD.expand(-1, share.views, len(share.frame_S), -1).unsqueeze(3)
    return x_BVTD[:, :, share.frame_S].unsqueeze(3)
