"""How far bfloat16 takes a clip by rounding alone, against how far a gang of two takes it. On CPUs, in minutes.

    python benchmarks/rounding_floor.py [--steps 1 2 8 35]

One small network with random weights makes the same clip (guidance 7) four times: on one rank; on two; on one with
another attention kernel, which rounds in other places; on one in float32. If splitting a clip did more than round
differently, the gang's error would stand out from the other kernel's. Prints a line of JSON a number of steps, errors
||a - b|| / ||b|| against the one rank. `gang_sizes.py` does it at full size, on GPUs.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from reporting import machine, report
from torch.nn.attention import SDPBackend

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in (".", "tests")]

from support.ranks import run_ranks  # type: ignore[import-not-found]  # noqa: E402
from support.sampled import attention_by, distance, sample  # type: ignore[import-not-found]  # noqa: E402

from cosmos_ray.models.network.dit import DiTConfig, Grid, MultiviewDiT  # noqa: E402
from cosmos_ray.models.parallel import ContextParallel  # noqa: E402

GRID = Grid(views=7, frames=4, height=4, width=4)
CONFIG = DiTConfig(
    model_channels=256, num_blocks=12, num_heads=2, adaln_lora_dim=64, crossattn_emb_channels=128, state_t=4
)


def network(dtype: torch.dtype) -> MultiviewDiT:
    """Weights N(0, 1/fan_in), gains about 1, rounded to bfloat16 in either dtype."""
    made = MultiviewDiT(CONFIG)
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, parameter in sorted(made.named_parameters()):
        fan_in = parameter.shape[-1] if parameter.dim() > 1 else 64
        drawn = torch.randn(parameter.shape, generator=generator) * fan_in**-0.5 + float(parameter.dim() == 1)
        state[name] = drawn.bfloat16()
    made.load(state)
    return made.to(dtype)


def clip(parallel: ContextParallel, steps: int, dtype: torch.dtype, other_kernel: bool = False) -> np.ndarray:
    """Whole latents [V, L, 64], on every rank. The other kernel (plain matrix products) rounds scores to bfloat16."""
    with attention_by(SDPBackend.MATH) if other_kernel else nullcontext():
        return sample(network(dtype), GRID, steps, parallel)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 8, 35])
    arguments = parser.parse_args()
    report(**machine("torch"))
    for steps in arguments.steps:
        one = run_ranks(1, clip, steps, torch.bfloat16)[0]
        two = run_ranks(2, clip, steps, torch.bfloat16)[0]
        other = run_ranks(1, clip, steps, torch.bfloat16, True)[0]
        exact = run_ranks(1, clip, steps, torch.float32)[0]
        found = {"gang_of_2": two, "other_kernel": other, "float32": exact}
        report(steps=steps, **{what: float(f"{distance(clip, one):.2g}") for what, clip in found.items()})


if __name__ == "__main__":
    main()
