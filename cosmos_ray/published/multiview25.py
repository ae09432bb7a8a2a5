"""Clips of spec files with the flags of Cosmos-Predict2.5's multiview example: see `inference`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from cosmos_ray.manifest.builders.inference_specs import PredictSpec
from cosmos_ray.published import inference
from cosmos_ray.published.command import run
from cosmos_ray.published.options import refused

MODEL, PUBLISHED = "cosmos-predict2.5-2b-multiview", "2B/auto/multiview"
OVERRIDES = {**inference.COMMON, "inference_type": str, "stack_mode": str}


def parser() -> argparse.ArgumentParser:
    found = inference.build_parser(
        "multiview25.py",
        MODEL,
        PUBLISHED,
        OVERRIDES,
        "-i specs.jsonl -o clips",
        "-i a.json b.json -o clips --num-steps 10",
    )
    why = "null is all that it may be there; the column `negative_prompt` of a manifest says another"
    found.add_argument("--negative-prompt", nargs="?", const="", type=refused(why), help=f"refused: {why}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    return run(parser(), arguments, partial(inference.make, PredictSpec))
