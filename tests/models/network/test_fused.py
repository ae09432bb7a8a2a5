"""The fused kernels compute the eager formulas: here in Triton's interpreter, on GPUs by `gpu_parity.py fused`."""

from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="Triton comes with PyTorch's builds for NVIDIA GPUs only")

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm
from support.networks import caption, relative_error, small_network

from cosmos_ray.models.network import fused, passes
from cosmos_ray.models.network.dit import Grid
from cosmos_ray.models.parallel import ContextParallel

EPS = passes.NORM_EPS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("width", [64, 48], ids=str)
def test_fused_passes_round_where_the_eager_ones_do(width: int, dtype: torch.dtype) -> None:
    """One modulation for two branches, as guidance has it; a width that is no power of two. In 16 bits all but the few
    numbers that the order of a sum moves over an edge are equal to the bit. float16, for the interpreter does not round
    to the nearest bfloat16."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    x, y = drawn(2, 3, 2, 5, width), drawn(2, 3, 2, 5, width)
    shift, scale, gate = drawn(1, 3, 2, 1, 3 * width).chunk(3, dim=-1)
    angles = torch.randn(10, 1, width // 4, generator=generator)
    heads = (x.view(2, 3, 10, 2, width // 2), drawn(width // 2), angles.cos(), angles.sin())
    pairs = {
        "modulated_norm": (fused.modulated_norm(x, shift, scale, EPS), passes.modulated_norm(x, shift, scale)),
        "add_gated": (fused.add_gated(x, gate, y), passes.add_gated(x, gate, y)),
        "norm_and_rotate": (fused.norm_and_rotate(*heads, EPS), passes.norm_and_rotate(*heads)),
    }
    for name, (found, expected) in pairs.items():
        assert found.dtype == dtype
        if dtype == torch.float32:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
            continue
        moved = found != expected
        assert moved.float().mean() <= (0 if name == "add_gated" else 0.005), name
        torch.testing.assert_close(found, expected, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_the_autoencoders_norm_and_activation_are_the_librarys(dtype: torch.dtype) -> None:
    """Channels that are no power of two, pixels that do not fill the last program; a pixel of nothing."""
    generator = torch.Generator().manual_seed(0)
    norm = WanRMS_norm(24, images=False).to(dtype).requires_grad_(False)
    norm.gamma.copy_(torch.randn(norm.gamma.shape, generator=generator))
    x_BCTHW = torch.randn(1, 24, 3, 5, 7, generator=generator).to(dtype)
    x_BCTHW[..., 0, 0] = 0
    expected = torch.nn.functional.silu(norm(x_BCTHW))[0].transpose(0, 1)
    found = fused.norm_silu(x_BCTHW[0].transpose(0, 1), norm.gamma)
    assert found.is_contiguous(memory_format=torch.channels_last)
    tolerance = 1e-6 if dtype == torch.float32 else 2**-10
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert dtype == torch.float32 or (found != expected).float().mean() <= 0.005


def test_a_network_is_the_same_with_fused_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip under two texts, with views that have none."""
    grid, network = Grid(3, 3, 2, 2), small_network()
    share = network.share(grid, 30.0, ContextParallel())
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 3, grid.tokens_per_view, 64, generator=generator)
    mask = torch.zeros(1, 3, grid.tokens_per_view, 4)
    texts = torch.stack([caption(grid, seed=seed) for seed in (1, 2)])
    arguments = (x, mask, torch.full((1, 3, 3), 0.4), texts, share)
    expected = network.forward_tokens(*arguments)
    calls: list[torch.Size] = []
    monkeypatch.setattr(passes, "fused_kernels", lambda x: calls.append(x.shape) or fused)
    assert relative_error(network.forward_tokens(*arguments), expected) < 1e-5
    assert len(calls) == 2 * (3 + 3 + 2) + 1  # norms, sums and heads of two blocks, and the last norm
