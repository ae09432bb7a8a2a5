"""How good are the tiny model's videos at a sampling setting? On scenes and seeds that nothing was trained on.

    python benchmarks/tiny_quality.py [--model tiny] [--steps 10] [--guidance 3] [--clips 8]
        [--approximations "guidance_interval: [0, 0.6], attention: fp8"] [--only video2world captions]
        [--json scores.json] [--device cuda]

Prints a table and writes JSON. The parts:

    rendered      the metrics on rendered clips, the judge on their reconstructions: the best one can score
    likeness      PSNR and SSIM against the same seed's video at --reference-steps, without approximations
    image2world   the first frame against the one given, beside the autoencoder's own error
    video2world   frames 5 to 12 against the drive as it went on, beside repeating the last frame (goal: +4 dB)
    captions      from text alone: palette (goal: 95 %), number and colours of cars (goal: 70 %)
    views         neighbouring cameras at their seams, a passing car from one to the next; beside shuffled views
    guidance      7 against 0
    ranks         one seed on 1, 2, 4 and 8 CPU processes

The judge of cars is benchmarks/tiny_judge.safetensors; without it, its columns are missing.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch
from approximations import approximations_of
from tiny_scores import Setting, load_judge, parts

from cosmos_ray import Generator
from cosmos_ray.clip.approximations import EXACT
from cosmos_ray.models.bundle.bundle import load_bundle

PARTS = ("rendered", "likeness", "image2world", "video2world", "captions", "views", "guidance", "ranks")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="name, folder or URI of a bundle")
    parser.add_argument("--judge", type=Path, default=Path(__file__).with_name("tiny_judge.safetensors"))
    parser.add_argument("--steps", type=int, help="default: the bundle's")
    parser.add_argument("--guidance", type=float, help="default: the bundle's")
    parser.add_argument(
        "--approximations", type=approximations_of, default=EXACT, metavar="YAML", help="as under `sampling`"
    )
    parser.add_argument("--reference-steps", type=int, default=35)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()

    bundle = load_bundle(arguments.model)
    sampling = bundle.sampling
    strength = sampling.guidance if arguments.guidance is None else arguments.guidance
    approximations = arguments.approximations
    setting = Setting(arguments.steps or sampling.num_steps, strength, arguments.seed, approximations)
    reference = Setting(arguments.reference_steps, strength, arguments.seed)
    generator = Generator.load(bundle, arguments.device)
    judge = load_judge(arguments.judge, bundle.vae.z_dim)
    result: dict[str, object] = {
        "model": bundle.name,
        "fingerprint": bundle.fingerprint,
        "setting": vars(setting) | {"approximations": approximations.chosen},
        "reference": vars(reference) | {"approximations": {}},
        "clips": arguments.clips,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else platform.machine(),
        "scores": (scores := {}),
        "seconds": (seconds := {}),
    }
    calls = parts(generator, arguments.model, setting, reference, judge, arguments.clips)
    for name in arguments.only:
        start = time.monotonic()
        scores[name] = calls[name]()
        seconds[name] = round(time.monotonic() - start, 1)
        for column, value in scores[name].items():
            print(f"{name:12} {column:32} {value:10.3f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
