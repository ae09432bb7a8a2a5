"""The Wan autoencoder over a whole sequence at once: the numbers of `AutoencoderKLWan`, without its chunks and caches.

The library walks a video in chunks of one latent frame, so that any length fits; a short, small video pays for that
with hundreds of tiny calls. Here each layer sees all frames. A causal 3 x 3 x 3 convolution becomes one 2-D convolution
over three frames stacked as channels, which CPUs compute much faster than a 3-D one. Differentiable.

Legend: B batch, C channels, T frames, H/W height/width; x_TBC: [T, B, C, H, W], time first, so that frames stacked
with their predecessors are slices of one padded tensor.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.nn import functional as F


def encode_whole(model: AutoencoderKLWan, video_BCTHW: Tensor) -> Tensor:
    """Mean latent [B, z, 1 + (T-1)/4, H/8, W/8], not normalised, of a video [B, 3, T, H, W] in [-1, 1]."""
    encoder = model.encoder
    x_TBC = _conv(encoder.conv_in, _time_first(video_BCTHW))
    for layer in encoder.down_blocks:
        x_TBC = _downsample(layer, x_TBC) if hasattr(layer, "resample") else _residual(layer, x_TBC)
    x_TBC = _conv(encoder.conv_out, _activated(encoder.norm_out, _middle(encoder.mid_block, x_TBC)))
    moments_TBC = _conv(model.quant_conv, x_TBC)
    return _batch_first(moments_TBC.chunk(2, dim=2)[0])


def decode_whole(model: AutoencoderKLWan, latent_BCTHW: Tensor) -> Tensor:
    """Video [B, 3, 1 + 4(T-1), 8H, 8W] of latents that are not normalised; not clamped."""
    decoder = model.decoder
    x_TBC = _conv(decoder.conv_in, _conv(model.post_quant_conv, _time_first(latent_BCTHW)))
    x_TBC = _middle(decoder.mid_block, x_TBC)
    for block in decoder.up_blocks:
        for layer in block.resnets:
            x_TBC = _residual(layer, x_TBC)
        for layer in block.upsamplers or ():
            x_TBC = _upsample(layer, x_TBC)
    return _batch_first(_conv(decoder.conv_out, _activated(decoder.norm_out, x_TBC)))


def _time_first(x_BCTHW: Tensor) -> Tensor:
    return x_BCTHW.permute(2, 0, 1, 3, 4).contiguous()


def _batch_first(x_TBC: Tensor) -> Tensor:
    return x_TBC.permute(1, 2, 0, 3, 4)


def _conv(layer: nn.Conv3d, x_TBC: Tensor) -> Tensor:
    """A causal convolution (kernel k x s x s, height and width padded to keep their size) over all frames."""
    taps, space = layer.kernel_size[0], layer.kernel_size[1]
    stacked_TBC = x_TBC
    if taps > 1:
        frames = len(x_TBC)
        past_TBC = torch.cat((x_TBC.new_zeros(taps - 1, *x_TBC.shape[1:]), x_TBC))
        stacked_TBC = torch.cat([past_TBC[tap : tap + frames] for tap in range(taps)], dim=2)
    return _frames(stacked_TBC, _flat(layer), layer.bias, padding=space // 2)


def _flat(layer: nn.Conv3d) -> Tensor:
    """[O, C, k, s, s] -> [O, k*C, s, s]: the weight for frames stacked as channels, the oldest first."""
    return layer.weight.transpose(1, 2).flatten(1, 2)


def _frames(x_TBC: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 0, stride: int = 1) -> Tensor:
    """A 2-D convolution of each frame."""
    return F.conv2d(x_TBC.flatten(0, 1), weight, bias, stride, padding).unflatten(0, x_TBC.shape[:2])


def _norm(gamma: Tensor, x_TBC: Tensor) -> Tensor:
    """x / |x| over the channels, times sqrt(C) and the gain; the length in float32."""
    length = x_TBC.float().square().sum(dim=2, keepdim=True).sqrt().clamp_min(1e-12)
    gain = gamma.flatten()[:, None, None] * len(gamma) ** 0.5
    return x_TBC * length.reciprocal().to(x_TBC.dtype) * gain.to(x_TBC.dtype)


def _activated(norm: nn.Module, x_TBC: Tensor) -> Tensor:
    return F.silu(_norm(norm.gamma, x_TBC))


def _residual(block: nn.Module, x_TBC: Tensor) -> Tensor:
    shortcut_TBC = x_TBC if isinstance(block.conv_shortcut, nn.Identity) else _conv(block.conv_shortcut, x_TBC)
    hidden_TBC = _conv(block.conv1, _activated(block.norm1, x_TBC))
    return _conv(block.conv2, _activated(block.norm2, hidden_TBC)) + shortcut_TBC


def _middle(block: nn.Module, x_TBC: Tensor) -> Tensor:
    x_TBC = _residual(block.resnets[0], x_TBC)
    for attention, layer in zip(block.attentions, block.resnets[1:], strict=True):
        x_TBC = _residual(layer, _attend(attention, x_TBC))
    return x_TBC


def _attend(block: nn.Module, x_TBC: Tensor) -> Tensor:
    """One head over the pixels of each frame."""
    qkv_TBC = _frames(_norm(block.norm.gamma, x_TBC), block.to_qkv.weight, block.to_qkv.bias)
    q, k, v = qkv_TBC.flatten(0, 1).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=-1)
    out_NPC = F.scaled_dot_product_attention(q, k, v)[:, 0]
    out_TBC = out_NPC.transpose(1, 2).reshape(x_TBC.shape)
    return x_TBC + _frames(out_TBC, block.proj.weight, block.proj.bias)


def _downsample(layer: nn.Module, x_TBC: Tensor) -> Tensor:
    """Half the height and width; of time too where there is a time convolution: the first frame stays alone."""
    spatial = layer.resample[1]
    x_TBC = _frames(F.pad(x_TBC, (0, 1, 0, 1)), spatial.weight, spatial.bias, stride=2)
    if not hasattr(layer, "time_conv") or len(x_TBC) == 1:
        return x_TBC
    stacked_TBC = torch.cat((x_TBC[:-2:2], x_TBC[1:-1:2], x_TBC[2::2]), dim=2)
    return torch.cat((x_TBC[:1], _frames(stacked_TBC, _flat(layer.time_conv), layer.time_conv.bias)))


def _upsample(layer: nn.Module, x_TBC: Tensor) -> Tensor:
    """Twice the height and width; each frame but the first becomes two where there is a time convolution, which does
    not see the first."""
    if hasattr(layer, "time_conv") and len(x_TBC) > 1:
        pairs_TBC = _conv(layer.time_conv, x_TBC[1:])
        both_TBC = torch.stack(pairs_TBC.chunk(2, dim=2), dim=1).flatten(0, 1)
        x_TBC = torch.cat((x_TBC[:1], both_TBC))
    spatial = layer.resample[1]
    larger = F.interpolate(x_TBC.flatten(0, 1), scale_factor=2.0, mode="nearest-exact")
    return _frames(larger.unflatten(0, x_TBC.shape[:2]), spatial.weight, spatial.bias, padding=1)
