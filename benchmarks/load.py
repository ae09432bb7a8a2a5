"""From a new process to the first step, with the model's files on this machine: what takes how long. No Ray.

    python benchmarks/make_published.py /tmp/published-2b --size full [--t5 11b]
    python benchmarks/load.py --model /tmp/published-2b [--device cuda] [--runs 3] [--at-once 2]

The first run fills the node's cache (verifies the files, converts what is pickled) and is told by itself; the others
find it filled, and the files in the page cache. `--at-once`: so many processes load together, each on a GPU of its own,
as ranks of a node do. Prints a line of JSON: median, least and most of each part over runs and processes, in seconds.

    python         to the first line of ours
    imports        torch, diffusers, transformers
    device         the first allocation on it
    network, vae, text encoder
    first call     two steps on one view (a fiftieth of the work on seven), where libraries set themselves up
    second call    the same again, set up

`--calls 0` leaves the last two out, which take minutes on a CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from reporting import machine, report

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.began:
        print(json.dumps(_load(arguments)))
        return
    first, *others = [_processes(arguments) for _ in range(1 + arguments.runs)]
    report(
        cache_empty=_spread(first),
        cached=_spread([process for run in others for process in run]),
        arguments={name: value for name, value in vars(arguments).items() if value is not None},
        **machine("torch", "transformers", "diffusers", "safetensors"),
    )


def _processes(arguments: argparse.Namespace) -> list[dict[str, float]]:
    """One run: what each process says."""
    words = [sys.executable, __file__, "--model", arguments.model, "--device", arguments.device]
    words += ["--calls", str(arguments.calls), "--began"]
    started = [
        subprocess.Popen(
            [*words, repr(time.time())],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": str(number) if arguments.device == "cuda" else ""},
        )
        for number in range(arguments.at_once)
    ]
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("a process failed")
    return [json.loads(answer.splitlines()[-1]) for answer in answers]


def _load(arguments: argparse.Namespace) -> dict[str, float]:
    seconds = {"python": time.time() - arguments.began}
    from cosmos_ray.models.load import load_generator
    from cosmos_ray.models.timing import timed

    with timed(seconds, "imports"):
        import torch

        import cosmos_ray.models.generator  # noqa: F401
    with timed(seconds, "device"):
        torch.zeros(1, device=arguments.device).item()
    from cosmos_ray.models.bundle.bundle import load_bundle

    bundle = load_bundle(arguments.model)
    generator = load_generator(bundle, arguments.device, seconds=seconds)
    seconds["loaded"] = time.time() - arguments.began
    from cosmos_ray.clip.request import ClipRequest

    request = ClipRequest("a", ("a street",), "blurry", 1, 0, seed=0, guidance=7.0, num_steps=1)
    for part in ("first call", "second call")[: arguments.calls]:
        with timed(seconds, part):
            generator.denoise(request)
    return seconds


def _spread(processes: list[dict[str, float]]) -> dict[str, Any]:
    """[median, least, most] of each part."""
    parts = {part: [process[part] for process in processes] for part in processes[0]}
    return {
        part: [round(value, 2) for value in (statistics.median(values), min(values), max(values))]
        for part, values in parts.items()
    }


if __name__ == "__main__":
    main()
