"""How far is 8-bit attention from exact attention, by the number of keys, and what of it do the kernel's sums add?

    python benchmarks/fp8_length.py [--keys 8192 65536 197120] [--tiny]

Two heads of 128, 256 queries of all, against the same numbers in float64, as ||a - b|| / ||b||. Lines of JSON, one a
kind of inputs and number of keys:

    exact       by the kernel that exact clips have, in bfloat16
    fp8         by the kernel of `attention: fp8` (on a CPU: the imitation)
    float_sums  what that kernel is given and rounds, but added up in float32: where `fp8` is larger, its sums are
                what is

Kinds: `normal`; `mean`, where keys and values have a mean three times their spread; `channel`, where queries and keys
share a channel twenty times as large; `outliers`, where one number in ten thousand is fifty times as large. Each once
`flat`, scores of a spread of one, and once `sharp`, of four, where few keys have most of the weight. --tiny adds kinds
drawn as the trained tiny model's queries, keys and values are distributed: each channel's mean and spread, of blocks in
the middle, repeated to 128.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from unittest import mock

import torch
from reporting import machine, report
from torch import Tensor

from cosmos_ray.models.network import dit, fp8
from cosmos_ray.models.network.attention import attention

HEADS, WIDTH, QUERIES = 2, 128, 256
#: Keys whose scores are held at once in float64.
PART = 16384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, nargs="+", default=[8192, 16384, 32768, 65536, 131072, 197120])
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report(**machine("torch"))
    for kind, spread in ((kind, spread) for kind in KINDS for spread in ("flat", "sharp")):
        for keys in arguments.keys:
            report(kind=kind, scores=spread, keys=keys, **errors(*drawn(kind, spread, keys, device)))
    if arguments.tiny:
        for block, (q, k, v) in of_tiny(max(arguments.keys)):
            for keys in arguments.keys:
                parts = (q[:, :QUERIES], k[:, :keys], v[:, :keys])
                report(kind=f"tiny, block {block}", keys=keys, **errors(*(x.to(device) for x in parts)))


def errors(q_1LNK: Tensor, k_1MNK: Tensor, v_1MNK: Tensor) -> dict[str, float]:
    exact = in_float64(q_1LNK, k_1MNK, v_1MNK)
    given = fp8.quantise(q_1LNK, k_1MNK, v_1MNK)
    ways = {
        "exact": attention(q_1LNK, k_1MNK, v_1MNK),
        "fp8": fp8.fp8_attention(q_1LNK, k_1MNK, v_1MNK),
        "float_sums": fp8.imitated(given),
    }
    return {way: round(float((out.double() - exact).norm() / exact.norm()), 5) for way, out in ways.items()}


def in_float64(q_1LNK: Tensor, k_1MNK: Tensor, v_1MNK: Tensor) -> Tensor:
    """Softmax attention, keys in parts, its sums as one that goes on from part to part."""
    q_NLK = q_1LNK[0].transpose(0, 1).double() * q_1LNK.shape[-1] ** -0.5
    largest = torch.full(q_NLK.shape[:2], -torch.inf, dtype=torch.float64, device=q_NLK.device)
    weight, out_NLK = torch.zeros_like(largest), torch.zeros_like(q_NLK)
    for k_MNK, v_MNK in zip(k_1MNK[0].split(PART), v_1MNK[0].split(PART), strict=True):
        scores_NLM = q_NLK @ k_MNK.permute(1, 2, 0).double()
        newest = torch.maximum(largest, scores_NLM.amax(-1))
        before, p_NLM = (largest - newest).exp(), (scores_NLM - newest[..., None]).exp()
        weight = weight * before + p_NLM.sum(-1)
        out_NLK = out_NLK * before[..., None] + p_NLM @ v_MNK.transpose(0, 1).double()
        largest = newest
    return (out_NLK / weight[..., None]).transpose(0, 1)[None]


KINDS = ("normal", "mean", "channel", "outliers")


def drawn(kind: str, spread: str, keys: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """q [1, QUERIES, N, K], k, v [1, M, N, K] bfloat16."""
    draw = torch.Generator(device).manual_seed(keys)

    def normal(tokens: int) -> Tensor:
        return torch.randn(1, tokens, HEADS, WIDTH, generator=draw, device=device)

    q, k, v = normal(QUERIES), normal(keys), normal(keys)
    if kind == "mean":
        k, v = k + 3 * normal(1), v + 3 * normal(1)
    elif kind == "channel":
        q[..., 5] *= 20
        k[..., 5] *= 20
        q, k = (x / x.square().mean().sqrt() for x in (q, k))  # else one channel would decide every score
    elif kind == "outliers":
        for x in (q, k, v):
            x[torch.rand(x.shape, generator=draw, device=device) < 1e-4] *= 50
    scores = (q[:, :, 0] @ k[:, :4096, 0].transpose(1, 2)).std() * WIDTH**-0.5
    q *= {"flat": 1, "sharp": 4}[spread] / scores
    return q.bfloat16(), k.bfloat16(), v.bfloat16()


def of_tiny(keys: int) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor]]]:
    """(block, (q, k, v) [1, M, N, 128] bfloat16): normal numbers of the means and spreads that channels of a head have
    in the tiny model, in the middle of a clip's schedule."""
    from cosmos_ray.clip.request import ClipRequest
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.models.generator import Generator

    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.shape[1] == k.shape[1]:
            seen.append((q, k, v))
        return attention(q, k, v)

    generator = Generator.load(load_bundle("tiny"))
    steps = 6
    asked = ClipRequest("tiny", ("A clear day on a city street.",), "", 7, 0, seed=1, guidance=0.0, num_steps=steps)
    with mock.patch.object(dit, "attention", attend):
        generator.denoise(asked)
    blocks = generator.bundle.network.num_blocks
    draw = torch.Generator().manual_seed(0)
    for block in (blocks // 4, blocks // 2, blocks - 2):
        of_block = seen[len(seen) // (steps + 1) * (steps // 2) + block]
        yield block, tuple(_like(x[0, :, :HEADS], keys, draw) for x in of_block)  # type: ignore[misc]


def _like(x_MNK: Tensor, tokens: int, draw: torch.Generator) -> Tensor:
    x_MNK = x_MNK.repeat(1, 1, -(-WIDTH // x_MNK.shape[-1]))[..., :WIDTH].float()
    numbers = torch.randn(1, tokens, HEADS, WIDTH, generator=draw)
    return (numbers * x_MNK.std(0) + x_MNK.mean(0)).bfloat16()


if __name__ == "__main__":
    main()
