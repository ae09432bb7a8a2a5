"""Softmax attention, by the fastest exact kernel at hand.

PyTorch's own pick on Hopper runs at half the speed of FlashAttention-3; 93 % of a clip's arithmetic is here.

Legend: B batch, L queries, M keys, N heads, K head width.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

Kernel = Literal["flash-attention-3", "cudnn", "sdpa"]

logger = logging.getLogger(__name__)


def attention(q_BLNK: Tensor, k_BMNK: Tensor, v_BMNK: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(K)) v without mask, [B, L, N, K], in the inputs' dtype."""
    kernel = attention_kernel(q_BLNK.device, q_BLNK.dtype, q_BLNK.shape[-1])
    if kernel == "flash-attention-3":
        flash = flash_attention_3()
        assert flash is not None
        out = flash(q_BLNK, k_BMNK, v_BMNK)
        # Some versions return (out, log-sum-exp); indexing a bare tensor would silently drop the batch.
        return out[0] if isinstance(out, tuple) else out
    order: AbstractContextManager[None] = nullcontext()
    if kernel == "cudnn":
        # The others stay allowed, in this order, for shapes that cuDNN refuses.
        backends = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
        order = sdpa_kernel([*backends, SDPBackend.MATH], set_priority=True)
    with order:
        out_BNLK = scaled_dot_product_attention(q_BLNK.transpose(1, 2), k_BMNK.transpose(1, 2), v_BMNK.transpose(1, 2))
    return out_BNLK.transpose(1, 2)


def attention_with_lse(q_BLNK: Tensor, k_BMNK: Tensor, v_BMNK: Tensor) -> tuple[Tensor, Tensor]:
    """`attention`, and each query's log of the sum of exponentials, [B, L, N] float32, to merge it with more keys."""
    kernel = attention_kernel(q_BLNK.device, q_BLNK.dtype, q_BLNK.shape[-1])
    if kernel == "flash-attention-3":
        flash = flash_attention_3()
        assert flash is not None
        out_BLNK, lse_BNL, *_ = flash(q_BLNK, k_BMNK, v_BMNK, return_attn_probs=True)
        return out_BLNK, lse_BNL.transpose(1, 2)
    heads = (q_BLNK.transpose(1, 2), k_BMNK.transpose(1, 2), v_BMNK.transpose(1, 2))
    aten = torch.ops.aten
    if kernel == "cudnn":
        out_BNLK, lse, *_ = aten._scaled_dot_product_cudnn_attention(*heads, None, True)
    elif q_BLNK.is_cuda:
        out_BNLK, lse, *_ = aten._scaled_dot_product_efficient_attention(*heads, None, True)
    else:
        out_BNLK, lse = aten._scaled_dot_product_flash_attention_for_cpu(*heads)
    # The log-sum-exp comes as [B, N, L, 1], or with L padded, from some of them.
    lse_BNL = lse.flatten(2)[..., : q_BLNK.shape[1]]
    return out_BNLK.transpose(1, 2), lse_BNL.transpose(1, 2)


@cache
def attention_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> Kernel:
    """Which kernel `attention` uses there; chosen (and logged) once a process."""
    kernel: Kernel = "sdpa"
    if device.type == "cuda" and dtype == torch.bfloat16:
        capability = torch.cuda.get_device_capability(device)
        # The wheel holds the kernels for heads of 128 and for Hopper only.
        if capability[0] == 9 and head_dim == 128 and flash_attention_3() is not None:
            kernel = "flash-attention-3"
        elif capability[0] >= 8 and head_dim % 8 == 0:
            kernel = "cudnn"
    logger.info("attention on %s, %s, heads of %d: %s", device, dtype, head_dim, kernel)
    return kernel


@cache
def flash_attention_3() -> Callable[..., Tensor | tuple[Tensor, ...]] | None:
    """The function of the `fa3-fwd` wheel (extra `hopper`), or None where it is not installed or does not load."""
    try:
        return importlib.import_module("fa3_fwd_interface").flash_attn_func
    except ImportError as error:
        if getattr(error, "name", None) != "fa3_fwd_interface":
            logger.warning("fa3-fwd is installed but does not load: %s", error)
        return None
    except OSError as error:
        logger.warning("fa3-fwd is installed but does not load: %s", error)
        return None
