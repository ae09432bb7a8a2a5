"""What a T5 checkpoint consists of: dimensions, weights files, and which of their tensors are the encoder's.

No torch, no Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_ray.models.bundle.checkpoint import Selection, select_t5_encoder
from cosmos_ray.models.bundle.dims import T5Dims
from cosmos_ray.models.bundle.headers import Header, read_header
from cosmos_ray.models.bundle.hub import weight_files
from cosmos_ray.models.bundle.shapes import Shapes, t5_shapes
from cosmos_ray.store.regular import read_object

PAD_ID, EOS_ID = 0, 1


@dataclass(frozen=True)
class T5Files:
    """config: in transformers' words. files: of the weights. header: of all of them. selection: the encoder in it."""

    config: Mapping[str, Any]
    files: tuple[Path, ...]
    header: Header
    selection: Selection


def read_t5(path: Path, dims: T5Dims | None, width: int) -> T5Files:
    """Of a folder in Hugging Face layout, or of one weights file with the dimensions that the bundle gives.

    ValueError if it is neither, or of another width; missing and misshapen tensors are the selection's faults.
    """
    if path.is_dir():
        config = read_config(path)
        if config["d_model"] != width:
            raise ValueError(
                f"the text encoder is {config['d_model']} wide, expected {width} (network.crossattn_emb_channels)"
            )
        files = tuple(weight_files(path))
        if not files:
            raise ValueError("found neither model.safetensors nor pytorch_model.bin (all shards)")
    elif dims is not None:
        config, files = config_of(dims, width), (path,)
    else:
        raise ValueError("one weights file needs the bundle's `text_encoder` dimensions")
    header = Header({name: entry for file in files for name, entry in read_header(file).tensors.items()})
    return T5Files(config, files, header, select_t5_encoder(header.shapes, encoder_shapes(config)))


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's config.json. ValueError if it is not that of a T5."""
    try:
        config = read_object(folder / "config.json")
        encoder_shapes(config)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"found no readable config.json of a T5 ({type(error).__name__})") from error
    return dict(config)


def config_of(dims: T5Dims, width: int) -> dict[str, Any]:
    """What a T5's `config.json` would say."""
    return {
        "d_model": width,
        "pad_token_id": PAD_ID,
        "eos_token_id": EOS_ID,
        "dropout_rate": 0.0,
        **dims.model_dump(),
    }


def encoder_shapes(config: Mapping[str, Any]) -> Shapes:
    """Of the encoder that a `config.json` describes."""
    dims = T5Dims(**{name: config[name] for name in T5Dims.model_fields})
    gated = str(config.get("feed_forward_proj", "relu")).startswith("gated")
    return t5_shapes(dims, int(config["d_model"]), gated=gated)
