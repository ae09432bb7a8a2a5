"""What a denoising step leaves out: the same answers, from fewer pairs of tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.networks import caption

from cosmos_ray.models.network import shortcuts
from cosmos_ray.models.network.attention import attention, attention_with_lse
from cosmos_ray.models.network.dit import DiTConfig, Grid, MultiviewDiT
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.sampler import denoise

GRID = Grid(views=4, frames=4, height=2, width=2)
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(blocks: int) -> MultiviewDiT:
    config = DiTConfig(
        model_channels=24, num_blocks=blocks, num_heads=2, adaln_lora_dim=8, crossattn_emb_channels=10, state_t=4
    )
    made = MultiviewDiT(config)
    for number, parameter in enumerate(made.parameters()):
        parameter.copy_(
            float(parameter.dim() == 1) + drawn(*parameter.shape, seed=number) * parameter.shape[-1] ** -0.5
        )
    return made


def test_log_sum_exp_is_that_of_the_scaled_products() -> None:
    q, k, v = drawn(2, 5, 3, 12), drawn(2, 7, 3, 12, seed=1), drawn(2, 7, 3, 12, seed=2)
    out, lse = attention_with_lse(q, k, v)
    torch.testing.assert_close(out, attention(q, k, v))
    torch.testing.assert_close(lse, (torch.einsum("blnk,bmnk->blnm", q, k) / 12**0.5).logsumexp(dim=-1))


def test_tokens_that_are_the_same_in_all_branches_are_merged_with_the_others() -> None:
    """In any order, and also where almost all weight lies on one side."""
    q, k, v = (drawn(2, 10, 3, 12, seed=seed) for seed in range(3))
    same, other = torch.tensor([8, 1, 2, 5]), torch.tensor([0, 3, 9, 4, 6, 7])
    for x in (q, k, v):
        x[1, same] = x[0, same]
    for strength in (1.0, 30.0):
        found = shortcuts.attend_under_texts(strength * q, k, v, same, other)
        torch.testing.assert_close(found, attention(strength * q, k, v), **CLOSE)


def test_only_wanted_queries_are_answered() -> None:
    q, k, v = (drawn(2, 10, 3, 12, seed=seed) for seed in range(3))
    found = shortcuts.attend_for_wanted(q, k, v, torch.tensor([7, 2]))
    torch.testing.assert_close(found[:, [2, 7]], attention(q, k, v)[:, [2, 7]])
    assert found.abs().sum(dim=(0, 2, 3)).nonzero().flatten().tolist() == [2, 7]


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Query-key pairs of every call of the attention kernels in self-attention."""
    counted: list[int] = []

    def counting(kernel: Callable) -> Callable:
        def call(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> object:
            counted.append(q.shape[0] * q.shape[1] * k.shape[1])
            return kernel(q, k, v)

        return call

    for module, name in (("shortcuts", "attention"), ("shortcuts", "attention_with_lse"), ("dit", "attention")):
        kernel = {"attention": attention, "attention_with_lse": attention_with_lse}[name]
        monkeypatch.setattr(f"cosmos_ray.models.network.{module}.{name}", counting(kernel))
    return counted


def test_a_guided_step_attends_to_no_pair_twice(pairs: list[int]) -> None:
    """Text in one view of four, one frame of four given, four blocks: of 2 * 4 times all pairs, the first block saves
    one, the second 9/16 (pairs of the views without text), the last 2/4 (queries of the given frames)."""
    model, texts = network(4), torch.stack([caption(GRID, seed=seed) for seed in (1, 2)])
    share = model.share(GRID, 30.0, ContextParallel(), given_frames=1)
    x, mask = drawn(1, 4, GRID.tokens_per_view, 64), torch.zeros(1, 4, GRID.tokens_per_view, 4)
    both = model.forward_tokens(x, mask, torch.full((1, 4, 4), 0.4), texts, share)
    tokens = GRID.views * GRID.tokens_per_view
    assert sum(pairs) == tokens**2 * (2 * 4 - 1 - 9 / 16 - 2 / 4)

    plain = model.share(GRID, 30.0, ContextParallel())
    wanted = slice(GRID.tokens_per_frame, None)
    for text, found in zip(texts, both, strict=True):
        alone = model.forward_tokens(x, mask, torch.full((1, 4, 4), 0.4), text[None], plain)[0]
        torch.testing.assert_close(found[:, wanted], alone[:, wanted], **CLOSE)


@pytest.mark.parametrize("given", [0, 1, 4])
def test_a_clip_is_the_same_without_shortcuts(given: int, pairs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole run; no frame, some and all of them given."""
    settings = {
        "grid": GRID,
        "condition_VlP": drawn(4, GRID.tokens_per_view, 64),
        "num_condition_latents": given,
        "positive_VMC": caption(GRID, views=(1,), seed=1),
        "negative_VMC": caption(GRID, views=(3,), seed=2),
        "guidance": 2.0,
        "num_steps": 3,
        "seed": 0,
        "model_fps": 30.0,
        "parallel": ContextParallel(),
    }
    model = network(3)
    found, used = denoise(model, **settings), sum(pairs)
    pairs.clear()
    for name in ("attend_under_texts", "attend_for_wanted"):
        monkeypatch.setattr(f"cosmos_ray.models.network.dit.{name}", lambda q, k, v, **_: shortcuts.attention(q, k, v))
    expected = denoise(model, **settings)
    assert used < sum(pairs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
