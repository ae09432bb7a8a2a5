"""Which kernel is chosen where, and what is made of its answer. There is no GPU where tests run: its word is imitated,
and in a kernel's place stands plain attention."""

from __future__ import annotations

import contextlib
import importlib
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend

from cosmos_ray.models.network import attention as kernels
from cosmos_ray.models.network import launches, passes
from cosmos_ray.models.network.attention import attention, attention_kernel, attention_with_lse, flash_attention_3
from cosmos_ray.models.network.launches import LaunchedAhead

CUDA = torch.device("cuda", 0)
BF16 = torch.bfloat16


@pytest.mark.parametrize(
    ("capability", "dtype", "head_dim", "is_installed", "kernel"),
    [
        ((9, 0), BF16, 128, True, "flash-attention-3"),
        ((9, 0), BF16, 128, False, "cudnn"),
        ((9, 0), BF16, 64, True, "cudnn"),
        ((9, 0), BF16, 12, True, "sdpa"),
        ((9, 0), torch.float32, 128, True, "sdpa"),
        ((9, 0), torch.float16, 128, True, "sdpa"),
        ((10, 0), BF16, 128, True, "cudnn"),
        ((12, 0), BF16, 128, True, "cudnn"),
        ((8, 0), BF16, 128, True, "cudnn"),
        ((8, 9), BF16, 64, False, "cudnn"),
        ((7, 5), BF16, 128, True, "sdpa"),
    ],
)
def test_each_gpu_gets_the_fastest_kernel_that_runs_on_it(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    dtype: torch.dtype,
    head_dim: int,
    is_installed: bool,
    kernel: str,
) -> None:
    """The wheel of FlashAttention-3 holds kernels for Hopper and heads of 128, in bfloat16, and for nothing else."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(kernels, "flash_attention_3", lambda: len if is_installed else None)
    assert attention_kernel.__wrapped__(CUDA, dtype, head_dim) == kernel


def test_a_cpu_is_asked_nothing_about_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: pytest.fail("there is none"))
    assert attention_kernel.__wrapped__(torch.device("cpu"), BF16, 128) == "sdpa"


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Attention and log-sum-exp as FlashAttention-3 lays them out: [B, L, N, K] and [B, N, L]."""
    scores = torch.einsum("blnk,bmnk->bnlm", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bnlm,bmnk->blnk", scores.softmax(-1), v), scores.logsumexp(-1)


@pytest.mark.parametrize("gives_tuple", [True, False])
def test_the_whole_batch_comes_back_from_flash_attention(monkeypatch: pytest.MonkeyPatch, gives_tuple: bool) -> None:
    """Versions differ in what they return; more elements than one tell a batch from a tuple."""
    q, k, v = (drawn(2, tokens, 3, 12, seed=seed) for seed, tokens in enumerate((5, 7, 7)))
    expected = attention(q, k, v)

    def flash(*qkv: Tensor) -> object:
        return plain(*qkv) if gives_tuple else plain(*qkv)[0]

    monkeypatch.setattr(kernels, "attention_kernel", lambda *_: "flash-attention-3")
    monkeypatch.setattr(kernels, "flash_attention_3", lambda: flash)
    torch.testing.assert_close(attention(q, k, v), expected)


@pytest.mark.parametrize("kernel", ["cudnn", "sdpa"])
def test_torch_tries_cudnn_first_and_then_all_it_has(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    """In that order: its own pick is half as fast, and cuDNN refuses some shapes. Elsewhere it picks."""
    told: list[Any] = []

    def order(backends: list[SDPBackend], set_priority: bool = False) -> Any:
        told.append((backends, set_priority))
        return contextlib.nullcontext()

    q = drawn(1, 5, 3, 12, seed=0)
    expected = attention(q, q, q)
    monkeypatch.setattr(kernels, "attention_kernel", lambda *_: kernel)
    monkeypatch.setattr(kernels, "sdpa_kernel", order)
    torch.testing.assert_close(attention(q, q, q), expected)
    names = ["CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH"]
    assert told == ([([SDPBackend.__members__[name] for name in names], True)] if kernel == "cudnn" else [])


def test_the_log_sum_exp_of_flash_attention_is_by_token(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (drawn(2, tokens, 3, 12, seed=seed) for seed, tokens in enumerate((5, 7, 7)))
    expected = attention_with_lse(q, k, v)

    def flash(*qkv: Tensor, return_attn_probs: bool) -> object:
        assert return_attn_probs
        return plain(*qkv)

    monkeypatch.setattr(kernels, "attention_kernel", lambda *_: "flash-attention-3")
    monkeypatch.setattr(kernels, "flash_attention_3", lambda: flash)
    found = attention_with_lse(q, k, v)
    assert found[1].shape == (2, 5, 3)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("kernel", "function", "laid_out"),
    [
        ("cudnn", "_scaled_dot_product_cudnn_attention", lambda lse: lse[..., None]),
        ("sdpa", "_scaled_dot_product_efficient_attention", lambda lse: F.pad(lse, (0, 27), value=9.0)),
    ],
    ids=["a column", "padded"],
)
def test_the_log_sum_exp_of_torchs_kernels_is_by_token(
    monkeypatch: pytest.MonkeyPatch, kernel: str, function: str, laid_out: Any
) -> None:
    """A GPU's give it in other shapes: one as a column, one with as many tokens as its tiles have."""
    q, k, v = (drawn(2, tokens, 3, 12, seed=seed).as_subclass(OnGpu) for seed, tokens in enumerate((5, 7, 7)))

    def told(*heads: Any) -> Any:
        assert heads[3:] == (None, True), "no bias, and the log-sum-exp is wanted"
        out, lse = plain(*(x.as_subclass(Tensor).transpose(1, 2) for x in heads[:3]))
        return out.transpose(1, 2), laid_out(lse), "and more"

    monkeypatch.setattr(kernels, "attention_kernel", lambda *_: kernel)
    monkeypatch.setattr(torch.ops.aten, function, told)
    out, lse = attention_with_lse(q, k, v)
    expected = plain(*(x.as_subclass(Tensor) for x in (q, k, v)))
    torch.testing.assert_close((out, lse), (expected[0], expected[1].transpose(1, 2)))


class OnGpu(Tensor):
    """Numbers of a CPU that say they are a GPU's."""

    is_cuda = True


@pytest.mark.parametrize(
    ("error", "is_said"),
    [
        (ModuleNotFoundError("No module named 'fa3_fwd_interface'", name="fa3_fwd_interface"), False),
        (ImportError("libcudart.so.12: cannot open shared object file"), True),
        (ModuleNotFoundError("No module named 'triton'", name="triton"), True),
        (OSError("undefined symbol"), True),
    ],
    ids=["not installed", "library", "dependency", "symbol"],
)
def test_flash_attention_that_does_not_load_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, is_said: bool
) -> None:
    """It costs half the speed: said where it was meant to be there, and nothing where it was never installed."""

    def fails(_: str) -> Any:
        raise error

    monkeypatch.setattr(importlib, "import_module", fails)
    with caplog.at_level(logging.WARNING):
        assert flash_attention_3.__wrapped__() is None
    assert ("fa3-fwd is installed but does not load" in caplog.text) == is_said


def test_flash_attention_is_the_function_of_its_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = SimpleNamespace(flash_attn_func=len)
    monkeypatch.setattr(importlib, "import_module", lambda name: wheel if name == "fa3_fwd_interface" else None)
    assert flash_attention_3.__wrapped__() is len


# --- fused passes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_cuda", "learns", "casts", "is_fused"),
    [(True, False, False, True), (False, False, False, False), (True, True, False, False), (True, False, True, False)],
    ids=["on a GPU", "on a CPU", "with gradients", "with autocast"],
)
def test_passes_are_fused_on_a_gpu_when_nothing_is_learnt(
    monkeypatch: pytest.MonkeyPatch, is_cuda: bool, learns: bool, casts: bool, is_fused: bool
) -> None:
    """A fused kernel knows no gradients: it would train nothing, in silence."""
    asked: list[torch.device] = []
    monkeypatch.setattr(passes, "_working_kernels", lambda device: asked.append(device) or ("kernels", ""))
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: casts)
    with torch.set_grad_enabled(learns):
        found = passes.fused_kernels(SimpleNamespace(is_cuda=is_cuda, device=CUDA))  # type: ignore[arg-type]
    assert found == ("kernels" if is_fused else None)
    assert asked == ([CUDA] if is_fused else [])


# --- how far a host runs ahead ---------------------------------------------------------------------------------------


class Event:
    """A moment of the GPU's queue: made, put into it, waited for, in `log`."""

    log: list[str]

    def __init__(self, blocking: bool) -> None:
        assert blocking, "waiting must not cost a core"
        self.number = sum(line.startswith("record") for line in self.log)

    def record(self) -> None:
        self.log.append(f"record {self.number}")

    def synchronize(self) -> None:
        self.log.append(f"wait for {self.number}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log: list[str] = []
    monkeypatch.setattr(torch.cuda, "Event", type("LoggedEvent", (Event,), {"log": log}))
    return log


def test_a_host_is_two_blocks_ahead_of_its_gpu(log: list[str]) -> None:
    """With block n launched it waits for the end of block n - 2, the oldest one that it has not waited for."""
    ahead = LaunchedAhead(CUDA)
    for _ in range(5):
        ahead.one_more()
    waits = {2: ["wait for 0"], 3: ["wait for 1"], 4: ["wait for 2"]}
    assert log == [line for number in range(5) for line in (f"record {number}", *waits.get(number, []))]
    assert launches._BLOCKS_AHEAD == 2


def test_a_cpu_has_nothing_to_wait_for(log: list[str]) -> None:
    ahead = LaunchedAhead(torch.device("cpu"))
    for _ in range(5):
        ahead.one_more()
    assert log == []
