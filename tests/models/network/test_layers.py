"""The transformer's parts against their formulas, at the sizes of numbers where a near one would differ."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cosmos_ray.models.network import passes
from cosmos_ray.models.network.layers import MLP, CrossAttention, RMSNorm, Sinusoid, TimestepMLP


def drawn(*shape: int, seed: int = 0, size: float = 1.0) -> Tensor:
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


#: The norms add 1e-6 to the mean square: numbers of a thousandth tell it from any other constant.
SIZES = [1.0, 1e-3]


@pytest.mark.parametrize("size", SIZES)
def test_rms_norm_is_its_formula(size: float) -> None:
    x, norm = drawn(5, 12, size=size), RMSNorm(12)
    norm.weight.data = drawn(12, seed=1).float()
    expected = x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * norm.weight
    torch.testing.assert_close(norm(x.float()).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_modulated_norm_is_its_formula(size: float) -> None:
    x = drawn(2, 3, 2, 5, 12, size=size)
    shift, scale = drawn(2, 3, 2, 1, 12, seed=1), drawn(2, 3, 2, 1, 12, seed=2)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred * (centred.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + scale) + shift
    found = passes.modulated_norm(x.float(), shift.float(), scale.float())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_a_wider_weight_does_not_widen_what_is_normalised() -> None:
    """As in training with autocast: activations in 16 bits, weights in 32."""
    x, weight = drawn(5, 12).bfloat16(), drawn(12, seed=1).float()
    found = passes.rms_norm(x, weight)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, passes.rms_norm(x, weight.bfloat16()))


def test_the_hidden_layer_is_activated_by_the_exact_gelu() -> None:
    """x Phi(x), not its approximation by a hyperbolic tangent."""
    mlp, x = MLP(8).requires_grad_(False), drawn(20, 8, seed=1, size=2.0)
    hidden = x @ mlp.layer1.weight.double().T * 4
    mlp.layer1.weight.mul_(4)
    expected = (hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2) @ mlp.layer2.weight.double().T
    torch.testing.assert_close(mlp(x.float()).double(), expected, rtol=1e-5, atol=1e-6)


def test_the_timestep_mlp_is_activated_by_silu() -> None:
    mlp, x = TimestepMLP(8).requires_grad_(False), drawn(20, 8, seed=1, size=4.0)
    hidden = x @ mlp.linear_1.weight.double().T
    expected = (hidden / (1 + torch.exp(-hidden))) @ mlp.linear_2.weight.double().T
    torch.testing.assert_close(mlp(x.float()).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_timestep_becomes_cosines_and_then_sines(dtype: torch.dtype) -> None:
    """Frequencies fall from 1 to nearly 1 / 10000; float32 inside and rounded once, whatever the timestep's dtype."""
    timesteps = torch.tensor([0.0, 1e-4, 0.3, 0.995]).to(dtype)
    frequencies = torch.tensor([10000 ** (-j / 6) for j in range(6)], dtype=torch.float64)
    angles = timesteps.double()[:, None] * frequencies
    found = Sinusoid(12)(timesteps)
    assert found.dtype == dtype
    expected = torch.cat((angles.cos(), angles.sin()), dim=-1)
    rounding = 2**-8 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(found.double(), expected, rtol=rounding, atol=1e-7)


def test_cross_attention_normalises_queries_and_keys_and_no_values() -> None:
    attn = CrossAttention(24, 10, heads=2).requires_grad_(False)
    attn.q_norm.weight.copy_(drawn(12, seed=1))
    attn.k_norm.weight.copy_(drawn(12, seed=2))
    x, text = drawn(1, 3, 2, 4, 24, seed=3).float(), drawn(1, 3, 7, 10, seed=4).float()

    def heads(projection: torch.nn.Linear, value: Tensor) -> Tensor:
        return projection(value).unflatten(-1, (2, 12))

    q = attn.q_norm(heads(attn.q_proj, x.flatten(2, 3)))
    k, v = attn.k_norm(heads(attn.k_proj, text)), heads(attn.v_proj, text)
    weights = (torch.einsum("bvlnk,bvmnk->bvnlm", q, k) / 12**0.5).softmax(-1)
    expected = attn.output_proj(torch.einsum("bvnlm,bvmnk->bvlnk", weights, v).flatten(3)).view(x.shape)
    torch.testing.assert_close(attn(x, text), expected, rtol=1e-5, atol=1e-6)
