"""Attention in 8 bits: what its preparation leaves unchanged, how far the rounding goes, and where it cannot run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import pytest
import torch
from support.networks import given_qkv, small_network
from support.thread_ranks import run_threads
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from cosmos_ray.errors import UsageError
from cosmos_ray.models.network import fp8
from cosmos_ray.models.network.dit import Grid
from cosmos_ray.models.parallel import ContextParallel, attend_over_ranks

QKV = tuple[Tensor, Tensor, Tensor]


def drawn(tokens: int = 512, heads: int = 2, width: int = 128) -> QKV:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, tokens, heads, width, generator=generator) for _ in range(3))
    return q, k, v


def attend(q_BLNK: Tensor, k_BLNK: Tensor, v_BLNK: Tensor) -> Tensor:
    return scaled_dot_product_attention(*[x.float().transpose(1, 2) for x in (q_BLNK, k_BLNK, v_BLNK)]).transpose(1, 2)


def unprepared(q_BLNK: Tensor, k_BLNK: Tensor, v_BLNK: Tensor) -> Tensor:
    """The same rounding, a scale a head, and nothing else."""

    def rounded(x: Tensor) -> tuple[Tensor, Tensor]:
        scale = x.abs().amax((1, 3)) / fp8.E4M3_MAX
        return (x / scale[:, None, :, None]).to(torch.float8_e4m3fn), scale

    (q, q_scale), (k, k_scale), (v, v_scale) = (rounded(x) for x in (q_BLNK, k_BLNK, v_BLNK))
    return fp8.imitated(fp8.Quantised(q, k, v, q_scale, k_scale, v_scale, torch.zeros(1)))


def large_channel(q: Tensor, k: Tensor, v: Tensor) -> QKV:
    factors = torch.ones(q.shape[-1])
    factors[5] = 4
    return q * factors, k * factors, v


CASES: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], QKV], float]] = {
    "even": (lambda q, k, v: (q, k, v), 0.065),
    "keys with a mean": (lambda q, k, v: (q, k + 16 * (torch.arange(k.shape[-1]) == 5), v), 0.065),
    "values with a mean": (lambda q, k, v: (q, k, v + 3), 0.0015),
    "the same large channel": (large_channel, 0.075),
}


@pytest.mark.parametrize("name", CASES)
def test_the_error_is_that_of_numbers_with_four_bits(name: str) -> None:
    """And without the preparation it is larger, where there is something to prepare."""
    change, tolerance = CASES[name]
    q, k, v = change(*drawn())
    expected = attend(q, k, v)
    error, simple = ((f(q, k, v) - expected).norm() / expected.norm() for f in (fp8.fp8_attention, unprepared))
    assert error < tolerance
    assert name == "even" or simple > 1.2 * error


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_preparing_changes_nothing_but_the_rounding(dtype: torch.dtype) -> None:
    """What the prepared tensors stand for, attended to exactly, is the attention of the inputs; nothing overflows."""
    q, k, v = (x.to(dtype) for x in large_channel(*drawn()))
    x = fp8.quantise(q, k + 3, v - 2)
    parts = [(x.q, x.q_scale), (x.k, x.k_scale), (x.v, x.v_scale)]
    q8, k8, v8 = (part.float() * scale[:, None, :, None] for part, scale in parts)
    for part, _ in parts:
        assert part.dtype == torch.float8_e4m3fn
        assert part.float().abs().amax() == pytest.approx(fp8.E4M3_MAX, rel=0.1)  # the range is used; NaN would fail
    turn = fp8.hadamard(128, q.device, torch.float32) * 128**-0.5
    torch.testing.assert_close(turn @ turn, torch.eye(128))
    assert (q8 @ turn - q.float()).norm() / q.float().norm() < 0.04
    assert (k8 @ turn - (k - k.mean(1, keepdim=True)).float()).norm() / k.float().norm() < 0.04
    assert (v8 + x.v_mean - (v - 2).float()).norm() / v.float().norm() < 0.04


@pytest.mark.parametrize("largest", [4.3, 4.9, 6.1, 7.7])
def test_a_scale_undoes_the_factor_as_it_was_rounded(largest: float) -> None:
    """In bfloat16 that is up to 0.4 % from the one meant: numbers would all be too large by it, or too small."""
    x = torch.linspace(-largest, largest, 2001).bfloat16()[None, :, None, None]
    rounded, scale = fp8._rounded(x)
    factor = (1 / scale).bfloat16()
    torch.testing.assert_close(factor.float() * scale, torch.ones(1, 1), rtol=0, atol=1e-6)
    assert torch.equal((x * factor).to(torch.float8_e4m3fn).float(), rounded.float())


def test_a_mean_too_small_for_bfloat16_is_not_counted_twice() -> None:
    """Over many tokens the values' mean is as small as an output, and smaller than bfloat16's steps at a value."""
    q, k, v = (x.bfloat16() for x in drawn(tokens=20_000, heads=1))
    x = fp8.quantise(q, k, v)
    found = fp8.imitated(replace(x, q=x.q[:, :256]))
    expected = attend(q[:, :256], k, v)
    assert (found - expected).norm() / expected.norm() < 0.065


def test_a_batch_and_fewer_queries_than_keys() -> None:
    q, k, v = (torch.cat((x, 2 * x)) for x in drawn(tokens=40, width=16))
    found = fp8.fp8_attention(q[:, :9], k, v)
    assert found.shape == (2, 9, 2, 16)
    assert torch.equal(found[:1], fp8.fp8_attention(q[:1, :9], k[:1], v[:1])), "scales are an element's own"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_answer_is_in_the_dtype_of_the_question(dtype: torch.dtype) -> None:
    """The imitation computes in float32: a network in bfloat16 could not go on with that."""
    q, k, v = (x.to(dtype) for x in drawn(tokens=40, width=16))
    assert fp8.fp8_attention(q, k, v).dtype == dtype


def test_the_kernel_is_given_scales_and_its_answer_the_mean() -> None:
    """In the kernel's place stands its imitation: there is no GPU where tests run."""
    q, k, v = (torch.cat((x, 2 * x)) for x in drawn(tokens=40, width=16))
    x = fp8.quantise(q[:, :9], k, v + 1)

    def kernel(q: Tensor, k: Tensor, v: Tensor, **scales: Tensor) -> tuple[Tensor, None]:
        q_scale, k_scale, v_scale = (scales[f"{name}_descale"] for name in "qkv")
        return fp8.imitated(fp8.Quantised(q, k, v, q_scale, k_scale, v_scale, torch.zeros(1))).bfloat16(), None

    with mock.patch.object(fp8, "flash_attention_3", return_value=kernel):
        found = fp8.attend_in_8_bits(x)
    torch.testing.assert_close(found.float(), fp8.imitated(x), rtol=0.01, atol=0.01)


def test_nothing_is_infinite_where_all_is_zero() -> None:
    zero = torch.zeros(1, 8, 2, 16)
    assert torch.equal(fp8.fp8_attention(zero, zero, zero), zero)


def _on_a_rank(parallel: ContextParallel) -> Tensor:
    mine = slice(parallel.rank * 256, (parallel.rank + 1) * 256) if parallel.world_size > 1 else slice(None)
    return attend_over_ranks(fp8.fp8_attention, given_qkv, torch.stack(drawn(), dim=1)[:, :, mine], parallel)


def test_a_gang_rounds_as_one_rank_does() -> None:
    """It rounds after the exchange, so that all ranks' tokens share their head's scales and means."""
    alone = _on_a_rank(ContextParallel())
    together = torch.cat(run_threads(2, _on_a_rank), dim=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


# --- where it cannot run ----------------------------------------------------------------------------------------------


def test_on_a_cpu_it_is_said_to_be_an_imitation(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fp8.check_fp8(torch.device("cpu"), torch.float32, 128)
    assert "on a CPU" in caplog.text
    with pytest.raises(UsageError, match="found heads of 12, expected a power of two"):
        fp8.check_fp8(torch.device("cpu"), torch.float32, 12)


@pytest.mark.parametrize(
    ("capability", "dtype", "head_dim", "installed", "message"),
    [
        ((8, 0), torch.bfloat16, 128, True, r"found A Card \(8.0\), expected Hopper"),
        ((9, 0), torch.float32, 128, True, "found torch.float32, expected bfloat16"),
        ((9, 0), torch.bfloat16, 64, True, "found heads of 64, expected 128"),
        ((9, 0), torch.bfloat16, 128, False, "found no fa3-fwd that loads"),
    ],
)
def test_a_gpu_without_the_kernel_is_refused_by_what_it_is(
    capability: tuple[int, int], dtype: torch.dtype, head_dim: int, installed: bool, message: str
) -> None:
    """The GPU is an imitation: there is none where tests run."""
    with (
        mock.patch.object(torch.cuda, "get_device_capability", return_value=capability),
        mock.patch.object(torch.cuda, "get_device_name", return_value="A Card"),
        mock.patch.object(fp8, "flash_attention_3", return_value=len if installed else None),
        pytest.raises(UsageError, match=f"sampling.attention fp8: {message}[^;]*$"),
    ):
        fp8.check_fp8(torch.device("cuda", 0), dtype, head_dim)


def test_a_block_in_8_bits_stays_so_where_less_is_asked_of_it() -> None:
    """The last block answers only for frames that are not given, the second parts texts: in 8 bits neither does."""
    network = small_network(head_dim=16)
    share = network.share(Grid(2, 3, 2, 2), 30.0, ContextParallel(), given_frames=1)
    last = len(network.blocks) - 1
    attends = network._attends(torch.tensor([True, False]), True, {1, last}, share)
    assert {attends[number].args[0] for number in (1, last)} == {fp8.fp8_attention}  # type: ignore[attr-defined]


def test_means_are_rounded_to_no_less_than_float32() -> None:
    """128.5 lies between two numbers of bfloat16."""
    x_BMNK = torch.tensor([256.0, 1.0], dtype=torch.bfloat16).view(1, 2, 1, 1)
    found = fp8._mean(x_BMNK)
    assert (found.dtype, found.item(), tuple(found.shape)) == (torch.float32, 128.5, (1, 1, 1, 1))
