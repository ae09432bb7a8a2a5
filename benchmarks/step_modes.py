"""What a denoising step is in each mode of `denoise.py`: sizes, savings, and how one of them is switched off.

Legend: B clips, V views, T latent frames, l a rank's share of a view's tokens, P = 64 values a token, m = 4 of its
mask, R texts, M text tokens, C text width, L tokens, N heads, K head width.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from cosmos_ray.clip.approximations import Approximations  # noqa: E402
from cosmos_ray.clip.request import TEXT_TOKENS  # noqa: E402
from cosmos_ray.models.network import attention as kernels  # noqa: E402
from cosmos_ray.models.network import block, dit, passes  # noqa: E402
from cosmos_ray.models.network.dit import DiTConfig, Grid, MultiviewDiT  # noqa: E402
from cosmos_ray.models.parallel import ContextParallel  # noqa: E402


@dataclass(frozen=True)
class Size:
    """raw_text: width of text before it is projected, for a family whose network does that; 0 for one that has none."""

    config: DiTConfig
    grid: Grid
    raw_text: int = 0

    @property
    def is_predict25(self) -> bool:
        return bool(self.raw_text)


SIZES = {
    "2b": Size(
        DiTConfig(
            model_channels=2048, num_blocks=28, num_heads=16, adaln_lora_dim=256, crossattn_emb_channels=1024, state_t=8
        ),
        Grid(views=7, frames=8, height=44, width=80),
    ),
    "small": Size(
        DiTConfig(
            model_channels=256, num_blocks=3, num_heads=2, adaln_lora_dim=8, crossattn_emb_channels=16, state_t=2
        ),
        Grid(views=3, frames=2, height=2, width=4),
    ),
}
#: What Predict2.5 has otherwise: how the network computes, rows and columns of patches, width of the text encoder.
PREDICT25 = {"rope_enable_fps_modulation": False, "use_wan_fp32_strategy": True}
PREDICT25_SIZES = {"2b": ({"height": 45, "width": 80}, 100_352), "small": ({}, 64)}
WHOLE_MODES = ("baseline", "baseline-fa3", "exact", "fp8")
PREDICT2_SAVINGS = ("views", "second-block")
PREDICT25_SAVINGS = ("one-timestep", "text-once")
SAVINGS = ("one-call", "given-frames", "fa3", "fused", "modulation", *PREDICT2_SAVINGS, *PREDICT25_SAVINGS)
#: The savings that each mode does without.
MODES: dict[str, tuple[str, ...]] = {
    "baseline": tuple(saving for saving in SAVINGS if saving != "fused"),
    "baseline-fa3": tuple(saving for saving in SAVINGS if saving not in ("fused", "fa3")),
    "exact": (),
    "fp8": (),
    **{f"without {saving}": (saving,) for saving in SAVINGS},
}


def size_of(name: str, family: str, blocks: int | None) -> Size:
    size = SIZES[name]
    if family == "predict2.5":
        extent, raw_text = PREDICT25_SIZES[name]
        config = size.config.model_copy(update=PREDICT25)
        size = Size(config, replace(size.grid, **extent), raw_text)
    return replace(size, config=size.config.model_copy(update={"num_blocks": blocks})) if blocks else size


def published_flop(size: Size) -> float:
    """Of one network call: projections, attention over all tokens, every view's text."""
    config, grid = size.config, size.grid
    width = config.model_channels
    tokens = grid.views * grid.tokens_per_view
    text = 4 * tokens * TEXT_TOKENS * width + 4 * grid.views * TEXT_TOKENS * config.crossattn_emb_channels * width
    return config.num_blocks * (4 * tokens**2 * width + 28 * tokens * width**2 + text)


def step_of(mode: str, network: MultiviewDiT, size: Size, parallel: ContextParallel) -> Callable[[], None]:
    """One guided step on this rank's tokens."""
    off = MODES[mode]
    grid, device, dtype = size.grid, network.device, network.dtype
    share = network.share(grid, 30.0, parallel, given_frames=0 if "given-frames" in off else 1)
    generator = torch.Generator().manual_seed(1)
    tokens = grid.tokens_per_view // parallel.world_size
    x_1VlP = torch.randn(1, grid.views, tokens, 64, generator=generator).to(device)
    mask_1Vlm = torch.zeros(1, grid.views, tokens, size.config.patch_spatial**2, device=device)
    is_shared = size.is_predict25 and "one-timestep" not in off
    frames = (1, 1) if is_shared else (grid.views, grid.frames)
    timesteps_1VT = torch.full((1, *frames), 0.7, device=device)
    projects = size.is_predict25 and "text-once" in off
    width = size.config.crossattn_emb_channels
    texts_RVMC = torch.randn(2, grid.views, TEXT_TOKENS, size.raw_text if projects else width, generator=generator)
    if not size.is_predict25 and "views" not in off:
        texts_RVMC[:, 1:] = 0
    texts_RVMC = texts_RVMC.to(device, dtype)
    projection = torch.randn(size.raw_text, width, device=device, dtype=dtype) if projects else None
    calls = texts_RVMC.split(1 if "one-call" in off else 2)
    in_the_middle = Approximations(attention="fp8" if mode == "fp8" else "exact")
    fp8_blocks = in_the_middle.fp8_blocks(1, 2, size.config.num_blocks)

    @torch.no_grad()
    def step() -> None:
        for texts in calls:
            texts = texts if projection is None else texts @ projection
            network.forward_tokens(x_1VlP, mask_1Vlm, timesteps_1VT, texts, share, fp8_blocks=fp8_blocks)

    return step


@contextmanager
def switched_off(off: Collection[str], device: torch.device) -> Iterator[None]:
    """What no argument of the network says."""

    def plain(q_BLNK: Tensor, k_BLNK: Tensor, v_BLNK: Tensor, **_: Tensor) -> Tensor:
        return kernels.attention(q_BLNK, k_BLNK, v_BLNK)

    def no_kernels(_: Tensor) -> None:
        """A function, since a `Mock` would keep every tensor it is called with."""

    def without_kernels(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*args: Tensor) -> Tensor:
            with mock.patch.object(passes, "fused_kernels", no_kernels):
                return function(*args)

        return call

    with ExitStack() as patches:
        if "modulation" in off:
            for name in ("modulated_norm", "add_gated"):
                patches.enter_context(mock.patch.object(block, name, without_kernels(getattr(passes, name))))
        if "fused" in off:
            patches.enter_context(mock.patch.object(passes, "fused_kernels", no_kernels))
        if "fa3" in off and device.type == "cuda":
            patches.enter_context(mock.patch.object(kernels, "attention_kernel", return_value="cudnn"))
        if "second-block" in off:
            patches.enter_context(mock.patch.object(dit, "attend_under_texts", plain))
        yield
