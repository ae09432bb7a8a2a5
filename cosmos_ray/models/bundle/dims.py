"""Dimensions of a model's parts, and whether they are those of its family. No torch, no Ray."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cosmos_ray.clip.family import Family

#: Channels that each kind of control video has in a control token: 16 of its latents, 7 that are not used.
_CONTROL_CHANNELS = 23
Positive = Annotated[int, Field(gt=0)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkDims(Strict):
    """Dimensions of the multiview DiT under the names of its published configuration."""

    model_channels: Positive
    num_blocks: Positive
    num_heads: Positive
    adaln_lora_dim: Positive
    crossattn_emb_channels: Positive
    in_channels: Positive = 16
    out_channels: Positive = 16
    patch_spatial: Literal[2] = 2
    n_cameras_emb: Positive = 7
    view_condition_dim: Positive = 7
    max_img_h: Positive = 240
    max_img_w: Positive = 240
    max_frames: Positive = 128
    rope_h_extrapolation_ratio: float = 3.0
    rope_w_extrapolation_ratio: float = 3.0
    rope_t_extrapolation_ratio: float = 8 / 24
    #: Width of raw text, where the checkpoint has a layer that makes crossattn_emb_channels of it.
    crossattn_proj_in_channels: Positive | None = None
    #: A control block steers the network after each so manieth of its blocks, from the first on; None: there are none.
    vace_block_every_n: Positive | None = None
    num_max_modalities: Positive = 8

    @property
    def num_control_blocks(self) -> int:
        every = self.vace_block_every_n
        return 0 if every is None else -(-self.num_blocks // every)

    @property
    def control_channels(self) -> int:
        """Channels of a control token's latents, all kinds of control videos side by side."""
        return _CONTROL_CHANNELS * self.num_max_modalities

    def is_steered(self, block: int) -> bool:
        """Whether what a control block says is added after this block."""
        return self.vace_block_every_n is not None and block % self.vace_block_every_n == 0


class VaeDims(Strict):
    """Dimensions of the Wan video autoencoder: width, latent channels, width factor a level, blocks a level."""

    dim: Positive
    z_dim: Positive = 16
    dim_mult: tuple[Positive, ...] = (1, 2, 4, 4)
    num_res_blocks: Positive = 2


class T5Dims(Strict):
    """Dimensions of a T5 encoder whose weights come without a `config.json` of their own."""

    vocab_size: Positive
    d_kv: Positive
    d_ff: Positive
    num_layers: Positive
    num_heads: Positive


class Qwen2Dims(Strict):
    """Dimensions of a Qwen2 text tower whose weights come without a `config.json` of their own."""

    vocab_size: Positive
    hidden_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    num_key_value_heads: Positive
    intermediate_size: Positive
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6


def family_problems(
    family: Family, n_views: int, network: NetworkDims, text_encoder: T5Dims | Qwen2Dims | None
) -> list[str]:
    """Where a bundle says one thing and its family another, in words."""
    problems = []
    its = f"as family {family.name} has"
    if n_views > len(family.views):
        problems.append(f"n_views {n_views}: expected at most {len(family.views)}, {its}")
    raw, is_raw = network.crossattn_proj_in_channels, family.text_encoder == "reason1"
    if (raw is not None) != is_raw:
        expected = "the width of raw text" if is_raw else "nothing"
        problems.append(f"network.crossattn_proj_in_channels {raw}: expected {expected}, {its}")
    if text_encoder is not None and isinstance(text_encoder, Qwen2Dims) != is_raw:
        problems.append(f"text_encoder: expected dimensions of a {'Qwen2' if is_raw else 'T5'}, {its}")
    elif isinstance(text_encoder, Qwen2Dims) and raw is not None:
        found = text_encoder.num_hidden_layers * text_encoder.hidden_size
        if raw != found:
            problems.append(
                f"network.crossattn_proj_in_channels {raw}: expected {found}, layers x width of text_encoder"
            )
    if (network.vace_block_every_n is not None) != family.has_control:
        expected = "a number" if family.has_control else "nothing"
        problems.append(f"network.vace_block_every_n {network.vace_block_every_n}: expected {expected}, {its}")
    return problems
