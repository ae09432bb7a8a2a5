"""Predict2.5 on the GPUs of one machine: its float32 parts against float64, and what a clip's passes cost.

    python benchmarks/predict25.py islands
    python benchmarks/predict25.py passes --bundle FOLDER [--other FOLDER] [--gang-sizes 1 4] [--steps 4]

`islands`: a network of four blocks of full width on a reduced grid, in the reference's numerics, with TF32 allowed in
its float32 parts and without, against the same weights in float64: the largest and the mean error of the velocity.
`passes`: seconds to load, of a pass under two texts, memory of rank 0, and efficiency of gangs, of one bundle and of
another beside it (`make_published.py --family predict2.5`, and `predict2`). Lines of JSON.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import Any

import torch
from reporting import machine, report

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.ranks import run_ranks  # type: ignore[import-not-found]  # noqa: E402

from cosmos_ray.clip.request import ClipRequest  # noqa: E402
from cosmos_ray.models.bundle.bundle import load_bundle  # noqa: E402
from cosmos_ray.models.bundle.weights import random_state_dict  # noqa: E402
from cosmos_ray.models.generator import Generator  # noqa: E402
from cosmos_ray.models.network.dit import DiTConfig, MultiviewDiT  # noqa: E402
from cosmos_ray.models.parallel import ContextParallel  # noqa: E402

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


def passes_on_rank(parallel: ContextParallel, folder: str, steps: int, device: str) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    bundle = load_bundle(folder)
    generator = Generator.load(bundle, device, parallel, seconds=seconds)
    plain = ClipRequest("a", ("A street.",), "ugly", bundle.n_views, 0, seed=0, guidance=3.0, num_steps=1)
    # Every rank draws the same text: only the first has the encoder.
    width = bundle.text_width
    import numpy as np

    from cosmos_ray.clip.request import ClipText

    window = np.random.RandomState(0).standard_normal((512, width)).astype(np.float32)
    text = ClipText((window,) * bundle.n_views, (window[::-1].copy(),) + (window,) * (bundle.n_views - 1))
    request = ClipRequest(**{**vars(plain), "text": text})
    generator.denoise(request)  # warm
    marks = [time.monotonic()]

    def on_step(*_: int) -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        marks.append(time.monotonic())

    generator.denoise(ClipRequest(**{**vars(request), "num_steps": steps}), on_step=on_step)
    each = [after - before for before, after in itertools.pairwise(marks)]
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    return {"load_s": seconds, "pass_s": each, "peak_memory_gib": round(memory / 2**30, 1)}


def passes(folders: list[str], gang_sizes: list[int], steps: int, device: str) -> None:
    for folder in folders:
        bundle, one_s = load_bundle(folder), None
        for size in gang_sizes:
            backend = "nccl" if device == "cuda" else "gloo"
            found = run_ranks(size, passes_on_rank, folder, steps, device, backend=backend)[0]
            pass_s = sorted(found["pass_s"])[len(found["pass_s"]) // 2]
            one_s = one_s or pass_s * size
            clip_s = pass_s * bundle.recipe.passes(35)
            efficiency = round(one_s / pass_s / size, 3)
            report(model=bundle.name, gang_size=size, pass_s=pass_s, clip_of_35_steps_s=round(clip_s, 1),
                   efficiency=efficiency, passes=found["pass_s"], load_s=found["load_s"],
                   peak_memory_gib=found["peak_memory_gib"])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("islands", "passes"))
    parser.add_argument("--bundle")
    parser.add_argument("--other")
    parser.add_argument("--gang-sizes", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    report(**machine("torch"))
    if arguments.what == "islands":
        islands(arguments.device)
    else:
        folders = [folder for folder in (arguments.bundle, arguments.other) if folder]
        passes(folders, arguments.gang_sizes, arguments.steps, arguments.device)


if __name__ == "__main__":
    main()
