"""Self-attention in 8-bit floating point (e4m3), by Hopper's FlashAttention-3. Approximate.

e4m3 has 4 significant bits: it rounds every number by up to 6 %, large and small ones alike. Three changes that leave
attention as it is keep that from adding up. Keys lose their mean over the tokens: every score of a query moves by the
same, and softmax does not mind. Values lose theirs and the output gets it back, for the weights of a query add up to 1;
that also keeps the kernel's sums small, which tensor cores hold in fewer bits than float32. Queries and keys are turned
by one orthogonal matrix: where both have the same large channel, that channel's rounding is the score's error, and a
Hadamard matrix spreads it (FlashAttention-3, arXiv 2407.08608, section 3.3).

The rounding comes after the exchange between ranks: the means and the largest numbers are then of all tokens, whatever
the gang's size, and no rank has to ask the others for them. Half the bytes would travel if it came before; they travel
while the GPU attends to something else anyway.

Legend: B batch, L queries, M keys, N heads, K head width, l some of the queries.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cosmos_ray.errors import UsageError
from cosmos_ray.models.network.attention import flash_attention_3

E4M3_MAX = 448.0
#: The kernel's largest probability before it is rounded: the range of e4m3 below it is used best.
_LARGEST_P = 256.0
_QUERIES_AT_ONCE = 512

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quantised:
    """q [B, L, N, K], k, v [B, M, N, K]: float8_e4m3fn; with the scales [B, N] float32 they stand for what attention
    takes, but for v_mean [B, 1, N, K] float32, which is to be added to its output. q and k come turned: they fit each
    other."""

    q: Tensor
    k: Tensor
    v: Tensor
    q_scale: Tensor
    k_scale: Tensor
    v_scale: Tensor
    v_mean: Tensor


def fp8_attention(q_BLNK: Tensor, k_BMNK: Tensor, v_BMNK: Tensor) -> Tensor:
    """About softmax(q k^T / sqrt(K)) v without mask, [B, L, N, K], in the inputs' dtype; where `check_fp8` passes."""
    x = quantise(q_BLNK, k_BMNK, v_BMNK)
    out_BLNK = imitated(x) if q_BLNK.device.type == "cpu" else attend_in_8_bits(x)
    return out_BLNK.to(q_BLNK.dtype)


def attend_in_8_bits(x: Quantised) -> Tensor:
    """The kernel's answer, [B, L, N, K] bfloat16."""
    flash = flash_attention_3()
    assert flash is not None
    found = flash(x.q, x.k, x.v, q_descale=x.q_scale, k_descale=x.k_scale, v_descale=x.v_scale)
    out_BLNK = found[0] if isinstance(found, tuple) else found
    return torch.add(out_BLNK, x.v_mean, out=out_BLNK)


def check_fp8(device: torch.device, dtype: torch.dtype, head_dim: int) -> None:
    """UsageError that says what was found, where `fp8_attention` cannot run. On a CPU it is an imitation (logged)."""
    problems = []
    if head_dim & (head_dim - 1):
        problems.append(f"found heads of {head_dim}, expected a power of two")
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major != 9:
            problems.append(f"found {torch.cuda.get_device_name(device)} ({major}.{minor}), expected Hopper (9.0)")
        if head_dim != 128:
            problems.append(f"found heads of {head_dim}, expected 128")
        if dtype != torch.bfloat16:
            problems.append(f"found {dtype}, expected bfloat16 (numerics `reference`)")
        if flash_attention_3() is None:
            problems.append("found no fa3-fwd that loads, expected the extra `hopper`")
    if problems:
        raise UsageError("sampling.attention fp8: " + "; ".join(problems))
    if device.type == "cpu":
        logger.warning("attention fp8 on a CPU: the kernel's rounding is imitated, which takes longer than exact")


def quantise(q_BLNK: Tensor, k_BMNK: Tensor, v_BMNK: Tensor) -> Quantised:
    """ValueError for heads whose width is no power of two."""
    width = q_BLNK.shape[-1]
    turn_KK = hadamard(width, q_BLNK.device, q_BLNK.dtype)
    k_mean, v_mean = (_mean(x).to(x.dtype) for x in (k_BMNK, v_BMNK))
    q, q_scale = _rounded(q_BLNK @ turn_KK)
    k, k_scale = _rounded((k_BMNK - k_mean) @ turn_KK)
    centred_BMNK = v_BMNK - v_mean
    v, v_scale = _rounded(centred_BMNK)
    # What the output gets back is what was taken off: bfloat16 drops a mean that is small beside the values, and over
    # many tokens an output is no larger than that.
    v_mean = _mean(v_BMNK) - _mean(centred_BMNK)
    # Turned twice, a score is `width` times as large.
    return Quantised(q, k, v, q_scale * width**-0.5, k_scale * width**-0.5, v_scale, v_mean)


def _mean(x_BMNK: Tensor) -> Tensor:
    """Over the tokens, [B, 1, N, K] float32."""
    return x_BMNK.mean(dim=1, keepdim=True, dtype=torch.float32)


def _rounded(x_BLNK: Tensor) -> tuple[Tensor, Tensor]:
    """(e4m3, scale [B, N]): one scale a head, such that its largest number is the largest of e4m3.

    A finer scale would gain nothing: e4m3 rounds relatively, over 15 powers of two.
    """
    largest_B1N1 = torch.linalg.vector_norm(x_BLNK, ord=math.inf, dim=(1, 3), keepdim=True).float()
    # In x's dtype, so that multiplying makes no float32 copy; the scale is that of the factor as it was rounded.
    factor_B1N1 = (E4M3_MAX / largest_B1N1.clamp_min(1e-30)).to(x_BLNK.dtype)
    return (x_BLNK * factor_B1N1).to(torch.float8_e4m3fn), 1 / factor_B1N1.float()[:, 0, :, 0]


@cache
def hadamard(width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Symmetric [width, width] of +1 and -1, orthogonal but for a factor width**0.5; a power of two, or ValueError."""
    if width & (width - 1):
        raise ValueError(f"heads of {width}: 8-bit attention needs a power of two")
    matrix = torch.ones(1, 1)
    while len(matrix) < width:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix.to(device, dtype)


def imitated(x: Quantised) -> Tensor:
    """What the kernel makes of its inputs, [B, L, N, K] float32, with its rounding of the probabilities; sums are
    float32's. On any device; memory for 512 queries' scores."""
    k_BNKM = (x.k.float() * x.k_scale[:, None, :, None]).permute(0, 2, 3, 1)
    v_BNMK = (x.v.float() * x.v_scale[:, None, :, None]).transpose(1, 2)
    out = []
    for q in x.q.split(_QUERIES_AT_ONCE, dim=1):
        q_BNlK = (q.float() * x.q_scale[:, None, :, None]).transpose(1, 2)
        scores_BNlM = q_BNlK @ k_BNKM * q.shape[-1] ** -0.5
        p_BNlM = _LARGEST_P * (scores_BNlM - scores_BNlM.amax(-1, keepdim=True)).exp()
        weighed_BNlK = p_BNlM.to(torch.float8_e4m3fn).float() @ v_BNMK
        out.append((weighed_BNlK / p_BNlM.sum(-1, keepdim=True)).transpose(1, 2))
    return torch.cat(out, dim=1) + x.v_mean
