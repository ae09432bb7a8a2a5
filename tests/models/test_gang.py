"""Two ranks of a gang, where one of them has something that the other has not.

They are threads, whose collectives know no group but their own; and real processes that talk over gloo, a group beside
a third process that takes no part, so that nothing can go over the group of all by mistake.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from support.networks import caption, given_qkv, small_network
from support.ranks import run_ranks
from support.thread_ranks import run_threads

from cosmos_ray.clip.request import ClipRequest, ClipText
from cosmos_ray.errors import RowError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.network.dit import Grid, MultiviewDiT
from cosmos_ray.models.parallel import ContextParallel, attend_over_ranks, gather_all, gather_views_to_owners, shard

GRID = Grid(views=3, frames=3, height=2, width=4)
RANKS = 2


@pytest.fixture(scope="module", params=["threads", pytest.param("processes", marks=pytest.mark.long)])
def on_ranks(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What each of the gang's ranks found, made once for all tests."""
    if request.param == "threads":
        return run_threads(RANKS, found_by)
    outsider, *found = run_ranks(1 + RANKS, be_rank)
    assert outsider == {}
    return found


def be_rank(world: ContextParallel) -> dict[str, Any]:
    group = dist.new_group(list(range(1, 1 + RANKS)))
    return found_by(ContextParallel(world.rank - 1, RANKS, group)) if world.rank else {}


def found_by(parallel: ContextParallel) -> dict[str, Any]:
    return {
        "failure": with_nan_on_the_last_rank(parallel),
        "velocity": velocity(parallel),
        **exchanged(parallel),
    }


# --- latents that are not finite -------------------------------------------------------------------------------------


def with_nan_on_the_last_rank(parallel: ContextParallel) -> tuple[str, bool]:
    """(class of the failure, whether this rank's own latents were finite): the last rank's answer to the last
    evaluation, after which nothing is exchanged that could carry it on, holds one NaN."""
    bundle = load_bundle("tiny").model_copy(update={"state_t": 2})
    generator = Generator.load(bundle, parallel=parallel)
    answers: list[bool] = []

    def spoil(_layer: object, _inputs: object, out_BVSsQ: torch.Tensor) -> torch.Tensor:
        if parallel.rank == RANKS - 1 and len(answers) == request.num_steps:
            out_BVSsQ[0, 0, -1, -1, 7] = float("nan")
        answers.append(bool(torch.isfinite(out_BVSsQ).all()))
        return out_BVSsQ

    generator.network.final_layer.register_forward_hook(spoil)
    text = ClipText((np.full((3, bundle.text_width), 0.1, np.float32),), None)
    request = ClipRequest("a", (), "", 1, 0, seed=5, guidance=1.0, num_steps=2, text=text)
    try:
        generator.denoise(request)
    except RowError as error:
        return error.failure_class, all(answers)
    return "no error", all(answers)


def test_latents_that_are_not_finite_on_one_rank_fail_on_both(on_ranks: list[dict[str, Any]]) -> None:
    """All ranks or none: else one would go on to the next clip and wait there for the other for ever."""
    assert [found["failure"] for found in on_ranks] == [("model", True), ("model", False)]


# --- given frames ----------------------------------------------------------------------------------------------------


def velocity(parallel: ContextParallel) -> np.ndarray:
    """[R, V, L, 64] of a network of three blocks with a given frame: the last block answers for the others only, and
    shares of 12 tokens cut through the frames of 8."""
    with torch.device("meta"):
        network = MultiviewDiT(small_network().config.model_copy(update={"num_blocks": 3}))
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for _, parameter in sorted(network.named_parameters()):
        parameter.normal_(float(parameter.dim() == 1), parameter.shape[-1] ** -0.5, generator=generator)
    share = network.share(GRID, 30.0, parallel, given_frames=1)
    x_VLP = torch.randn(GRID.views, GRID.tokens_per_view, 64, generator=generator)
    mask_VLm = torch.zeros(GRID.views, GRID.tokens_per_view, 4)
    texts_RVMC = torch.stack([caption(GRID, views=(1,), seed=1), caption(GRID, views=(0,), seed=2)])
    timesteps_BVT = torch.full((1, GRID.views, GRID.frames), 0.4)
    x_BVlP, mask_BVlm = (shard(tensor, parallel)[None] for tensor in (x_VLP, mask_VLm))
    out_RVlP = network.forward_tokens(x_BVlP, mask_BVlm, timesteps_BVT, texts_RVMC, share)
    return gather_all(out_RVlP.flatten(0, 1), parallel).unflatten(0, (2, -1)).numpy()


def test_what_a_gang_need_not_answer_is_what_one_rank_need_not(on_ranks: list[dict[str, Any]]) -> None:
    """Three views: the tokens of the given frames lie in another order on two ranks than on one."""
    wanted = slice(GRID.tokens_per_frame, None)
    alone = velocity(ContextParallel())[:, :, wanted]
    for found in on_ranks:
        np.testing.assert_allclose(found["velocity"][:, :, wanted], alone, rtol=1e-4, atol=1e-4)


# --- the gang's own group --------------------------------------------------------------------------------------------


def numbered() -> torch.Tensor:
    """[V, L, N]: 1000 * view + 10 * token + head."""
    return 1000.0 * torch.arange(5)[:, None, None] + 10.0 * torch.arange(6)[:, None] + torch.arange(4)


def exchanged(parallel: ContextParallel) -> dict[str, Any]:
    mine_VlN = shard(numbered(), parallel)
    qkv = torch.stack([mine_VlN[..., None].expand(-1, -1, -1, 6)] * 3, dim=1)
    attended = attend_over_ranks(lambda q, _k, _v: q.flip(1), given_qkv, qkv, parallel)
    return {
        "attended": attended[..., 0].numpy(),
        "all": gather_all(mine_VlN, parallel).numpy(),
        "owned": {view: x.numpy() for view, x in gather_views_to_owners(mine_VlN, parallel).items()},
    }


def test_every_exchange_goes_over_the_gangs_own_group(on_ranks: list[dict[str, Any]]) -> None:
    """And moves each token to its place: attention that turns the tokens' order round gives each rank the other's."""
    whole = numbered().numpy()
    for rank, found in enumerate(on_ranks):
        assert np.array_equal(found["all"], whole)
        assert sorted(found["owned"]) == list(range(rank, 5, RANKS))
        assert all(np.array_equal(x, whole[view]) for view, x in found["owned"].items())
        others = slice(3, 0, -1) if rank else slice(5, 2, -1)
        expected = whole[:, others] if rank == 0 else whole[:, 2::-1]
        assert np.array_equal(found["attended"], expected)
