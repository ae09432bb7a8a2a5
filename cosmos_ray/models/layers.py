"""The parts that the diffusion transformer is made of. No Linear has a bias; parameter names are the published ones.

Legend: B batch, V views, S segments of s tokens each (within one latent frame), L or l = S*s tokens of a view,
D model channels, N heads, K head width (k half of it), M text tokens of a view, C text width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_ray.models.attention import attention
from cosmos_ray.models.fp8 import fp8_attention
from cosmos_ray.models.rope import rotate
from cosmos_ray.parallel import ContextParallel, attend_over_ranks

NORM_EPS = 1e-6


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def adaln(width: int, rank: int, parts: int) -> nn.Sequential:
    """Timestep embedding [..., D] -> `parts` modulation vectors, one after the other [..., parts*D]."""
    return nn.Sequential(nn.SiLU(), linear(width, rank), linear(rank, parts * width))


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without weights of its own, then scale and shift from the timestep."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis; float32 inside, rounded once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        # In training with autocast the weight is wider than x, which the fused kernel does not take.
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), NORM_EPS)


class Sinusoid(nn.Module):
    """Timesteps [...] -> cosines and then sines [..., D]; computed in float32, returned in the timesteps' dtype."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frequencies = width // 2

    def forward(self, timesteps: Tensor) -> Tensor:
        count = self.frequencies
        exponents = -math.log(10000) * torch.arange(count, dtype=torch.float32, device=timesteps.device) / count
        angles = timesteps.float()[..., None] * exponents.exp()
        return torch.cat((angles.cos(), angles.sin()), dim=-1).to(timesteps.dtype)


class TimestepMLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = linear(width, width)
        self.linear_2 = linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class _Attention(nn.Module):
    """The parameters that both kinds of attention have, and their way from channels to normalised heads."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = linear(width, width)
        self.k_proj = linear(context_width, width)
        self.v_proj = linear(context_width, width)
        self.output_proj = linear(width, width)
        self.q_norm = RMSNorm(width // heads)
        self.k_norm = RMSNorm(width // heads)

    def qkv(self, x_LD: Tensor, context_MC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[..., L, D] and [..., M, C] -> q [..., L, N, K], k and v [..., M, N, K]."""
        q_LNK = self.q_proj(x_LD).unflatten(-1, (self.heads, -1))
        k_MNK = self.k_proj(context_MC).unflatten(-1, (self.heads, -1))
        v_MNK = self.v_proj(context_MC).unflatten(-1, (self.heads, -1))
        return self.q_norm(q_LNK), self.k_norm(k_MNK), v_MNK


class SelfAttention(_Attention):
    """All tokens of all views attend to each other: the only place where the ranks of a gang talk."""

    def forward(
        self, x_BVSsD: Tensor, cos_l1k: Tensor, sin_l1k: Tensor, parallel: ContextParallel, in_8_bits: bool = False
    ) -> Tensor:
        x_BVlD = x_BVSsD.flatten(2, 3)
        q, k, v = self.qkv(x_BVlD, x_BVlD)
        q, k = (rotate(x_BVlNK, cos_l1k, sin_l1k) for x_BVlNK in (q, k))
        # Attention takes the views as one sequence.
        attend = fp8_attention if in_8_bits else attention
        out_BlNK = attend_over_ranks(attend, q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), parallel)
        return self.output_proj(out_BlNK.flatten(2)).view(x_BVSsD.shape)


class CrossAttention(_Attention):
    """Each view's tokens attend to that view's text."""

    def forward(self, x_BVSsD: Tensor, context_BVMC: Tensor) -> Tensor:
        q, k, v = self.qkv(x_BVSsD.flatten(2, 3), context_BVMC)
        out_bLNK = attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))
        return self.output_proj(out_bLNK.flatten(2)).view(x_BVSsD.shape)


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer1 = linear(width, 4 * width)
        self.layer2 = linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(F.gelu(self.layer1(x)))
