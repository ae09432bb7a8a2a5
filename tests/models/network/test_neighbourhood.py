"""Attention to a neighbourhood: which windows there are, and that a network attends to them and to nothing else.

The package natten is an extra. Where it is not installed, dense attention under a mask stands in its place, and the
comparison of the two is left out. It holds with natten 0.21.0 and 0.21.7 on a CPU.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.ranks import run_ranks
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle, parse_bundle
from cosmos_ray.models.bundle.single import NATTEN
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.network import neighbourhood
from cosmos_ray.models.network.dit import MultiviewDiT
from cosmos_ray.models.network.neighbourhood import attend_to_neighbourhood, check_natten
from cosmos_ray.models.network.windows import WINDOWS, Window, keys_of, window_of
from cosmos_ray.models.parallel import ContextParallel
from cosmos_ray.models.parts import load_network

GRID = (3, 6, 10)
ODD = ((2, 9, 11), Window((3, 4), (2, 3), (2, 1))), ((2, 8, 12), Window((2, 4), (1, 1), (3, 2)))


def window_mask(grid: tuple[int, int, int], window: Window) -> Tensor:
    """bool [L, L]: whether token m is in the window of token l. No grid of a published size has the memory for it."""
    frames = torch.ones(grid[0], grid[0], dtype=torch.bool)
    rows, columns = (
        _axis_mask(grid[1 + place], window.size[place], window.stride[place], window.dilation[place])
        for place in (0, 1)
    )
    both = frames[:, None, None, :, None, None] & rows[None, :, None, None, :, None]
    return (both & columns[None, None, :, None, None, :]).flatten(3).flatten(0, 2)


def _axis_mask(extent: int, size: int, stride: int, dilation: int) -> Tensor:
    """bool [extent, extent]. Of each place, those that are `dilation` apart from it are its neighbours; it shares the
    window of the middle one of its `stride`, which is moved inwards at the ends."""
    mask = torch.zeros(extent, extent, dtype=torch.bool)
    for place in range(extent):
        first, number = place % dilation, place // dilation
        count = len(range(first, extent, dilation))
        middle = min(number // stride * stride + stride // 2, count - 1)
        begin = min(max(middle - size // 2, 0), count - size)
        mask[place, [first + dilation * (begin + step) for step in range(size)]] = True
    return mask


def masked(q: Tensor, k: Tensor, v: Tensor, kernel_size: Any, stride: Any, dilation: Any) -> Tensor:
    """What `natten.na3d` computes, of a grid so small that all of its attention is."""
    grid = tuple(q.shape[1:4])
    assert (kernel_size[0], stride[0], dilation[0]) == (grid[0], 1, 1), "all frames"
    mask = window_mask(grid, Window(kernel_size[1:], stride[1:], dilation[1:]))  # type: ignore[arg-type]
    heads = (x.flatten(1, 3).transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).unflatten(1, grid)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbourhood, "natten", lambda: masked)
    monkeypatch.setattr("cosmos_ray.models.generator.check_natten", lambda device: None)


@pytest.mark.parametrize("grid", [(3, 11, 20), (1, 11, 20)])
def test_as_many_tokens_are_attended_to_as_the_mask_lets_through(grid: tuple[int, int, int]) -> None:
    found = keys_of("ABCEFG", grid)
    tokens = grid[0] * grid[1] * grid[2]
    windows = [window_of(letter, grid) for letter in "ABCEFG"]
    masks = [torch.ones(tokens, tokens) if window is None else window_mask(grid, window) for window in windows]
    assert [mask.sum(dim=1).unique().tolist() for mask in masks] == [[count] for count in found]


def test_the_published_blocks_have_the_published_windows() -> None:
    """By the table: letters, and windows on the published grid and another."""
    assert NATTEN["2b"] == "AABCCBCCCCBEEEEEEEEEEEEFEEEC"
    assert NATTEN["14b"] == "AAAAAAAAAAABBCCCCCCCCCCEFEFGFEEFFEFE"
    for letter, window in WINDOWS.items():
        assert window_of(letter, (24, 44, 80)) == window
    assert window_of("A", (24, 22, 40)) == Window((2, 8), (1, 1), (6, 2))
    assert window_of("F", (24, 22, 40)) == Window((14, 28), (2, 4), (1, 1))
    assert window_of("C", (24, 30, 45)) == Window((8, 14), (3, 4), (1, 1)), "to the nearest: 8.2 and 13.5, 2.7 and 4.5"
    assert window_of("A", (24, 43, 78)) == Window((4, 16), (1, 1), (10, 4)), "11 and 5 would lead beyond the grid"
    assert window_of("A", (24, 30, 45)) == Window((3, 9), (1, 1), (8, 3)), "11 * 30 / 44 is 7.5, to the even number"
    assert window_of("A", (8, 4, 7)) == Window((2, 2), (1, 1), (1, 1)), "at least two, and no more than there are"
    assert window_of("G", (24, 44, 80)) is None
    assert window_of("A", (1, 44, 80)) is None, "a picture attends to all of itself"


def test_a_window_is_as_large_everywhere_and_moves_inwards_at_the_ends() -> None:
    mask = window_mask((1, 5, 7), Window((2, 4), (1, 1), (1, 1)))
    assert mask.sum(1).unique().tolist() == [8]
    first = mask[0].unflatten(0, (5, 7)).nonzero()
    assert (first.amin(0).tolist(), first.amax(0).tolist()) == ([0, 0], [1, 3])
    apart = window_mask((1, 6, 6), Window((2, 2), (1, 1), (3, 3)))[0].unflatten(0, (6, 6)).nonzero()
    assert apart.tolist() == [[0, 0], [0, 3], [3, 0], [3, 3]]
    shared = window_mask((1, 1, 8), Window((1, 4), (1, 4), (1, 1)))
    assert (shared[:4] == shared[0]).all()
    assert not (shared[4] == shared[0]).all()


@pytest.mark.skipif(importlib.util.find_spec("natten") is None, reason="the extra natten is not installed")
@pytest.mark.parametrize(("grid", "window"), [*ODD, *((GRID, window_of(letter, GRID)) for letter in WINDOWS)])
def test_natten_is_dense_attention_under_the_mask(grid: tuple[int, int, int], window: Window) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, grid[0] * grid[1] * grid[2], 2, 16, generator=generator) for _ in range(3))
    found = attend_to_neighbourhood(q, k, v, grid, window)
    kernel, stride, dilation = (grid[0], *window.size), (1, *window.stride), (1, *window.dilation)
    expected = masked(*(x.unflatten(1, grid) for x in (q, k, v)), kernel, stride, dilation).flatten(1, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def small(letters: str | None) -> Bundle:
    bundle = load_bundle("tiny-video2world")
    said = bundle.model_dump(mode="json")
    said["network"] |= {"num_blocks": 2, "natten": letters}
    return parse_bundle(json.dumps(said | {"state_t": 3, "height": 96, "width": 160}), bundle.root)


def answer(bundle: Bundle, parallel: ContextParallel | None = None) -> Tensor:
    network: MultiviewDiT = load_network(bundle)[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 16, 3, 12, 20, generator=generator)
    text = torch.randn(1, 8, 128, generator=generator)
    return network(x, torch.full((1, 3), 0.5), text, torch.zeros(1, 1, 3, 12, 20), fps=24.0, parallel=parallel)


def test_a_network_attends_to_its_blocks_windows(stand_in: None) -> None:
    full = answer(small(None))
    assert torch.equal(answer(small("GG")), full)
    assert not torch.allclose(answer(small("AG")), full)
    assert not torch.allclose(answer(small("AG")), answer(small("GA")))


def answer_on_rank(parallel: ContextParallel, bundle: Bundle) -> Tensor:
    neighbourhood.natten = lambda: masked  # type: ignore[assignment]
    return answer(bundle, parallel)


@pytest.mark.slow
@pytest.mark.long
def test_a_gang_sees_the_grid_of_one_rank(stand_in: None) -> None:
    """Its short sibling: tokens of one view are dealt in order, `tests/models/test_parallel.py`."""
    (found, _) = run_ranks(2, answer_on_rank, small("AC"))
    torch.testing.assert_close(found, answer(small("AC")), rtol=0, atol=5e-5)


def test_without_the_package_the_model_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "natten", None)
    with pytest.raises(UsageError, match=r"takes the package natten.*pip install .*'\.\[natten\]'"):
        Generator.load(small("AC"))


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_a_package_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """As where it was built beside another torch."""

    def fails(_: str) -> Any:
        raise error("undefined symbol: aten")

    monkeypatch.setattr(neighbourhood, "importlib", SimpleNamespace(import_module=fails))
    with pytest.raises(UsageError, match=r"takes the package natten: undefined symbol: aten; .*pip install"):
        check_natten("cpu")


@pytest.mark.parametrize("gpu", ["cuda", "cuda:1"])
def test_without_its_kernels_no_gpu_is_taken(monkeypatch: pytest.MonkeyPatch, gpu: str) -> None:
    """What pip builds where it sees no GPU attends by all pairs of tokens: on a published grid more than any memory."""
    plain = SimpleNamespace(na3d=masked, HAS_LIBNATTEN=False, __version__="0.21.0")
    monkeypatch.setitem(sys.modules, "natten", plain)
    check_natten("cpu")
    with pytest.raises(
        UsageError, match=r"0\.21\.0 was built here without its kernels.*NATTEN_CUDA_ARCH.*\.\[natten\]"
    ):
        Generator.load(small("AC"), gpu)
    plain.HAS_LIBNATTEN = True
    check_natten(gpu)


@pytest.mark.parametrize(
    ("name", "letters", "words"),
    [
        ("tiny-video2world", "AC", "network.natten AC: expected 6 letters, one a block"),
        ("tiny-video2world", "AAAAAD", "natten"),
        ("tiny", "AAAAAA", "network.natten AAAAAA: expected nothing"),
    ],
)
def test_letters_that_no_block_has_are_refused(name: str, letters: str, words: str) -> None:
    said = load_bundle(name).model_dump(mode="json")
    with pytest.raises(UsageError, match=words):
        parse_bundle(json.dumps(said | {"network": said["network"] | {"natten": letters}}), "")


def test_names_are_of_720p_and_16_to_9() -> None:
    bundle = load_bundle("cosmos-predict2-14b-video2world-720p-10fps-natten")
    assert bundle.network.natten == NATTEN["14b"]
    assert str(getattr(bundle.file("dit"), "uri", "")).endswith("/model-720p-10fps-natten.pt")
    assert load_bundle("cosmos-predict2-2b-text2world-natten").network.natten == NATTEN["2b"]
    for name in ("cosmos-predict2-2b-video2world-480p-16fps-natten", "cosmos-predict2-2b-video2world-natten-1x1"):
        with pytest.raises(UsageError):
            load_bundle(name)
