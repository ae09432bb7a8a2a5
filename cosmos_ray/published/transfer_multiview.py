"""Clips of spec files with the flags of Cosmos-Transfer2.5's multiview example: see `inference`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from cosmos_ray.manifest.builders.inference_specs import TransferSpec
from cosmos_ray.published import inference
from cosmos_ray.published.command import run

MODEL, PUBLISHED = "cosmos-transfer2.5-2b-multiview", "2B/auto/multiview"
OVERRIDES = {**inference.COMMON, "num_conditional_frames": int, "save_combined_views": bool}


def parser() -> argparse.ArgumentParser:
    return inference.build_parser(
        "transfer_multiview.py",
        MODEL,
        PUBLISHED,
        OVERRIDES,
        "-i spec.json -o clips",
        "-i spec.json -o clips --control-weight 0.5",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    return run(parser(), arguments, partial(inference.make, TransferSpec))
