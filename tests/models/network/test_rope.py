"""Rotary positions: what the angles are, and what turning by them means for attention."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_ray.models.network.rope import RopeAxes, angle_table, axis_angles, rotate

PUBLISHED = RopeAxes(128, ratio_t=8 / 24, ratio_h=3.0, ratio_w=3.0)


def test_axes_of_the_published_heads() -> None:
    """Heads of 128 are cut into 44 (time), 42 (height) and 42 (width)."""
    assert (PUBLISHED.dim_t, PUBLISHED.dim_space) == (44, 42)


@pytest.mark.parametrize("width", [8, 10, 11, 25])
def test_heads_that_cannot_hold_three_axes_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"head width {width}"):
        RopeAxes(width, 1.0, 1.0, 1.0)


def test_one_latent_frame_is_24_over_fps_units_of_time() -> None:
    """The slowest clock (exponent 0) turns by position itself: 0, 0.8, 1.6, ... at 30 fps; rows and columns count 1."""
    angles_t, angles_h, angles_w = axis_angles(PUBLISHED, 8, 44, 80, 30.0, torch.float32)
    torch.testing.assert_close(angles_t[:, 0], 0.8 * torch.arange(8.0))
    torch.testing.assert_close(angles_h[:, 0], torch.arange(44.0))
    torch.testing.assert_close(angles_w[:, 0], torch.arange(80.0))


def test_frequencies_follow_the_stretched_base() -> None:
    """freq_j = (10000 * r^(m/(m-2)))^(-2j/m), evaluated here in float64 for the height axis."""
    _, angles_h, _ = axis_angles(PUBLISHED, 1, 2, 1, 30.0, torch.float32)
    theta = 10000 * 3.0 ** (42 / 40)
    expected = torch.tensor([theta ** (-2 * j / 42) for j in range(21)])
    torch.testing.assert_close(angles_h[1], expected, rtol=1e-5, atol=0)


def test_bfloat16_buffers_move_the_angles_by_a_known_amount() -> None:
    """The published pipeline evaluates positions and frequencies in bfloat16: up to 0.187 rad on its own grid."""
    rounded = angle_table(PUBLISHED, 8, 44, 80, 30.0, torch.bfloat16)
    exact = angle_table(PUBLISHED, 8, 44, 80, 30.0, torch.float32)
    assert rounded.dtype == torch.float32
    assert 0.18 < (rounded - exact).abs().max() < 0.19


def test_table_lists_tokens_in_time_height_width_order() -> None:
    axes = RopeAxes(24, ratio_t=1.0, ratio_h=1.0, ratio_w=1.0)
    frames, height, width = 2, 3, 4
    table = angle_table(axes, frames, height, width, 24.0, torch.float32)
    assert table.shape == (frames * height * width, 12)
    token = (1 * height + 2) * width + 3  # frame 1, row 2, column 3
    assert table[token, [0, axes.dim_t // 2, axes.dim_t // 2 + axes.dim_space // 2]].tolist() == [1.0, 2.0, 3.0]


RATIOS = st.sampled_from([0.25, 8 / 24, 1.0, 2.0, 3.0])
EXTENT = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60)
@given(st.integers(6, 20).map(lambda n: 2 * n), st.tuples(RATIOS, RATIOS, RATIOS), EXTENT, st.integers(5, 30))
def test_any_table_is_its_definition(
    head_dim: int, ratios: tuple[float, float, float], extent: tuple[int, int, int], fps: int
) -> None:
    """A token's row, number by number in float64: an axis of width m has m / 2 angles, each the position on the axis
    (time in units of 1 / 24 s) times (10000 r^(m / (m - 2)))^(-2j / m)."""
    axes = RopeAxes(head_dim, ratio_t=ratios[0], ratio_h=ratios[1], ratio_w=ratios[2])
    space = head_dim // 6 * 2
    widths = (head_dim - 2 * space, space, space)
    assert (axes.dim_t, axes.dim_space) == widths[:2]
    frames, height, width = extent
    table = angle_table(axes, *extent, float(fps), torch.float32)
    assert table.shape == (frames * height * width, head_dim // 2)
    for token in range(len(table)):
        frame, rest = divmod(token, height * width)
        places = (frame * 24 / fps, *divmod(rest, width))
        expected = [
            place * (10000 * ratio ** (m / (m - 2))) ** (-2 * j / m)
            for place, ratio, m in zip(places, ratios, widths, strict=True)
            for j in range(m // 2)
        ]
        torch.testing.assert_close(table[token], torch.tensor(expected), rtol=1e-5, atol=1e-6)


@settings(max_examples=40)
@given(st.integers(6, 20).map(lambda n: 2 * n), st.integers(0, 2**31))
def test_turning_keeps_lengths_and_turning_back_undoes_it(head_dim: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 2, head_dim, generator=generator)
    angles = 10 * torch.randn(3, 1, head_dim // 2, generator=generator)
    turned = rotate(x, angles.cos(), angles.sin())
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(rotate(turned, angles.cos(), -angles.sin()), x, atol=1e-5, rtol=1e-5)


def test_rotation_pairs_the_halves_of_a_head() -> None:
    """Element i turns with element i + K/2: a unit at 0 moves towards K/2, not towards its neighbour."""
    x = torch.zeros(1, 1, 12)
    x[..., 0] = 1
    angle = torch.full((1, 1, 6), math.pi / 2)
    expected = torch.zeros(1, 1, 12)
    expected[..., 6] = 1
    torch.testing.assert_close(rotate(x, angle.cos(), angle.sin()), expected, atol=1e-6, rtol=0)


def test_products_of_rotated_heads_depend_on_distance_only() -> None:
    axes = RopeAxes(24, ratio_t=1.0, ratio_h=3.0, ratio_w=3.0)
    angles = angle_table(axes, 1, 1, 6, 24.0, torch.float32)[:, None]
    q, k = torch.randn(2, 1, 24, generator=torch.Generator().manual_seed(0)).expand(6, 2, 1, 24).unbind(1)
    q, k = (rotate(x, angles.cos(), angles.sin())[:, 0] for x in (q, k))
    products = q @ k.T
    for distance in range(-5, 6):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=1e-5)


def test_rotation_keeps_the_dtype_and_rounds_once() -> None:
    x = torch.randn(5, 2, 12, generator=torch.Generator().manual_seed(0)).bfloat16()
    angles = torch.rand(5, 1, 6, generator=torch.Generator().manual_seed(1))
    in_float32 = rotate(x.float(), angles.cos(), angles.sin())
    found = rotate(x, angles.cos(), angles.sin())
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, in_float32.bfloat16())


def test_the_frame_rate_is_rounded_like_everything_else() -> None:
    axes = RopeAxes(12, 1.0, 1.0, 1.0)
    for dtype, same in ((torch.bfloat16, True), (torch.float32, False)):
        tables = [angle_table(axes, 64, 1, 1, fps, dtype) for fps in (29.97, 30.0)]
        assert torch.equal(*tables) is same
