"""The video tokenizer: Wan 2.1's causal autoencoder, 8x8x4 pixels to one latent cell of 16 channels.

The computation is `diffusers.AutoencoderKLWan`; here are the published file's names and the latent normalisation.

Legend: B batch, C channels, T frames (pixel frames 1 + 4k, latent frames 1 + k), H/W height/width.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Mapping

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from cosmos_ray.models.bundle.dims import VaeDims
from cosmos_ray.models.bundle.memory import WHOLE_DECODE_SHARE, whole_decode_bytes
from cosmos_ray.models.bundle.weights import fill_random, load_strictly
from cosmos_ray.models.vae.vae_whole import decode_whole

#: Per-channel mean and standard deviation of the latents, as published with the tokenizer.
# fmt: off
LATENT_MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
               0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
LATENT_STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
              3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)
# fmt: on


#: Pixels times channels of a view up to which it is decoded whole on a CPU: its largest layer then takes 0.2 GB.
_WHOLE_LIMIT = 2**24


class WanVAE:
    """Encodes and decodes videos in [-1, 1]; latents are normalised to about zero mean and unit variance.

    One thread may encode while another decodes, as neighbouring clips of a gang do; of two that decode (a clip, and the
    picture or the chunk that the next one goes on from) one waits.
    """

    def __init__(self, model: AutoencoderKLWan) -> None:
        self.model = model.eval().requires_grad_(False)
        # The diffusers class keeps its feature caches on itself, and encoding clears those of decoding as well. A
        # shallow copy has caches of its own and the same weights.
        self._encoder = copy.copy(self.model)
        self._decoder_is_free = threading.Lock()  # its feature caches are one decoding's
        weight = next(self.model.parameters())
        self.to(weight.device, weight.dtype)

    @classmethod
    def from_published(
        cls,
        state_dict: Mapping[str, Tensor],
        dim: int,
        z_dim: int = 16,
        dim_mult: tuple[int, ...] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
    ) -> WanVAE:
        """From tensors under the published (Wan) names, which it keeps and does not copy.

        UsageError lists missing, unexpected and misshapen names.
        """
        with torch.device("meta"):  # drawing weights that nobody will see takes seconds
            model = _build(VaeDims(dim=dim, z_dim=z_dim, dim_mult=dim_mult, num_res_blocks=num_res_blocks))
        names = {name: published_name(name, num_res_blocks) for name in model.state_dict()}
        load_strictly(model, state_dict, "VAE", names, assign=True)
        return cls(model)

    @classmethod
    def random(cls, config: VaeDims, seed: int) -> WanVAE:
        model = _build(config)
        fill_random(model, seed)
        return cls(model)

    def to(self, device: str | torch.device, dtype: torch.dtype) -> WanVAE:
        """Moves weights and the latent statistics; everything is then computed in `dtype`."""
        # torch's own `to`: that of diffusers warns about modules to keep in float32, of which this model has none.
        nn.Module.to(self.model, device=device, dtype=dtype)
        self.device, self.dtype = torch.device(device), dtype
        channels = self.model.config.z_dim
        mean, std = (torch.tensor(values, device=device, dtype=dtype) for values in (LATENT_MEAN, LATENT_STD))
        self.mean = mean[:channels].view(1, -1, 1, 1, 1)
        # The reference keeps 1/std in the working precision and divides by that when decoding.
        self.inverse_std = (1.0 / std[:channels]).view(1, -1, 1, 1, 1)
        return self

    def published_state_dict(self) -> dict[str, Tensor]:
        """The weights under the published names, the form `from_published` reads."""
        blocks = self.model.config.num_res_blocks
        return {published_name(name, blocks): tensor for name, tensor in self.model.state_dict().items()}

    @torch.no_grad()
    def encode(self, video_BCTHW: Tensor) -> Tensor:
        """Normalised mean latent [B, 16, 1 + (T-1)/4, H/8, W/8] of a video in [-1, 1], in the video's dtype.

        The encoder is causal: the latents of a prefix of a video are a prefix of the video's latents.
        """
        frames, height, width = video_BCTHW.shape[2:]
        if frames % 4 != 1 or height % 8 or width % 8:
            raise ValueError(
                f"video of {frames} frames, {height}x{width}: expected 1 + 4k frames and sizes divisible by 8"
            )
        mode = self._encoder.encode(video_BCTHW.to(self.device, self.dtype)).latent_dist.mode()
        return ((mode - self.mean) * self.inverse_std).to(video_BCTHW.dtype)

    @torch.no_grad()
    def decode(self, latent_BCTHW: Tensor) -> Tensor:
        """Video [B, 3, 1 + 4(T-1), 8H, 8W] of normalised latents, clamped to [-1, 1], in the latent's dtype."""
        latent = latent_BCTHW.to(self.device, self.dtype) / self.inverse_std + self.mean
        if self._decodes_whole(latent):
            video = torch.cat([decode_whole(self.model, view) for view in latent.split(1)]).clamp(-1.0, 1.0)
        else:
            with self._decoder_is_free:
                video = self.model.decode(latent).sample
        return video.to(latent_BCTHW.dtype)

    def _decodes_whole(self, latent_BCTHW: Tensor) -> bool:
        """Whether the decoder of `vae_whole`, equal but for rounding and faster, has the memory."""
        latent_frames, height, width = latent_BCTHW.shape[2:]
        frames, pixels, dim = 4 * latent_frames - 3, 64 * height * width, self.model.config.base_dim
        if self.device.type == "cuda":
            needed = whole_decode_bytes(dim, frames, pixels, latent_BCTHW.element_size())
            return needed <= WHOLE_DECODE_SHARE * torch.cuda.get_device_properties(self.device).total_memory
        return self.dtype == torch.float32 and dim * frames * pixels <= _WHOLE_LIMIT


def _build(config: VaeDims) -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=config.dim,
        z_dim=config.z_dim,
        dim_mult=list(config.dim_mult),
        num_res_blocks=config.num_res_blocks,
    )


_RES_BLOCK_NAMES = (
    ("norm1.gamma", "residual.0.gamma"),
    ("conv1.", "residual.2."),
    ("norm2.gamma", "residual.3.gamma"),
    ("conv2.", "residual.6."),
    ("conv_shortcut.", "shortcut."),
)
_MIDDLE = {"resnets.0.": "middle.0.", "attentions.0.": "middle.1.", "resnets.1.": "middle.2."}
_OUTER = {
    "quant_conv.": "conv1.",
    "post_quant_conv.": "conv2.",
    "encoder.conv_in.": "encoder.conv1.",
    "decoder.conv_in.": "decoder.conv1.",
    "encoder.norm_out.": "encoder.head.0.",
    "decoder.norm_out.": "decoder.head.0.",
    "encoder.conv_out.": "encoder.head.2.",
    "decoder.conv_out.": "decoder.head.2.",
}


def published_name(name: str, num_res_blocks: int) -> str:
    """The published (Wan) name of a diffusers weight; a decoder level is num_res_blocks + 1 blocks and an upsampler."""
    for ours, published in _OUTER.items():
        if name.startswith(ours):
            return published + name.removeprefix(ours)
    level = num_res_blocks + 2
    if match := re.match(r"(encoder|decoder)\.mid_block\.(\w+\.\d\.)(.*)", name):
        part, block, rest = match.groups()
        stem = f"{part}.{_MIDDLE[block]}"
    elif match := re.match(r"encoder\.down_blocks\.(\d+)\.(.*)", name):
        stem, rest = f"encoder.downsamples.{match[1]}.", match[2]
    elif match := re.match(r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.(.*)", name):
        stem, rest = f"decoder.upsamples.{level * int(match[1]) + int(match[2])}.", match[3]
    elif match := re.match(r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.(.*)", name):
        stem, rest = f"decoder.upsamples.{level * int(match[1]) + level - 1}.", match[2]
    else:
        raise ValueError(f"no published name for the VAE weight `{name}`")
    for ours, published in _RES_BLOCK_NAMES:
        if rest.startswith(ours):
            return stem + published + rest.removeprefix(ours)
    return stem + rest
