"""The fused kernels compute the eager formulas: here in Triton's interpreter, on GPUs by `gpu_parity.py fused`."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("TRITON_INTERPRET", "1")  # read when a kernel is declared; there is no GPU in these tests
pytest.importorskip("triton", reason="Triton comes with PyTorch's builds for NVIDIA GPUs only")

import torch

from cosmos_ray.models import fused, layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [64, 48], ids=str)
def test_fused_passes_are_the_eager_ones(width: int, dtype: torch.dtype) -> None:
    """One modulation for two branches, as guidance has it; a width that is no power of two."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    x, y = drawn(2, 3, 2, 5, width), drawn(2, 3, 2, 5, width)
    shift, scale, gate = drawn(1, 3, 2, 1, 3 * width).chunk(3, dim=-1)
    heads, angles = x.view(2, 3, 10, 2, width // 2), torch.randn(10, 1, width // 4, generator=generator)
    norm = layers.RMSNorm(width // 2).to(dtype).requires_grad_(False)
    norm.weight.copy_(drawn(width // 2))
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    pairs = [
        (fused.modulated_norm(x, shift, scale), layers.modulated_norm(x, shift, scale)),
        (fused.add_gated(x, gate, y), layers.add_gated(x, gate, y)),
        (
            fused.norm_and_rotate(heads, norm.weight, angles.cos(), angles.sin()),
            layers.norm_and_rotate(heads, norm, angles.cos(), angles.sin()),
        ),
    ]
    for found, expected in pairs:
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
