"""Passes over a clip's tokens that eager PyTorch makes in several, as Triton kernels: one read, one write.

A tensor of a 720p clip has 800 MB, so that reading or writing it takes a quarter of a millisecond. Each function
computes the formula of its name in `passes`, which chooses, and rounds to the tensor's dtype wherever eager code does.
What is left is the order of the sums in the norms. `enable_fp_fusion` would add products that were not rounded first.

Legend: as in `layers`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def modulated_norm(x_BVSsD: Tensor, shift_BVS1D: Tensor, scale_BVS1D: Tensor, eps: float) -> Tensor:
    """layer_norm(x) * (1 + scale) + shift."""
    x = x_BVSsD.contiguous()
    out = torch.empty_like(x)
    shift, scale = (_for_rows(part, x) for part in (shift_BVS1D, scale_BVS1D))
    views, segments, tokens, width = x.shape[1:]
    _modulated_norm_kernel[(x.numel() // width,)](
        x, shift, scale, out, *shift.stride()[:3], *scale.stride()[:3], views, segments, tokens, eps,
        WIDTH=width, BLOCK=triton.next_power_of_2(width), num_warps=_warps(width), enable_fp_fusion=False,
    )  # fmt: skip
    return out


def add_gated(x_BVSsD: Tensor, gate_BVS1D: Tensor, y_BVSsD: Tensor) -> Tensor:
    """x + gate * y."""
    x, y = x_BVSsD.contiguous(), y_BVSsD.contiguous()
    out = torch.empty_like(x)
    gate = _for_rows(gate_BVS1D, x)
    views, segments, tokens, width = x.shape[1:]
    _add_gated_kernel[(x.numel() // width,)](
        x, gate, y, out, *gate.stride()[:3], views, segments, tokens,
        WIDTH=width, BLOCK=triton.next_power_of_2(width), num_warps=_warps(width), enable_fp_fusion=False,
    )  # fmt: skip
    return out


def norm_and_rotate(x_BVlNK: Tensor, weight_K: Tensor, cos_l1k: Tensor, sin_l1k: Tensor, eps: float) -> Tensor:
    """rotate(rms_norm(x) * weight, cos, sin)."""
    x = x_BVlNK.contiguous()
    out = torch.empty_like(x)
    tokens, heads, width = x.shape[-3:]
    _norm_and_rotate_kernel[(x.numel() // (heads * width),)](
        x, weight_K, cos_l1k, sin_l1k, out, tokens, eps,
        HEADS=heads, HEADS_BLOCK=triton.next_power_of_2(heads), HALF=width // 2,
        HALF_BLOCK=triton.next_power_of_2(width // 2), num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    return out


def norm_silu(x_FCHW: Tensor, gain_C: Tensor) -> Tensor:
    """silu(x / |x| * sqrt(C) * gain), |x| over the channels: the Wan autoencoder's norm and activation. The result has
    channels last in memory. Rounds where the diffusers class does."""
    x_FHWC = x_FCHW.permute(0, 2, 3, 1).contiguous()
    out_FHWC = torch.empty_like(x_FHWC)
    channels, rows_at_once = x_FHWC.shape[-1], 16
    rows = x_FHWC.numel() // channels
    _norm_silu_kernel[(triton.cdiv(rows, rows_at_once),)](
        x_FHWC, gain_C, out_FHWC, rows, channels**0.5,
        WIDTH=channels, BLOCK=triton.next_power_of_2(channels), ROWS=rows_at_once, num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    return out_FHWC.permute(0, 3, 1, 2)


def _for_rows(part_BVS1D: Tensor, x_BVSsD: Tensor) -> Tensor:
    """[B, V, S, D] without copies: a batch of one serves all."""
    return part_BVS1D.squeeze(3).expand(*x_BVSsD.shape[:3], -1)


def _warps(width: int) -> int:
    return min(8, max(1, triton.next_power_of_2(width) // 256))


@triton.jit
def _round(x, like):
    """To the dtype of a pointer's target and back: where eager code writes a tensor."""
    return x.to(like.dtype.element_ty).to(tl.float32)


@triton.jit
def _segment_offset(row, stride_b, stride_v, stride_s, views, segments, tokens):
    """Where the modulation of this row's segment begins."""
    segment = row // tokens
    return (
        segment // (views * segments) * stride_b
        + segment // segments % views * stride_v
        + segment % segments * stride_s
    )


@triton.jit
def _modulated_norm_kernel(
    x_ptr, shift_ptr, scale_ptr, out_ptr, shift_b, shift_v, shift_s, scale_b, scale_v, scale_s, views, segments, tokens,
    eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < WIDTH
    x = tl.load(x_ptr + row * WIDTH + columns, inside, 0.0).to(tl.float32)
    mean = tl.sum(x) / WIDTH
    centred = tl.where(inside, x - mean, 0.0)
    normed = _round(centred * tl.rsqrt(tl.sum(centred * centred) / WIDTH + eps), out_ptr)
    shift_at = _segment_offset(row, shift_b, shift_v, shift_s, views, segments, tokens)
    scale_at = _segment_offset(row, scale_b, scale_v, scale_s, views, segments, tokens)
    shift = tl.load(shift_ptr + shift_at + columns, inside, 0.0).to(tl.float32)
    scale = tl.load(scale_ptr + scale_at + columns, inside, 0.0).to(tl.float32)
    out = _round(normed * _round(1.0 + scale, out_ptr), out_ptr) + shift
    tl.store(out_ptr + row * WIDTH + columns, out.to(out_ptr.dtype.element_ty), inside)


@triton.jit
def _add_gated_kernel(
    x_ptr, gate_ptr, y_ptr, out_ptr, gate_b, gate_v, gate_s, views, segments, tokens,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < WIDTH
    gate_at = _segment_offset(row, gate_b, gate_v, gate_s, views, segments, tokens)
    gate = tl.load(gate_ptr + gate_at + columns, inside, 0.0).to(tl.float32)
    x = tl.load(x_ptr + row * WIDTH + columns, inside, 0.0).to(tl.float32)
    y = tl.load(y_ptr + row * WIDTH + columns, inside, 0.0).to(tl.float32)
    tl.store(out_ptr + row * WIDTH + columns, (x + _round(gate * y, out_ptr)).to(out_ptr.dtype.element_ty), inside)


@triton.jit
def _norm_and_rotate_kernel(
    x_ptr, weight_ptr, cos_ptr, sin_ptr, out_ptr, tokens, eps,
    HEADS: tl.constexpr, HEADS_BLOCK: tl.constexpr, HALF: tl.constexpr, HALF_BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    heads, half = tl.arange(0, HEADS_BLOCK)[:, None], tl.arange(0, HALF_BLOCK)[None, :]
    inside = (heads < HEADS) & (half < HALF)
    places = row * HEADS * 2 * HALF + heads * 2 * HALF + half
    first = tl.load(x_ptr + places, inside, 0.0).to(tl.float32)
    second = tl.load(x_ptr + places + HALF, inside, 0.0).to(tl.float32)
    mean_square = (tl.sum(first * first, 1) + tl.sum(second * second, 1)) / (2 * HALF)
    factor = tl.rsqrt(mean_square + eps)[:, None]
    first = _round(first * factor * tl.load(weight_ptr + half, half < HALF, 0.0).to(tl.float32), out_ptr)
    second = _round(second * factor * tl.load(weight_ptr + HALF + half, half < HALF, 0.0).to(tl.float32), out_ptr)
    angle = row % tokens * HALF + half
    cos = tl.load(cos_ptr + angle, half < HALF, 0.0)
    sin = tl.load(sin_ptr + angle, half < HALF, 0.0)
    tl.store(out_ptr + places, (first * cos - second * sin).to(out_ptr.dtype.element_ty), inside)
    tl.store(out_ptr + places + HALF, (second * cos + first * sin).to(out_ptr.dtype.element_ty), inside)


@triton.jit
def _norm_silu_kernel(
    x_ptr, gain_ptr, out_ptr, rows, scale, WIDTH: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (column < WIDTH)
    x = tl.load(x_ptr + row * WIDTH + column, inside, 0.0).to(tl.float32)
    length = tl.maximum(tl.sqrt(tl.sum(x * x, 1)), 1e-12)[:, None]
    normed = _round(_round(x / length, out_ptr) * scale, out_ptr)
    normed = _round(normed * tl.load(gain_ptr + column, column < WIDTH, 0.0).to(tl.float32), out_ptr)
    out = normed / (1.0 + tl.exp(-normed))
    tl.store(out_ptr + row * WIDTH + column, out.to(out_ptr.dtype.element_ty), inside)
