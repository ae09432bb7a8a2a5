"""Libraries that a model takes seconds to import, brought in ahead of loading one. No GPU is touched."""

from __future__ import annotations

import importlib
from typing import Literal

_TEXT = {
    "t5": ("cosmos_ray.models.text.t5", "cosmos_ray.models.text.tokenizer"),
    "reason1": ("cosmos_ray.models.text.reason1", "cosmos_ray.models.text.tokenizer"),
}


def import_network() -> None:
    """torch, and what reads and runs the network: what loading begins with."""
    importlib.import_module("cosmos_ray.models.generator")


def import_others(text_encoder: Literal["t5", "reason1"] | None) -> None:
    """What loading takes beside the network: libraries of the video autoencoder, and of a text encoder."""
    importlib.import_module("cosmos_ray.models.vae.vae")
    for module in _TEXT[text_encoder] if text_encoder else ():
        importlib.import_module(module)
