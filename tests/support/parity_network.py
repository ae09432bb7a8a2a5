"""The network of a golden case, and one that remembers what it was asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cosmos_ray.models.bundle.bundle import fitting_world_sizes
from cosmos_ray.models.bundle.checkpoint import select_dit
from cosmos_ray.models.bundle.shapes import dit_shapes
from cosmos_ray.models.network.dit import DiTConfig, Grid, MultiviewDiT, Share
from cosmos_ray.models.parallel import ContextParallel
from support.parity_case import Case, Skip
from support.parity_repeated import repeat_sinusoid, repeated_config, repeated_weights, times_to_fit


def network_of(case: Case, parallel: ContextParallel, grid: Grid, **more: Any) -> MultiviewDiT:
    """The case's network in the case's dtype; `Skip` where this gang does not fit it. more: what the case's
    configuration does not say."""
    said = case.info["dit_config"]
    known = {key: value for key, value in said.items() if key in DiTConfig.model_fields}
    if not said.get("use_crossattn_projection"):
        known.pop("crossattn_proj_in_channels", None)
        # Predict2's configuration says this too, and its code does not obey.
        known.pop("rope_enable_fps_modulation", None)
    config = DiTConfig(**{**known, **more})
    times = times_to_fit(config.num_heads, parallel.world_size) if case.repeats_heads else 1
    fitting = fitting_world_sizes(config.num_heads * times, grid.tokens_per_view)
    if parallel.world_size not in fitting:
        there = f" (each {times} times over)" if times > 1 else ""
        raise Skip(f"{config.num_heads} heads{there} and {grid.tokens_per_view} tokens a view fit ranks {fitting}")
    network = MultiviewDiT(repeated_config(config, times))
    repeat_sinusoid(network, times)
    weights = case.under("weights.")
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    selection = select_dit(found, (), dit_shapes(config), "net.")
    if selection.faults:
        raise ValueError("; ".join(selection.faults))
    names = {name: entry for name, entry in selection.names.items() if not name.startswith("crossattn_proj.")}
    network.load(repeated_weights(config, {name: weights[entry] for name, entry in names.items()}, times))
    return network


def grid_of(latent_BCFHW: Tensor, frames: int) -> Grid:
    _, _, all_frames, height, width = latent_BCFHW.shape
    return Grid(all_frames // frames, frames, height // 2, width // 2)


class Recorder(torch.nn.Module):
    """A network that remembers what the sampler asked of it and what it answered for each text (this rank's share)."""

    def __init__(self, network: MultiviewDiT) -> None:
        super().__init__()
        self.network = network
        self.config, self.dtype, self.device = network.config, network.dtype, network.device
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def share(self, grid: Grid, fps: float, parallel: ContextParallel, given_frames: int) -> Share:
        return self.network.share(grid, fps, parallel)  # the reference answers for given frames too

    def forward_tokens(self, x: Tensor, mask: Tensor, timesteps: Tensor, *others: Any, **named: Any) -> Tensor:
        out = self.network.forward_tokens(x, mask, timesteps, *others, **named)
        self.calls.append((x[0], timesteps[0], out))
        return out
