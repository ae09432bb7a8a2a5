"""Context parallelism: the number of ranks never changes a clip, and sizes that cannot work are refused by name."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import caption, given_qkv, relative_error, small_network
from support.ranks import run_ranks

from cosmos_ray.clip.request import ClipRequest, ClipText
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.network.dit import Grid
from cosmos_ray.models.parallel import (
    ContextParallel,
    attend_over_ranks,
    gather_all,
    gather_views_to_owners,
    shard,
    share_slice,
)
from cosmos_ray.models.sampler import SamplerState, denoise

VIEWS = (7, 3, 1)
HEADS, STEPS = 8, 35


def grid_of(views: int) -> Grid:
    """24 tokens a view in frames of 8: the shares of 2, 4 and 8 ranks all cut through frames."""
    return Grid(views, frames=3, height=2, width=4)


def latents(parallel: ContextParallel) -> dict[int, np.ndarray]:
    """The whole clip after 35 steps, for each number of views, as this rank has it after gathering."""
    network = small_network(HEADS)
    clips = {}
    for views in VIEWS:
        grid = grid_of(views)
        condition_VLP = torch.randn(views, grid.tokens_per_view, 64, generator=torch.Generator().manual_seed(3))
        share_VlP = denoise(
            network,
            grid=grid,
            condition_VlP=shard(condition_VLP, parallel),
            num_condition_latents=1,
            positive_VMC=caption(grid, views=(0, views - 1)),
            negative_VMC=caption(grid, seed=2),
            guidance=3.0,
            num_steps=STEPS,
            seed=0,
            model_fps=30.0,
            parallel=parallel,
        )
        clips[views] = gather_all(share_VlP, parallel).numpy()
    return clips


@functools.cache
def made_by(world_size: int) -> list[dict[int, np.ndarray]]:
    """`latents` on each rank of a gang, made once for all tests."""
    return [latents(ContextParallel())] if world_size == 1 else run_ranks(world_size, latents)


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, *(pytest.param(size, marks=pytest.mark.long) for size in (4, 8))])
def test_any_gang_makes_the_clip_of_one_rank(world_size: int) -> None:
    """7, 3 and 1 views: at most 1e-4 away (relative) at the end of 35 steps, and equal on every rank."""
    (expected,) = made_by(1)
    by_rank = made_by(world_size)
    for views in VIEWS:
        alone = torch.from_numpy(expected[views])
        assert torch.isfinite(alone).all()
        for clips in by_rank:
            assert np.array_equal(clips[views], by_rank[0][views])
            assert relative_error(torch.from_numpy(clips[views]), alone) <= 1e-4


def denoise_or_resume(parallel: ContextParallel, packed: dict[str, np.ndarray] | None) -> list[Any]:
    """[the state packed after two of four steps, the whole latents] of the tiny model, from the start or `packed`."""
    generator = Generator.load(load_bundle("tiny"), "cpu", parallel)
    text = ClipText(tuple(np.full((3, generator.bundle.text_width), 0.1 * v, np.float32) for v in range(3)), None)
    request = ClipRequest("a", (), "", 3, 0, seed=5, guidance=1.0, num_steps=4, text=text)
    halfway: dict[str, np.ndarray] = {}

    def on_state(state: SamplerState) -> None:
        if state.step == 2:
            halfway.update(generator.pack_state(state))

    resume = generator.unpack_state(packed) if packed else None
    share_VlP = generator.denoise(request, resume=resume, on_state=on_state)
    return [halfway, gather_all(share_VlP, parallel).numpy()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"), [(1, 2), *(pytest.param(*sizes, marks=pytest.mark.long) for sizes in ((1, 4), (4, 1), (2, 2)))]
)
def test_a_gang_of_any_size_goes_on_with_the_state_of_another(before: int, after: int) -> None:
    """Packed by one gang, unpacked by another: the latents of the run that was not cut off."""
    (packed, whole), *others = run_ranks(before, denoise_or_resume, None)
    assert all(halfway == {} for halfway, _ in others), "the state is rank 0's to store"
    (_, resumed), *_ = run_ranks(after, denoise_or_resume, packed)
    assert packed["step"] == 2
    assert relative_error(torch.from_numpy(resumed), torch.from_numpy(whole)) <= 1e-4
    if before == after:
        assert np.array_equal(resumed, whole)


@pytest.mark.slow
def test_the_same_gang_size_gives_the_same_bits_again() -> None:
    once, again = made_by(2)[0], run_ranks(2, latents)[0]
    assert all(np.array_equal(once[views], again[views]) for views in VIEWS)


def exchange(parallel: ContextParallel, dtype_name: str) -> dict[str, np.ndarray | bool | dict[int, np.ndarray]]:
    """What each collective makes of numbered tokens: 1000 * view (or batch) + 10 * token + head (or channel)."""
    dtype = getattr(torch, dtype_name)
    views, tokens, heads = 7, 12, 4
    x_VLN = 1000 * torch.arange(views)[:, None, None] + 10 * torch.arange(tokens)[:, None] + torch.arange(heads)
    local_VlN = shard(x_VLN.to(dtype), parallel)
    q_VlNK = local_VlN[..., None].expand(-1, -1, -1, 6)
    seen: list[np.ndarray] = []

    def attend(q_BLnK: torch.Tensor, k_BLnK: torch.Tensor, v_BLnK: torch.Tensor) -> torch.Tensor:
        assert torch.equal(k_BLnK, q_BLnK + 1)
        assert torch.equal(v_BLnK, -q_BLnK)
        seen.append(q_BLnK[..., 0].float().numpy())
        return v_BLnK

    qkv_V3lNK = torch.stack((q_VlNK, q_VlNK + 1, -q_VlNK), dim=1)
    returned_VlNK = attend_over_ranks(attend, given_qkv, qkv_V3lNK, parallel)
    return {
        "heads": np.concatenate(seen),
        "returned": torch.equal(returned_VlNK, -q_VlNK),
        "owned": {v: x.float().numpy() for v, x in gather_views_to_owners(local_VlN, parallel).items()},
        "all": gather_all(local_VlN, parallel).float().numpy(),
        "expected": x_VLN.to(dtype).float().numpy(),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world_size", "dtype"), [(2, "float32"), (2, "bfloat16"), pytest.param(4, "bfloat16", marks=pytest.mark.long)]
)
def test_collectives_move_every_token_to_its_place(world_size: int, dtype: str) -> None:
    for rank, found in enumerate(run_ranks(world_size, exchange, dtype)):
        expected_VLN = found["expected"]
        heads = slice(rank * 4 // world_size, (rank + 1) * 4 // world_size)
        assert np.array_equal(found["heads"], expected_VLN[:, :, heads]), "all tokens of this rank's heads"
        assert found["returned"], "the way back undoes the way there"
        assert np.array_equal(found["all"], expected_VLN)
        assert sorted(found["owned"]) == list(range(rank, 7, world_size)), "view v belongs to rank v % P"
        assert all(np.array_equal(view_LN, expected_VLN[view]) for view, view_LN in found["owned"].items())


@pytest.mark.slow
@pytest.mark.parametrize(("views", "ranks"), [(1, 2), pytest.param(3, 4, marks=pytest.mark.long)])
def test_a_rank_beyond_the_views_owns_none(views: int, ranks: int) -> None:
    """A rank more than views: the last rank takes part in the exchange and gets nothing."""
    assert run_ranks(ranks, owned_of, views) == [*([view] for view in range(views)), []]


def owned_of(parallel: ContextParallel, views: int) -> list[int]:
    return sorted(gather_views_to_owners(shard(torch.zeros(views, 8, 5), parallel), parallel))


def test_one_rank_needs_no_process_group() -> None:
    """A gang of one touches no torch.distributed: its share is the clip, and every exchange is the identity."""
    x_VLC = torch.randn(3, 4, 5)
    alone = ContextParallel()
    assert torch.equal(shard(x_VLC, alone), x_VLC)
    assert torch.equal(gather_all(x_VLC, alone), x_VLC)
    assert {v: x.tolist() for v, x in gather_views_to_owners(x_VLC, alone).items()} == dict(enumerate(x_VLC.tolist()))


def test_shares_are_equal_contiguous_parts_of_each_view() -> None:
    x_VL = torch.arange(24).view(2, 12)
    parts = [shard(x_VL, ContextParallel(rank, 3)) for rank in range(3)]
    assert parts[1].tolist() == [[4, 5, 6, 7], [16, 17, 18, 19]]
    assert torch.equal(torch.cat(parts, dim=1), x_VL)


@settings(max_examples=100)
@given(st.integers(1, 7), st.integers(1, 12), st.integers(1, 16), st.sampled_from([(), (5,), (2, 3)]))
def test_the_shares_of_any_gang_make_the_whole_again(
    views: int, share: int, ranks: int, values: tuple[int, ...]
) -> None:
    """Each token belongs to one rank, in the clip's order, and a share is the clip's own memory."""
    x_VL = torch.arange(views * share * ranks * math.prod(values)).view(views, share * ranks, *values)
    parts = [shard(x_VL, ContextParallel(rank, ranks)) for rank in range(ranks)]
    assert {part.shape for part in parts} == {(views, share, *values)}
    assert torch.equal(torch.cat(parts, dim=1), x_VL)
    assert all(part.untyped_storage().data_ptr() == x_VL.untyped_storage().data_ptr() for part in parts)
    slices = [share_slice(share * ranks, ContextParallel(rank, ranks)) for rank in range(ranks)]
    assert [token for part in slices for token in range(share * ranks)[part]] == list(range(share * ranks))


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(2, 16))
def test_tokens_that_do_not_divide_never_make_shares(tokens: int, ranks: int) -> None:
    if tokens % ranks == 0:
        assert share_slice(tokens, ContextParallel(1, ranks)) == slice(tokens // ranks, 2 * tokens // ranks)
    else:
        with pytest.raises(ValueError, match=f"{tokens} tokens a view do not divide over {ranks} ranks"):
            share_slice(tokens, ContextParallel(1, ranks))


@pytest.mark.parametrize(
    ("heads", "ranks", "fitting"),
    [(8, 3, "1, 2, 4, 8"), (8, 16, "1, 2, 4, 8"), (9, 9, "1, 3")],
    ids=["heads", "both", "tokens"],
)
def test_gangs_that_do_not_fit_are_refused_with_those_that_do(heads: int, ranks: int, fitting: str) -> None:
    """24 tokens a view: 3 divides them but not 8 heads; 9 divides 9 heads but not the tokens."""
    network = small_network(heads)
    with pytest.raises(ValueError, match=rf"gang of {ranks} .* {heads} heads and 24 tokens.*fit: {fitting}$"):
        network.share(grid_of(7), 30.0, ContextParallel(0, ranks))


def test_tokens_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="10 tokens a view do not divide over 4 ranks"):
        shard(torch.zeros(1, 10), ContextParallel(1, 4))


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_is_within_its_gang(rank: int) -> None:
    with pytest.raises(ValueError, match=rf"rank {rank} is not in 0\.\.1"):
        ContextParallel(rank, 2)
