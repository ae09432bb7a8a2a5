"""The multiview diffusion transformer of Cosmos-Predict2 (arXiv 2511.00062), in token space.

Parameters carry the names of the published checkpoint. The network's dtype is its parameters' dtype, and every
elementary operation rounds to it as in the published pipeline; float32 is used where that one uses it: inside
normalisations, for the rotation, and (by the kernel) inside attention.

Legend: B batch, V views, T latent frames, F = V*T frames view after view, H/W latent height and width (h/w in
patches), L tokens of a view in the order (t, h, w), l a rank's share of them, S segments of s tokens each within one
frame (l = S*s), D model channels, N heads, K head width, M text tokens of a view, C text width,
P = 64 values a token (channel, row, column; channel slowest).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from einops import rearrange
from pydantic import model_validator
from torch import Tensor, nn

from cosmos_ray.models.bundle.bundle import Numerics, fitting_world_sizes
from cosmos_ray.models.bundle.dims import NetworkDims, Side
from cosmos_ray.models.bundle.weights import load_strictly
from cosmos_ray.models.network.attention import attention
from cosmos_ray.models.network.block import Block, FinalLayer, at_segments
from cosmos_ray.models.network.control import control_hints, control_modules
from cosmos_ray.models.network.fp8 import fp8_attention
from cosmos_ray.models.network.launches import LaunchedAhead
from cosmos_ray.models.network.layers import RMSNorm, Sinusoid, TimestepMLP, linear
from cosmos_ray.models.network.neighbourhood import attend_to_neighbourhood
from cosmos_ray.models.network.rope import RopeAxes, angle_table
from cosmos_ray.models.network.shortcuts import attend_for_wanted, attend_under_texts
from cosmos_ray.models.network.windows import window_of
from cosmos_ray.models.parallel import (
    Attention,
    ContextParallel,
    SharedAttention,
    attend_over_ranks,
    gather_all,
    share_slice,
)

#: The parameters' dtype fixes the numerics: position angles and timesteps are rounded like everything else.
NUMERICS_DTYPE: dict[Numerics, torch.dtype] = {"reference": torch.bfloat16, "float32": torch.float32}


class DiTConfig(NetworkDims):
    """Dimensions of the network, how many latent frames a view has, and what its family does in its own way.

    rope_enable_fps_modulation: positions in time are stretched by the frame rate; else a latent frame is a unit of
    time. use_wan_fp32_strategy: the timestep's path and the final layer are computed in float32, whatever the dtype,
    and of positions only the frequencies' exponents are rounded to it; else every step of an angle is.
    """

    state_t: Side
    rope_enable_fps_modulation: bool = True
    use_wan_fp32_strategy: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model_channels % self.num_heads:
            raise ValueError(f"model_channels {self.model_channels} do not divide over {self.num_heads} heads")
        if self.out_channels != self.in_channels:
            raise ValueError(f"out_channels {self.out_channels}: expected in_channels, {self.in_channels}")
        return self

    @property
    def head_dim(self) -> int:
        return self.model_channels // self.num_heads

    @property
    def rope_axes(self) -> RopeAxes:
        return RopeAxes(
            self.head_dim,
            ratio_t=self.rope_t_extrapolation_ratio,
            ratio_h=self.rope_h_extrapolation_ratio,
            ratio_w=self.rope_w_extrapolation_ratio,
        )


@dataclass(frozen=True)
class Grid:
    """A clip's extent in tokens: views, latent frames a view, patch rows and patch columns a frame."""

    views: int
    frames: int
    height: int
    width: int

    @property
    def tokens_per_frame(self) -> int:
        return self.height * self.width

    @property
    def tokens_per_view(self) -> int:
        return self.frames * self.tokens_per_frame


@dataclass(frozen=True)
class Share:
    """What one rank knows about its part of a clip; made once a clip by `MultiviewDiT.share`.

    frame_S: latent frame of each segment; cos_l1k, sin_l1k: rotation of each token, float32; places_PVl: where token l
    of view V on rank P is among all that attention sees; given_frames: as `MultiviewDiT.share` has it.
    """

    grid: Grid
    parallel: ContextParallel
    frame_S: Tensor
    cos_l1k: Tensor
    sin_l1k: Tensor
    places_PVl: Tensor
    given_frames: int

    @property
    def views(self) -> int:
        return self.grid.views


def patchify(x_CTHW: Tensor, patch: int = 2) -> Tensor:
    """Latents [..., channels, T, H, W] -> tokens [..., T*h*w, channels*patch*patch], channel slowest in a token."""
    return rearrange(x_CTHW, "... c t (h m) (w n) -> ... (t h w) (c m n)", m=patch, n=patch)


def unpatchify(x_LP: Tensor, grid: Grid, patch: int = 2) -> Tensor:
    """Tokens [..., T*h*w, channels*patch*patch] of one view -> latents [..., channels, T, H, W]."""
    sizes = {"t": grid.frames, "h": grid.height, "w": grid.width, "m": patch, "n": patch}
    return rearrange(x_LP, "... (t h w) (c m n) -> ... c t (h m) (w n)", **sizes)


class MultiviewDiT(nn.Module):
    """Predicts the velocity of V views' latents at once; self-attention sees all tokens of all views."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width, rank = config.model_channels, config.adaln_lora_dim
        patch_area = config.patch_spatial**2
        self.config = config
        token_values = patch_area * config.token_channels
        self.x_embedder = nn.ModuleDict({"proj": nn.Sequential(nn.Identity(), linear(token_values, width))})
        if config.n_cameras_emb:
            self.view_embeddings = nn.Embedding(config.n_cameras_emb, config.view_condition_dim)
        self.t_embedder = nn.Sequential(Sinusoid(width), TimestepMLP(width))
        self.t_embedding_norm = RMSNorm(width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.final_layer = FinalLayer(width, rank, patch_area * config.out_channels)
        self._control = control_modules(config) if config.num_control_blocks else {}
        for name, module in self._control.items():
            self.add_module(name, module)
        self.requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        return self.t_embedding_norm.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.t_embedding_norm.weight.device

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take exactly these parameters, under the network's names (`checkpoint.select_dit` finds them in a file).

        Tensors are shared, not copied: move or cast the network afterwards. UsageError lists names and shapes that are
        not the network's.
        """
        load_strictly(self, state, "the network", assign=True)

    def share(self, grid: Grid, fps: float, parallel: ContextParallel, given_frames: int = 0) -> Share:
        """Prepare this rank's part of a clip. `fps` is the model's own time scale, not the file's. `given_frames`: how
        many latent frames at the start of each view will not be read from the answers; what stands there is undefined.

        ValueError, naming the sizes that fit, if the gang's size divides not both the heads and a view's tokens.
        """
        config, size = self.config, parallel.world_size
        heads, tokens = config.num_heads, grid.tokens_per_view
        if heads % size or tokens % size:
            fitting = ", ".join(map(str, fitting_world_sizes(heads, tokens)))
            raise ValueError(
                f"a gang of {size} does not fit: it must divide {heads} heads and {tokens} tokens a view; "
                f"sizes that fit: {fitting}"
            )
        limits = (config.max_frames, config.max_img_h // config.patch_spatial, config.max_img_w // config.patch_spatial)
        extent = (grid.frames, grid.height, grid.width)
        if any(have > limit for have, limit in zip(extent, limits, strict=True)):
            raise ValueError(f"a view of {extent} (frames, rows, columns of patches) is beyond the model's {limits}")
        mine = share_slice(tokens, parallel)
        # Segments that never cross a frame, so that a frame's modulation is one vector a segment.
        segment = math.gcd(mine.stop - mine.start, grid.tokens_per_frame)
        frame_S = torch.arange(mine.start, mine.stop, segment, device=self.device) // grid.tokens_per_frame
        stretched = config.rope_enable_fps_modulation
        wide = torch.float32 if config.use_wan_fp32_strategy else None
        angles_LK = angle_table(config.rope_axes, *extent, fps if stretched else None, self.dtype, wide)
        angles_l1k = angles_LK[mine, None].to(self.device)
        places_PVl = torch.arange(grid.views * tokens, device=self.device).view(size, grid.views, -1)
        return Share(grid, parallel, frame_S, angles_l1k.cos(), angles_l1k.sin(), places_PVl, given_frames)

    def forward_tokens(
        self,
        x_BVlP: Tensor,
        mask_BVlm: Tensor,
        timesteps_BVT: Tensor,
        context_BVMC: Tensor,
        share: Share,
        view_indices_BVT: Tensor | None = None,
        fp8_blocks: Collection[int] = (),
        control_BVlP: Tensor | None = None,
        control_weight: float = 1.0,
    ) -> Tensor:
        """Velocity [B, V, l, 64] of this rank's tokens, in the network's dtype or wider. Collective.

        mask: 1 on conditional tokens, [B, V, l, 4] (a value for each latent pixel of the patch). timesteps: in 0..1,
        for every frame of the whole clip, or [B, 1, 1] for one that they share. context: 512 text tokens a view, zero
        padded; the padding takes part in the softmax. view_indices: camera of each frame; 0..V-1 by default.
        fp8_blocks: those whose self-attention is in 8 bits. control: latents of the control videos, for a network with
        a control branch; control_weight: of what that says.

        One clip under R texts, as guidance has it: B = 1 for everything but context [R, V, M, C] gives [R, V, l, 64].
        """
        config, dtype, batch = self.config, self.dtype, len(x_BVlP)
        x_BVlP, mask_BVlm, context_BVMC = (x.to(dtype) for x in (x_BVlP, mask_BVlm, context_BVMC))
        tokens = self._tokens(x_BVlP, mask_BVlm, view_indices_BVT, share)
        x_BVSsD = self.x_embedder["proj"](tokens)

        # The embedding is the normalised sinusoid itself; the MLP's output is added to every modulation instead.
        sinusoid_BVTD = self.t_embedder[0](timesteps_BVT.to(torch.float32 if config.use_wan_fp32_strategy else dtype))
        lora_BVT3D = self.t_embedder[1](sinusoid_BVTD)
        embedding_BVTD = self.t_embedding_norm(sinusoid_BVTD)

        # Without text (and without biases) keys and values are zero, so cross-attention gives exactly zero.
        has_text_V = context_BVMC.ne(0).any(dim=3).any(dim=2).any(dim=0)
        views_with_text = has_text_V.nonzero().flatten()
        context_BvMC = context_BVMC[:, views_with_text]
        same_V = context_BVMC.eq(context_BVMC[:1]).all(dim=3).all(dim=2).all(dim=0)
        attends = self._attends(same_V, len(context_BvMC) > batch, fp8_blocks, share)
        launched = LaunchedAhead(x_BVSsD.device)
        rest = (embedding_BVTD, lora_BVT3D, context_BvMC, views_with_text, share)
        hints = self._hints(tokens, x_BVSsD, control_BVlP, rest)
        for number, (block, attend) in enumerate(zip(self.blocks, attends, strict=True)):
            x_BVSsD = block(x_BVSsD, *rest, attend)
            if config.is_steered(number):
                x_BVSsD = x_BVSsD + next(hints) * control_weight
            launched.one_more()
        out_BVlQ = self.final_layer(x_BVSsD, embedding_BVTD, lora_BVT3D, share).flatten(2, 3)
        # The output has the channel fastest; tokens everywhere else have it slowest.
        sizes = {"m": config.patch_spatial, "n": config.patch_spatial}
        return rearrange(out_BVlQ, "b v l (m n c) -> b v l (c m n)", **sizes)

    def _tokens(self, x_BVlP: Tensor, mask_BVlm: Tensor, view_indices_BVT: Tensor | None, share: Share) -> Tensor:
        """A token's values [B, V, S, s, P'], channel slowest: latent, condition mask, padding mask (always zero), view
        embedding; as many of them as the network has."""
        config = self.config
        x_BVSsP, mask_BVSsm = (x.unflatten(2, (len(share.frame_S), -1)) for x in (x_BVlP, mask_BVlm))
        masks = (mask_BVSsm, torch.zeros_like(mask_BVSsm))
        parts = (x_BVSsP, *masks[0 if config.has_condition_mask else 1 :])
        if not config.n_cameras_emb:
            return torch.cat(parts, dim=-1)
        if view_indices_BVT is None:
            cameras_V1 = torch.arange(share.views, device=x_BVlP.device)[:, None]
            view_indices_BVT = cameras_V1.expand(len(x_BVlP), -1, share.grid.frames)
        camera_BVTE = self.view_embeddings(view_indices_BVT.clamp(max=config.n_cameras_emb - 1))
        # Each camera value fills its 2 x 2 patch.
        camera_BVS1e = at_segments(camera_BVTE.repeat_interleave(config.patch_spatial**2, dim=-1), share)
        return torch.cat((*parts, camera_BVS1e.expand(-1, -1, -1, x_BVSsP.shape[3], -1)), dim=-1)

    def _hints(
        self,
        tokens_BVSsP: Tensor,
        x_BVSsD: Tensor,
        control_BVlP: Tensor | None,
        rest: tuple[Any, ...],
    ) -> Iterator[Tensor]:
        """What the control branch adds after the blocks that it steers, one after the other; each when it is needed.

        rest: what blocks take beside their tokens and their attention.
        """
        if not self._control:
            return iter(())
        if control_BVlP is None:
            raise ValueError("the network has a control branch: expected latents of control videos")
        *_, share = rest
        attend = partial(attend_over_ranks, attention, parallel=share.parallel)
        values = self.config.in_channels * self.config.patch_spatial**2
        latents_BVlP = control_BVlP.to(self.dtype)
        return control_hints(self._control, tokens_BVSsP, values, x_BVSsD, latents_BVlP, (*rest, attend))

    def _attends(
        self, same_V: Tensor, under_texts: bool, fp8_blocks: Collection[int], share: Share
    ) -> list[SharedAttention]:
        """How each block's tokens attend to those of all ranks. `under_texts`: one clip is asked for under several."""
        places_PVl, given = share.places_PVl, share.given_frames

        def over_ranks(attend: Attention) -> SharedAttention:
            return partial(attend_over_ranks, attend, parallel=share.parallel)

        last = len(self.blocks) - 1
        attends: list[SharedAttention] = [
            over_ranks(fp8_attention if number in fp8_blocks else attention) for number in range(last + 1)
        ]
        if self.config.natten is not None:
            # The one view's tokens come in the clip's order: each rank holds the next of them.
            extent = (share.grid.frames, share.grid.height, share.grid.width)
            for number, letter in enumerate(self.config.natten):
                if (window := window_of(letter, extent)) is not None:
                    attends[number] = over_ranks(partial(attend_to_neighbourhood, grid=extent, window=window))
            return attends
        if 0 < given < share.grid.frames and last not in fp8_blocks:
            # Nothing follows the last block, so that what nobody reads needs no queries there.
            places_VL = places_PVl.transpose(0, 1).flatten(1)
            wanted = places_VL[:, given * share.grid.tokens_per_frame :].flatten()
            attends[last] = over_ranks(partial(attend_for_wanted, wanted_w=wanted))
        if under_texts and last > 0 and 1 not in fp8_blocks and 0 < same_V.sum() < len(same_V):
            # Views that have the same text, or none, hear of the others' in this block at the earliest.
            same, other = (places_PVl[:, views].flatten() for views in (same_V, ~same_V))
            attends[1] = over_ranks(partial(attend_under_texts, same_s=same, other_o=other))
        return attends

    def forward(
        self,
        x_BCFHW: Tensor,
        timesteps_BF: Tensor,
        context_BMC: Tensor,
        cond_mask_B1FHW: Tensor,
        fps: float,
        view_indices_BF: Tensor | None = None,
        parallel: ContextParallel | None = None,
        control_BCFHW: Tensor | None = None,
        control_weight: float = 1.0,
    ) -> Tensor:
        """One network call in the published layout: latents [B, 16, V*T, H, W] in and out, on every rank whole.

        timesteps: [B, V*T], or [B, 1] for one that all frames share. context: [B, V*512, C]. Collective.
        """
        parallel = parallel or ContextParallel()
        config = self.config
        batch, _, frames, height, width = x_BCFHW.shape
        if frames % config.state_t:
            raise ValueError(f"{frames} latent frames: expected a multiple of state_t, {config.state_t}")
        views, patch = frames // config.state_t, config.patch_spatial
        if context_BMC.shape[1] % views:
            raise ValueError(f"{context_BMC.shape[1]} text tokens do not divide over {views} views")
        grid = Grid(views, config.state_t, height // patch, width // patch)
        share = self.share(grid, fps, parallel)
        mine = share_slice(grid.tokens_per_view, parallel)
        to_views = "b c (v t) h w -> b v c t h w"

        def to_share(whole_BCFHW: Tensor) -> Tensor:
            return patchify(rearrange(whole_BCFHW, to_views, v=views), patch)[:, :, mine]

        x_BVlP, mask_BVlm = to_share(x_BCFHW), to_share(cond_mask_B1FHW)
        control_BVlP = None if control_BCFHW is None else to_share(control_BCFHW)
        is_shared = timesteps_BF.shape[1] == 1
        timesteps_BVT = timesteps_BF[..., None] if is_shared else timesteps_BF.unflatten(1, (views, -1))
        context_BVMC = context_BMC.unflatten(1, (views, -1))
        cameras_BVT = None if view_indices_BF is None else view_indices_BF.unflatten(1, (views, -1))
        out_BVlP = self.forward_tokens(
            x_BVlP, mask_BVlm, timesteps_BVT, context_BVMC, share, cameras_BVT,
            control_BVlP=control_BVlP, control_weight=control_weight,
        )  # fmt: skip
        out_BVLP = gather_all(out_BVlP.flatten(0, 1), parallel).unflatten(0, (batch, views))
        return rearrange(unpatchify(out_BVLP, grid, patch), "b v c t h w -> b c (v t) h w")
