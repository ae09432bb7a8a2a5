"""T5 encoders from checkpoints of whole T5 models: only the encoder is read, mapped, in the dtype asked for."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import T5Config, T5EncoderModel

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import T5Dims
from cosmos_ray.models.checkpoint import select_t5_encoder
from cosmos_ray.models.convert import converted, read_tensors, selected, write_safetensors
from cosmos_ray.models.headers import read_header
from cosmos_ray.models.hub import weight_files
from cosmos_ray.models.weights import fill_random

PAD_ID, EOS_ID = 0, 1


def build_encoder(dims: T5Dims, width: int) -> T5EncoderModel:
    """An encoder of these dimensions with the weights transformers initialises."""
    return T5EncoderModel(_config(dims, width))


def random_encoder(dims: T5Dims, width: int, seed: int) -> T5EncoderModel:
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
    config, files = _parts(path, dims, width)
    with torch.device("meta"):
        encoder = T5EncoderModel(config)
    expected = {
        name: tuple(p.shape) for name, p in encoder.state_dict().items() if name != "encoder.embed_tokens.weight"
    }
    try:
        entries = {name: entry for file in files for name, entry in read_header(file).tensors.items()}
    except ValueError as error:
        raise UsageError(f"text encoder {path}: {error}") from error
    selection = select_t5_encoder({name: entry.shape for name, entry in entries.items()}, expected)
    if selection.faults:
        raise UsageError(f"text encoder {path}: {'; '.join(selection.faults)}")
    wanted = str(dtype).removeprefix("torch.")
    as_wanted = all(entries[name].dtype == wanted for name in selection.names.values())
    if as_wanted and [file.suffix for file in files] == [".safetensors"]:
        state = read_tensors(files[0], selection.names)
    else:
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        target = converted(
            {"source": source or json.dumps(stats), "part": "text_encoder", "prefix": None, "dtype": wanted},
            lambda scratch: write_safetensors(scratch, selected(files, selection.names), dtype),
        )
        state = read_tensors(target, {name: name for name in expected})
    encoder.load_state_dict(state | {"encoder.embed_tokens.weight": state["shared.weight"]}, strict=True, assign=True)
    encoder.set_input_embeddings(encoder.shared)  # one table again, not two of the same memory
    return encoder


def _parts(path: Path, dims: T5Dims | None, width: int) -> tuple[T5Config, list[Path]]:
    """Configuration and weights files."""
    if path.is_dir():
        try:
            said = json.loads((path / "config.json").read_text())
            config = T5Config(**said)
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"text encoder {path}: found no readable config.json ({type(error).__name__})") from error
        files = weight_files(path)
        if not files:
            raise UsageError(f"text encoder {path}: found neither model.safetensors nor pytorch_model.bin (all shards)")
        return config, files
    if dims is None:
        raise UsageError(f"text encoder {path}: one weights file needs the bundle's `text_encoder` dimensions")
    return _config(dims, width), [path]


def _config(dims: T5Dims, width: int) -> T5Config:
    return T5Config(d_model=width, pad_token_id=PAD_ID, eos_token_id=EOS_ID, dropout_rate=0.0, **dims.model_dump())
