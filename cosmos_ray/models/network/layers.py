"""The parts that the diffusion transformer is made of. No Linear has a bias; parameter names are the published ones.

Legend: B batch, V views, S segments of s tokens each (within one latent frame), L or l = S*s tokens of a view,
D model channels, N heads, K head width (k half of it), M text tokens of a view, C text width, P ranks (n heads each).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_ray.models.network.attention import attention
from cosmos_ray.models.network.passes import norm_and_rotate, rms_norm
from cosmos_ray.models.parallel import SharedAttention


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Without bias; only the control branch has some with one."""
    return nn.Linear(inputs, outputs, bias=False)


class _LinearAsInput(nn.Linear):
    """A Linear that computes in its input's dtype, whatever its weights are stored in."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


def linear_as_input(inputs: int, outputs: int) -> nn.Linear:
    return _LinearAsInput(inputs, outputs, bias=False)


def adaln(width: int, rank: int, parts: int) -> nn.Sequential:
    """Timestep embedding [..., D] -> `parts` modulation vectors, one after the other [..., parts*D]."""
    return nn.Sequential(nn.SiLU(), linear_as_input(width, rank), linear_as_input(rank, parts * width))


class RMSNorm(nn.Module):
    """`rms_norm` under a weight of the checkpoint."""

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
    """[..., D] -> [..., 3 D]: what is added to every modulation, as shift, scale and gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = linear_as_input(width, width)
        self.linear_2 = linear_as_input(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class _Attention(nn.Module):
    """The parameters that both kinds of attention have."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = linear(width, width)
        self.k_proj = linear(context_width, width)
        self.v_proj = linear(context_width, width)
        self.output_proj = linear(width, width)
        self.q_norm = RMSNorm(width // heads)
        self.k_norm = RMSNorm(width // heads)


class SelfAttention(_Attention):
    """All tokens of all views attend to each other: the only place where the ranks of a gang talk."""

    def forward(self, x_BVSsD: Tensor, cos_l1k: Tensor, sin_l1k: Tensor, attend: SharedAttention) -> Tensor:
        """attend: of this rank's tokens to those of all ranks."""

        def qkv(x_BVlD: Tensor, ranks: int) -> Iterator[Tensor]:
            for projection, norm in ((self.q_proj, self.q_norm), (self.k_proj, self.k_norm), (self.v_proj, None)):
                x_BPVlnK = project_by_rank(projection, x_BVlD, ranks).unflatten(-1, (self.heads // ranks, -1))
                if norm:
                    x_BPVlnK = norm_and_rotate(x_BPVlnK, norm.weight, cos_l1k, sin_l1k)
                yield x_BPVlnK.flatten(2, 3)  # attention takes the views as one sequence

        out_BlNK = attend(qkv, x_BVSsD.flatten(2, 3))
        return self.output_proj(out_BlNK.flatten(2)).view(x_BVSsD.shape)


def project_by_rank(projection: nn.Linear, x_BVlD: Tensor, ranks: int) -> Tensor:
    """[B, P, V, l, D / P]: row p holds what is for rank p's heads, in one piece, so that it is sent as it is."""
    if ranks == 1:
        return projection(x_BVlD)[:, None]
    out_BPVlE = x_BVlD.new_empty((len(x_BVlD), ranks, *x_BVlD.shape[1:-1], projection.out_features // ranks))
    for x_VlD, out_PVlE in zip(x_BVlD, out_BPVlE, strict=True):
        for weight_ED, out_VlE in zip(projection.weight.chunk(ranks), out_PVlE, strict=True):
            torch.mm(x_VlD.flatten(0, 1), weight_ED.T, out=out_VlE.flatten(0, 1))
    return out_BPVlE


class CrossAttention(_Attention):
    """Each view's tokens attend to that view's text."""

    def forward(self, x_BVSsD: Tensor, context_BVMC: Tensor) -> Tensor:
        inputs = (self.q_proj, x_BVSsD.flatten(2, 3)), (self.k_proj, context_BVMC), (self.v_proj, context_BVMC)
        q, k, v = (projection(x).unflatten(-1, (self.heads, -1)) for projection, x in inputs)
        out_bLNK = attention(self.q_norm(q).flatten(0, 1), self.k_norm(k).flatten(0, 1), v.flatten(0, 1))
        return self.output_proj(out_bLNK.flatten(2)).view(x_BVSsD.shape)


class MLP(nn.Module):
    """[..., D] -> [..., D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer1 = linear(width, 4 * width)
        self.layer2 = linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(F.gelu(self.layer1(x)))
