"""T5 encoders from checkpoints of whole T5 models: only the encoder is read, mapped, in the dtype asked for."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import T5Config, T5EncoderModel

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.convert import load_selected
from cosmos_ray.models.bundle.dims import T5Dims
from cosmos_ray.models.bundle.t5_files import config_of, read_t5
from cosmos_ray.models.bundle.weights import fill_random


def build_encoder(dims: T5Dims, width: int) -> T5EncoderModel:
    """An encoder of these dimensions with the weights transformers initialises."""
    return T5EncoderModel(T5Config(**config_of(dims, width)))


def random_encoder(dims: T5Dims, width: int, seed: int) -> T5EncoderModel:
    """With weights drawn from `seed`, the same on every machine."""
    encoder = build_encoder(dims, width)
    fill_random(encoder, seed)
    return encoder


def load_encoder(
    path: Path,
    dims: T5Dims | None,
    width: int,
    dtype: torch.dtype = torch.float32,
    source: str | None = None,
) -> T5EncoderModel:
    """From a folder in Hugging Face layout, or one weights file whose dimensions the bundle gives.

    Files that have more than the encoder in `dtype` are converted into the node's cache once. source: what fixes their
    content (default: path, sizes and times). UsageError lists missing and misshapen parameters.
    """
    try:
        checkpoint = read_t5(path, dims, width)
        config = T5Config(**checkpoint.config)
    except (ValueError, TypeError) as error:
        raise UsageError(f"text encoder {path}: {error}") from error
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in checkpoint.files]
    state = load_selected(
        f"text encoder {path}",
        "text_encoder",
        checkpoint.files,
        source or json.dumps(stats),
        checkpoint.header,
        checkpoint.selection,
        dtype,
    )
    with torch.device("meta"):
        encoder = T5EncoderModel(config)
    encoder.load_state_dict(state | {"encoder.embed_tokens.weight": state["shared.weight"]}, strict=True, assign=True)
    encoder.set_input_embeddings(encoder.shared)  # one table again, not two of the same memory
    return encoder
