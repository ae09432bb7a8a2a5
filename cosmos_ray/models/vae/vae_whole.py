"""The Wan autoencoder over a whole sequence at once: the numbers of `AutoencoderKLWan`, without its chunks and caches.

The library walks a video in chunks of one latent frame, so that any length fits; a short, small video pays for that
with hundreds of tiny calls. Here each layer sees all frames. A causal 3 x 3 x 3 convolution becomes one 2-D convolution
over three frames stacked as channels, which CPUs compute much faster than a 3-D one; some frames at a time, where the
stack would be large. Differentiable. The library's modules carry no types, hence `Any`.

Legend: B batch, C channels, T frames, H/W height/width. x: frames of all videos [T*B, C, H, W] with channels last in
memory, time first, so that frames stacked with their predecessors are slices of one padded tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_ray.models.network.passes import fused_kernels

#: Numbers that a convolution reads at once: 2 GB in bfloat16.
_STACK_LIMIT = 2**30


def encode_whole(model: AutoencoderKLWan, video_BCTHW: Tensor) -> Tensor:
    """Mean latent [B, z, 1 + (T-1)/4, H/8, W/8], not normalised, of a video [B, 3, T, H, W] in [-1, 1]."""
    encoder, batch = model.encoder, len(video_BCTHW)
    x = _conv(encoder.conv_in, _as_frames(video_BCTHW), batch)
    for layer in encoder.down_blocks:
        x = _downsample(layer, x, batch) if hasattr(layer, "resample") else _residual(layer, x, batch)
    x = _conv(encoder.conv_out, _activated(encoder.norm_out, _middle(encoder.mid_block, x, batch)), batch)
    return _as_videos(_conv(model.quant_conv, x, batch).chunk(2, dim=1)[0], batch)


def decode_whole(model: AutoencoderKLWan, latent_BCTHW: Tensor) -> Tensor:
    """Video [B, 3, 1 + 4(T-1), 8H, 8W] of latents that are not normalised; not clamped."""
    decoder, batch = model.decoder, len(latent_BCTHW)
    x = _conv(decoder.conv_in, _conv(model.post_quant_conv, _as_frames(latent_BCTHW), batch), batch)
    x = _middle(decoder.mid_block, x, batch)
    for block in decoder.up_blocks:
        for layer in block.resnets:
            x = _residual(layer, x, batch)
        for layer in block.upsamplers or ():
            x = _upsample(layer, x, batch)
    return _as_videos(_conv(decoder.conv_out, _activated(decoder.norm_out, x), batch), batch)


def _as_frames(x_BCTHW: Tensor) -> Tensor:
    return x_BCTHW.permute(2, 0, 1, 3, 4).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _as_videos(x: Tensor, batch: int) -> Tensor:
    return x.unflatten(0, (-1, batch)).permute(1, 2, 0, 3, 4)


def _conv(layer: nn.Conv3d, x: Tensor, batch: int) -> Tensor:
    """A causal convolution (kernel k x s x s, height and width padded to keep their size) over all frames."""
    taps, space = layer.kernel_size[0], layer.kernel_size[1]
    weight = _flat(layer)
    at_once = max(1, _STACK_LIMIT // (taps * x[0].numel()))
    parts = []
    for start in range(0, len(x), at_once):
        stop = min(start + at_once, len(x))
        seen = [_earlier(x, (taps - 1 - tap) * batch, start, stop) for tap in range(taps)]
        stacked = torch.cat(seen, dim=1) if taps > 1 else seen[0]
        parts.append(F.conv2d(stacked, weight, layer.bias, padding=space // 2))
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _earlier(x: Tensor, by: int, start: int, stop: int) -> Tensor:
    """Rows start - by .. stop - by of x; zeros before the first."""
    missing = min(max(by - start, 0), stop - start)
    rows = x[max(start - by, 0) : max(stop - by, 0)]
    if not missing:
        return rows
    zeros = x.new_zeros(missing, *x.shape[1:]).contiguous(memory_format=torch.channels_last)
    return torch.cat((zeros, rows))


def _flat(layer: nn.Conv3d) -> Tensor:
    """[O, C, k, s, s] -> [O, k*C, s, s]: the weight for frames stacked as channels, the oldest first."""
    return layer.weight.transpose(1, 2).flatten(1, 2)


def _norm(gamma: Tensor, x: Tensor) -> Tensor:
    """x / |x| over the channels, times sqrt(C) and the gain; the length in float32."""
    length = x.float().square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-12)
    gain = gamma.flatten()[:, None, None] * len(gamma) ** 0.5
    return x * length.reciprocal().to(x.dtype) * gain.to(x.dtype)


def _activated(norm: Any, x: Tensor) -> Tensor:
    if kernels := fused_kernels(x):
        return kernels.norm_silu(x, norm.gamma)
    return F.silu(_norm(norm.gamma, x))


def _residual(block: Any, x: Tensor, batch: int) -> Tensor:
    shortcut = x if isinstance(block.conv_shortcut, nn.Identity) else _conv(block.conv_shortcut, x, batch)
    hidden = _conv(block.conv1, _activated(block.norm1, x), batch)
    return _conv(block.conv2, _activated(block.norm2, hidden), batch) + shortcut


def _middle(block: Any, x: Tensor, batch: int) -> Tensor:
    x = _residual(block.resnets[0], x, batch)
    for attention, layer in zip(block.attentions, block.resnets[1:], strict=True):
        x = _residual(layer, _attend(attention, x), batch)
    return x


def _attend(block: Any, x: Tensor) -> Tensor:
    """One head over the pixels of each frame."""
    qkv = F.conv2d(_norm(block.norm.gamma, x), block.to_qkv.weight, block.to_qkv.bias)
    q, k, v = qkv.flatten(2).transpose(1, 2)[:, None].chunk(3, dim=-1)
    out = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).unflatten(2, x.shape[2:])
    return x + F.conv2d(out, block.proj.weight, block.proj.bias)


def _downsample(layer: Any, x: Tensor, batch: int) -> Tensor:
    """Half the height and width; of time too where there is a time convolution: the first frame stays alone."""
    spatial = layer.resample[1]
    x = F.conv2d(F.pad(x, (0, 1, 0, 1)), spatial.weight, spatial.bias, stride=2)
    if not hasattr(layer, "time_conv") or len(x) == batch:
        return x
    by_time = x.unflatten(0, (-1, batch))
    stacked = torch.cat([by_time[start:stop:2].flatten(0, 1) for start, stop in ((0, -2), (1, -1), (2, None))], dim=1)
    return torch.cat((x[:batch], F.conv2d(stacked, _flat(layer.time_conv), layer.time_conv.bias)))


def _upsample(layer: Any, x: Tensor, batch: int) -> Tensor:
    """Twice the height and width; each frame but the first becomes two where there is a time convolution, which does
    not see the first."""
    if hasattr(layer, "time_conv") and len(x) > batch:
        pairs = _conv(layer.time_conv, x[batch:], batch)
        halves = [half.unflatten(0, (-1, batch)) for half in pairs.chunk(2, dim=1)]
        x = torch.cat((x[:batch], torch.stack(halves, dim=1).flatten(0, 2))).contiguous(
            memory_format=torch.channels_last
        )
    spatial = layer.resample[1]
    parts = []
    for some in x.split(max(1, _STACK_LIMIT // (4 * x[0].numel()))):
        larger = F.interpolate(some, scale_factor=2.0, mode="nearest-exact").contiguous(
            memory_format=torch.channels_last
        )
        parts.append(F.conv2d(larger, spatial.weight, spatial.bias, padding=1))
    return torch.cat(parts) if len(parts) > 1 else parts[0]
