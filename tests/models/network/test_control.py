"""The control branch: after which blocks its hints are added, how much they weigh, which of its columns are read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.networks import caption
from torch import Tensor, nn

from cosmos_ray.models.network.dit import DiTConfig, Grid, MultiviewDiT, patchify, unpatchify
from cosmos_ray.models.parallel import ContextParallel

GRID = Grid(views=2, frames=2, height=2, width=2)


def network(blocks: int = 3, every: int = 2) -> MultiviewDiT:
    config = DiTConfig(
        model_channels=24, num_blocks=blocks, num_heads=2, adaln_lora_dim=8, crossattn_emb_channels=10, state_t=2,
        vace_block_every_n=every, num_max_modalities=2,
    )  # fmt: skip
    made = MultiviewDiT(config)
    generator = torch.Generator().manual_seed(0)
    for _, parameter in sorted(made.named_parameters()):
        parameter.normal_(float(parameter.dim() == 1), parameter.shape[-1] ** -0.5, generator=generator)
    return made


def velocity(made: MultiviewDiT, **changes: Any) -> Tensor:
    def drawn(seed: int) -> Tensor:
        shape = (1, GRID.views, GRID.tokens_per_view, 64)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    mask, times = torch.ones(1, GRID.views, GRID.tokens_per_view, 4), torch.full((1, GRID.views, GRID.frames), 0.4)
    share = made.share(GRID, 30.0, ContextParallel())
    settings: dict[str, Any] = {"control_BVlP": drawn(1), "control_weight": 0.7}
    return made.forward_tokens(drawn(0), mask, times, caption(GRID)[None], share, **(settings | changes))


def test_hints_are_added_after_every_second_block_as_much_as_they_weigh() -> None:
    made = network()
    into: list[Tensor] = []
    out: list[Tensor] = []
    hints: list[Tensor] = []
    for block in made.blocks:
        block.register_forward_hook(lambda _, inputs, output: (into.append(inputs[0]), out.append(output))[0])
    for block in made.control_blocks:  # type: ignore[union-attr]
        block.after_proj.register_forward_hook(lambda _, __, output: hints.append(output))
    made.final_layer.register_forward_hook(lambda _, inputs, __: into.append(inputs[0]))
    velocity(made)
    first, second = hints
    assert torch.equal(into[1], out[0] + 0.7 * first)
    assert torch.equal(into[2], out[1])
    assert torch.equal(into[3], out[2] + 0.7 * second)


def test_columns_of_videos_that_there_are_none_of_are_not_read_and_all_others_are() -> None:
    """A token has room for two videos; then come the masks and the camera, as in the network's own."""
    made = network()
    embedder: Any = made.control_embedder
    weight = embedder["proj"][1].weight
    latent, others = 64, 4 * (1 + 1 + 7)
    before = velocity(made)
    weight[:, latent:-others] = 1e6
    assert torch.equal(velocity(made), before)
    for column in (0, latent - 1, -others, -1):
        kept = weight.clone()
        weight[:, column] += 1.0
        assert not torch.equal(velocity(made), before), column
        weight.copy_(kept)


def test_the_published_layout_hears_as_much_of_it() -> None:
    """`forward`, as published code and its checks call the network."""
    made, generator = network(), torch.Generator().manual_seed(4)
    x, control = (torch.randn(1, 16, GRID.views * GRID.frames, 4, 4, generator=generator) for _ in range(2))
    tokens, follow = (patchify(one.unflatten(2, (GRID.views, -1)).transpose(1, 2)) for one in (x, control))
    times, mask = torch.full((1, 1), 0.4), torch.zeros(1, 1, GRID.views * GRID.frames, 4, 4)
    share, text = made.share(GRID, 30.0, ContextParallel()), caption(GRID)
    for weight in (0.0, 0.7):
        found = made(x, times, text.flatten(0, 1)[None], mask, 30.0, control_BCFHW=control, control_weight=weight)
        expected = made.forward_tokens(
            tokens, torch.zeros(*tokens.shape[:3], 4), times[..., None], text[None], share,
            control_BVlP=follow, control_weight=weight,
        )  # fmt: skip
        by_view = unpatchify(expected, GRID).transpose(1, 2).flatten(2, 3)
        torch.testing.assert_close(found, by_view, rtol=1e-5, atol=1e-5)


def test_a_network_with_a_control_branch_needs_something_to_follow() -> None:
    with pytest.raises(ValueError, match="expected latents of control videos"):
        velocity(network(), control_BVlP=None)


def test_the_branch_is_seven_layers_and_a_block_for_each_that_is_steered() -> None:
    made: Any = network(blocks=5, every=2)
    assert [type(layer) for layer in made.input_hint_block] == [nn.Linear, nn.SiLU] * 7
    assert [block.before_proj is not None for block in made.control_blocks] == [True, False, False]
