"""The float32 parts of Predict2.5's network against float64, with TF32 and without. One GPU.

    python benchmarks/predict25.py

A network of four blocks of full width on a reduced grid, in the reference's numerics, with TF32 allowed in its float32
parts and without, against the same weights in float64: the largest and the mean error of the velocity. Lines of JSON.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from reporting import machine, report

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


from cosmos_ray.models.bundle.bundle import load_bundle  # noqa: E402
from cosmos_ray.models.bundle.weights import random_state_dict  # noqa: E402
from cosmos_ray.models.network.dit import DiTConfig, MultiviewDiT  # noqa: E402

#: Patches of the reduced grid: frames, rows, columns.
FRAMES, ROWS, COLUMNS, VIEWS = 8, 12, 20, 7


def islands(device: str, blocks: int = 4) -> None:
    """A line for each way of the float32 parts."""
    dims = load_bundle("cosmos-predict2.5-2b-multiview").network.model_dump() | {"num_blocks": blocks}
    recipe = {"rope_enable_fps_modulation": False, "use_wan_fp32_strategy": True}
    network = MultiviewDiT(DiTConfig(state_t=FRAMES, **dims, **recipe))
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    weights = {name: x.to(torch.bfloat16) for name, x in random_state_dict(shapes, seed=1).items()}
    draw = torch.Generator().manual_seed(2)
    frames = (1, 16, VIEWS * FRAMES, 2 * ROWS, 2 * COLUMNS)
    x = torch.randn(frames, generator=draw).to(torch.bfloat16)
    text = torch.randn((1, VIEWS * 512, dims["crossattn_emb_channels"]), generator=draw).to(torch.bfloat16)
    mask = torch.zeros_like(x[:, :1])

    def velocity(dtype: torch.dtype, timestep: int, where: str) -> torch.Tensor:
        network.load({name: tensor.to(where, dtype) for name, tensor in weights.items()})
        arguments = (each.to(where, dtype) for each in (x, text, mask))
        latents, context, given = arguments
        times = torch.tensor([[timestep]], device=where) * 0.001
        with torch.no_grad():
            return network(latents, times, context, given, fps=24.0).double().cpu()

    for timestep in (999, 600, 128):
        exact = velocity(torch.float64, timestep, device)
        for allow in (False, True):
            torch.backends.cuda.matmul.allow_tf32 = allow
            off = (velocity(torch.bfloat16, timestep, device) - exact).abs()
            report(timestep=timestep, tf32=allow, largest=off.max().item(), mean=off.mean().item())
    torch.backends.cuda.matmul.allow_tf32 = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    report(**machine("torch"))
    islands(arguments.device)


if __name__ == "__main__":
    main()
