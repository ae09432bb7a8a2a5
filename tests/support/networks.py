"""Random networks: small ones with every mechanism of the real one, for milliseconds, and of any size for GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from cosmos_ray.clip.request import TEXT_TOKENS
from cosmos_ray.models.network.dit import DiTConfig, Grid, MultiviewDiT
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import denoise


def small_network(num_heads: int = 2, state_t: int = 3, seed: int = 0, head_dim: int = 12) -> MultiviewDiT:
    """Two blocks, every parameter random (also those that a fresh network has as ones)."""
    config = DiTConfig(
        model_channels=head_dim * num_heads,
        num_blocks=2,
        num_heads=num_heads,
        adaln_lora_dim=8,
        crossattn_emb_channels=10,
        state_t=state_t,
    )
    network = MultiviewDiT(config)
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(network.named_parameters()):
        fan_in = parameter.shape[-1] if parameter.dim() > 1 else 4
        parameter.normal_(mean=float(parameter.dim() == 1), std=fan_in**-0.5, generator=generator)
    return network


def random_network(config: DiTConfig, device: str, dtype: torch.dtype, seed: int = 0) -> MultiviewDiT:
    """Of any size in seconds: numbers drawn on the CPU and rounded to bfloat16, the same on every device and in every
    dtype. One drawn block serves all parameters, each from another place: two billion numbers would take minutes."""
    with torch.device("meta"):
        network = MultiviewDiT(config).to(dtype)
    network = network.to_empty(device=device)
    block = torch.randn(1 << 22, generator=torch.Generator().manual_seed(seed)).to(device)
    with torch.no_grad():
        for number, (_, parameter) in enumerate(sorted(network.named_parameters())):
            fan_in = parameter.shape[-1] if parameter.dim() > 1 else 64
            offset = (number * 7919) % block.numel()
            repeats = -(-parameter.numel() // block.numel())
            values = block.roll(-offset).repeat(repeats)[: parameter.numel()].view(parameter.shape)
            parameter.copy_((values * fan_in**-0.5 + float(parameter.dim() == 1)).bfloat16())
    return network.eval().requires_grad_(False)


def caption(grid: Grid, width: int = 10, views: tuple[int, ...] = (0,), tokens: int = 9, seed: int = 1) -> torch.Tensor:
    """Text [V, 512, C] with `tokens` random tokens in each of `views`, zeros elsewhere."""
    text_VMC = torch.zeros(grid.views, TEXT_TOKENS, width)
    generator = torch.Generator().manual_seed(seed)
    for view in views:
        text_VMC[view, :tokens] = torch.randn(tokens, width, generator=generator)
    return text_VMC


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, in units of the largest expected number."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def given_qkv(x_B3lNK: torch.Tensor, ranks: int) -> Iterator[torch.Tensor]:
    """For `attend_over_ranks`: tokens that are their queries, keys and values already."""
    for x_BlNK in x_B3lNK.unbind(1):
        yield x_BlNK.unflatten(2, (ranks, -1)).movedim(2, 1).contiguous()


def short_run(grid: Grid, network: MultiviewDiT | None = None, **changes: Any) -> torch.Tensor:
    """A run of a small network from one given frame, guided; one thing changed at a time."""
    generator = torch.Generator().manual_seed(3)
    settings: dict[str, Any] = {
        "grid": grid,
        "condition_VlP": torch.randn(grid.views, grid.tokens_per_view, 64, generator=generator),
        "num_condition_latents": 1,
        "positive_VMC": caption(grid, seed=1),
        "negative_VMC": caption(grid, seed=2),
        "guidance": 3.0,
        "num_steps": 4,
        "seed": 0,
        "model_fps": 30.0,
        "parallel": ContextParallel(),
    }
    return denoise(network or small_network(), **(settings | changes))
