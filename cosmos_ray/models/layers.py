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
from cosmos_ray.models.passes import norm_and_rotate, rms_norm
from cosmos_ray.parallel import Attention


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def adaln(width: int, rank: int, parts: int) -> nn.Sequential:
    """Timestep embedding [..., D] -> `parts` modulation vectors, one after the other [..., parts*D]."""
    return nn.Sequential(nn.SiLU(), linear(width, rank), linear(rank, parts * width))


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight)


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
    """The parameters that both kinds of attention have, and their way from channels to heads."""

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
        """[..., L, D] and [..., M, C] -> q [..., L, N, K], k and v [..., M, N, K], not yet normalised."""
        q_LNK = self.q_proj(x_LD).unflatten(-1, (self.heads, -1))
        k_MNK = self.k_proj(context_MC).unflatten(-1, (self.heads, -1))
        v_MNK = self.v_proj(context_MC).unflatten(-1, (self.heads, -1))
        return q_LNK, k_MNK, v_MNK


class SelfAttention(_Attention):
    """All tokens of all views attend to each other: the only place where the ranks of a gang talk."""

    def forward(self, x_BVSsD: Tensor, cos_l1k: Tensor, sin_l1k: Tensor, attend: Attention) -> Tensor:
        """attend: of this rank's tokens to those of all ranks."""
        x_BVlD = x_BVSsD.flatten(2, 3)
        q, k, v = self.qkv(x_BVlD, x_BVlD)
        q = norm_and_rotate(q, self.q_norm.weight, cos_l1k, sin_l1k)
        k = norm_and_rotate(k, self.k_norm.weight, cos_l1k, sin_l1k)
        # Attention takes the views as one sequence.
        out_BlNK = attend(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2))
        return self.output_proj(out_BlNK.flatten(2)).view(x_BVSsD.shape)


class CrossAttention(_Attention):
    """Each view's tokens attend to that view's text."""

    def forward(self, x_BVSsD: Tensor, context_BVMC: Tensor) -> Tensor:
        q, k, v = self.qkv(x_BVSsD.flatten(2, 3), context_BVMC)
        out_bLNK = attention(self.q_norm(q).flatten(0, 1), self.k_norm(k).flatten(0, 1), v.flatten(0, 1))
        return self.output_proj(out_bLNK.flatten(2)).view(x_BVSsD.shape)


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer1 = linear(width, 4 * width)
        self.layer2 = linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(F.gelu(self.layer1(x)))
