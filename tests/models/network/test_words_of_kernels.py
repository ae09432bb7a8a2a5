"""What is said of a network's kernels, and which approximations it can have: of each device, dtype and head width."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cosmos_ray.clip.approximations import EXACT, Approximations
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.network import kernels, passes

FP8 = Approximations(attention="fp8")
PUBLISHED = load_bundle("cosmos-predict2-2b-multiview")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Which kernel was asked for, and whether 8 bits can run."""
    found: list[Any] = []
    kernel = {torch.bfloat16: "flash-attention-3", torch.float32: "sdpa"}
    monkeypatch.setattr(kernels, "attention_kernel", lambda *given: found.append(given) or kernel[given[1]])
    monkeypatch.setattr(kernels, "check_fp8", lambda *given: found.append(given))
    monkeypatch.setattr(kernels, "why_plain", lambda device: "" if device.type == "cuda" else "on a CPU")
    return found


def test_kernels_are_those_of_the_bundles_own_numerics_and_heads(asked: list[Any]) -> None:
    assert kernels.kernels_of(PUBLISHED, "cuda") == "FA3, fused"
    assert kernels.kernels_of(PUBLISHED.with_numerics("float32"), "cpu") == "SDPA, plain: on a CPU"
    assert kernels.kernels_of(PUBLISHED, "cuda", FP8) == "FA3 and 8 bits, fused"
    assert asked == [
        (torch.device("cuda"), torch.bfloat16, 128),
        (torch.device("cpu"), torch.float32, 128),
        (torch.device("cuda"), torch.bfloat16, 128),
    ]
    assert kernels.ATTENTION == {"flash-attention-3": "FA3", "cudnn": "cuDNN", "sdpa": "SDPA"}


def test_approximations_are_checked_where_there_are_some(asked: list[Any]) -> None:
    kernels.check_approximations(PUBLISHED, torch.device("cuda"), EXACT)
    kernels.check_approximations(PUBLISHED, torch.device("cuda"), Approximations(guidance_interval=(0, 0.5)))
    assert asked == []
    kernels.check_approximations(PUBLISHED.with_numerics("float32"), torch.device("cpu"), FP8)
    assert asked == [(torch.device("cpu"), torch.float32, 128)]
    for block in (28, -29):
        wrong = Approximations(attention="fp8", fp8_exact_blocks=(0, block))
        with pytest.raises(UsageError, match=f"found {block}, the network has 28 blocks"):
            kernels.check_approximations(PUBLISHED, torch.device("cuda"), wrong)


@pytest.mark.parametrize(
    ("missing", "error", "why"),
    [
        (("no Triton", "no C compiler"), ImportError("x"), "no Triton, no C compiler"),
        ((), RuntimeError("the driver is too old\nand more"), "the driver is too old"),
        ((), OSError("libcuda.so.1: cannot open shared object file"), "libcuda.so.1: cannot open shared object file"),
        ((), subprocess.CalledProcessError(1, "gcc"), "Command 'gcc' returned non-zero exit status 1."),
    ],
)
def test_why_passes_are_plain_is_what_the_machine_lacks_or_what_went_wrong(
    missing: tuple[str, ...], error: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: str) -> Any:
        raise error

    passes._working_kernels.cache_clear()
    monkeypatch.setattr(passes, "importlib", SimpleNamespace(import_module=fails))
    monkeypatch.setattr(passes, "missing_tools", lambda: missing)
    monkeypatch.setattr(passes.torch, "zeros", lambda *_, **__: None)
    try:
        assert passes.why_plain(torch.device("cuda")) == why
        assert passes.why_plain(torch.device("cpu")) == "on a CPU"
    finally:
        passes._working_kernels.cache_clear()
