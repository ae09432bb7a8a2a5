"""Dimensions of a model's parts, and whether they are those of its family. No torch, no Ray."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cosmos_ray.clip.family import FAMILIES, Family

#: Pixels a patch token spans in height and width.
PIXELS_PER_TOKEN = 16
#: Channels that each kind of control video has in a control token: 16 of its latents, 7 that are not used.
_CONTROL_CHANNELS = 23
#: Dimensions have bounds, far above any model's, so that nothing computed from them takes long or makes no sense.
Count = Annotated[int, Field(gt=0, le=1024)]
Few = Annotated[int, Field(ge=0, le=1024)]
Width = Annotated[int, Field(gt=0, le=2**18)]
Side = Annotated[int, Field(gt=0, le=2**14)]
Ratio = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class Strict(BaseModel):
    """A part of a bundle that has no other keys than these, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkDims(Strict):
    """Dimensions of the DiT under the names of its published configuration. n_cameras_emb and view_condition_dim: 0 for
    a network of one view. has_condition_mask: a token says whether its frame is given. natten: a letter a block, for
    what it attends to (`network/windows.py`); None: all attend to everything."""

    model_channels: Width
    num_blocks: Count
    num_heads: Count
    adaln_lora_dim: Width
    crossattn_emb_channels: Width
    in_channels: Count = 16
    out_channels: Count = 16
    patch_spatial: Literal[2] = 2
    n_cameras_emb: Few = 7
    view_condition_dim: Few = 7
    has_condition_mask: bool = True
    max_img_h: Side = 240
    max_img_w: Side = 240
    max_frames: Side = 128
    rope_h_extrapolation_ratio: Ratio = 3.0
    rope_w_extrapolation_ratio: Ratio = 3.0
    rope_t_extrapolation_ratio: Ratio = 8 / 24
    #: Width of raw text, where the checkpoint has a layer that makes crossattn_emb_channels of it.
    crossattn_proj_in_channels: Width | None = None
    #: A control block steers the network after each so manieth of its blocks, from the first on; None: there are none.
    vace_block_every_n: Count | None = None
    num_max_modalities: Count = 8
    natten: Annotated[str, Field(pattern="^[ABCEFG]+$", max_length=1024)] | None = None

    @property
    def token_channels(self) -> int:
        """Of what a token is made: latent, condition mask, padding mask (always zero), view embedding."""
        return self.in_channels + self.has_condition_mask + 1 + self.view_condition_dim

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

    dim: Side
    z_dim: Count = 16
    dim_mult: Annotated[tuple[Count, ...], Field(min_length=1, max_length=8)] = (1, 2, 4, 4)
    num_res_blocks: Count = 2


class T5Dims(Strict):
    """Dimensions of a T5 encoder whose weights come without a `config.json` of their own."""

    vocab_size: Width
    d_kv: Side
    d_ff: Width
    num_layers: Count
    num_heads: Count


class Qwen2Dims(Strict):
    """Dimensions of a Qwen2 text tower whose weights come without a `config.json` of their own."""

    vocab_size: Width
    hidden_size: Width
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    intermediate_size: Width
    rms_norm_eps: Annotated[float, Field(gt=0, le=1)] = 1e-6
    rope_theta: Annotated[float, Field(gt=0, le=1e12)] = 1e6


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
    if bool(network.n_cameras_emb) != family.has_cameras or bool(network.view_condition_dim) != family.has_cameras:
        expected = "more than 0" if family.has_cameras else "0"
        sizes = (network.n_cameras_emb, network.view_condition_dim)
        problems.append(f"network.n_cameras_emb, view_condition_dim {sizes}: expected {expected}, {its}")
    if network.natten is not None and (family.has_cameras or len(network.natten) != network.num_blocks):
        expected = "nothing" if family.has_cameras else f"{network.num_blocks} letters, one a block"
        problems.append(f"network.natten {network.natten}: expected {expected}")
    if network.has_condition_mask != family.has_condition_mask:
        expected = "true" if family.has_condition_mask else "false"
        problems.append(f"network.has_condition_mask: expected {expected}, {its}")
    if (network.vace_block_every_n is not None) != family.has_control:
        expected = "a number" if family.has_control else "nothing"
        problems.append(f"network.vace_block_every_n {network.vace_block_every_n}: expected {expected}, {its}")
    return problems


def picture_problems(
    name: str, network: NetworkDims, sides: tuple[int, int], text_encoder: T5Dims | Qwen2Dims | None
) -> list[str]:
    """The same of the model of the picture that clips begin with. name: of its family; sides: height and width."""
    family = FAMILIES.get(name)
    if family is None or family.has_condition_mask or family.has_cameras:
        makers = [name for name, one in FAMILIES.items() if not (one.has_condition_mask or one.has_cameras)]
        return [f"picture.family: found {name!r}, expected one of {', '.join(makers)}"]
    problems = family_problems(family, 1, network, text_encoder)
    if any(side % PIXELS_PER_TOKEN for side in sides):
        problems.append(f"height x width {sides[0]}x{sides[1]}: expected multiples of {PIXELS_PER_TOKEN}")
    return [f"picture: {problem}" for problem in problems]
