"""What a checkpoint of Cosmos-Reason1 (or another Qwen2) consists of: dimensions, files, and the text tower in them.

No torch, no Ray.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_ray.models.bundle.checkpoint import Selection, select_text_tower
from cosmos_ray.models.bundle.dims import Qwen2Dims
from cosmos_ray.models.bundle.headers import Header, read_header
from cosmos_ray.models.bundle.hub import weight_files
from cosmos_ray.models.bundle.shapes import qwen2_shapes
from cosmos_ray.store.regular import read_object


@dataclass(frozen=True)
class Qwen2Files:
    """files: of the weights. header: of all of them. selection: the text tower in it."""

    dims: Qwen2Dims
    files: tuple[Path, ...]
    header: Header
    selection: Selection


def read_qwen2(path: Path, dims: Qwen2Dims | None, raw_width: int | None) -> Qwen2Files:
    """Of a folder in Hugging Face layout, or of one weights file with the dimensions that the bundle gives.

    raw_width: layers x hidden width, as the network's layer for text takes it. ValueError if it is neither, or of
    another width; missing and misshapen tensors are the selection's faults.
    """
    if path.is_dir():
        dims = read_dims(path)
        files = tuple(weight_files(path))
        if not files:
            raise ValueError("found neither model.safetensors nor pytorch_model.bin (all shards)")
    elif dims is not None:
        files = (path,)
    else:
        raise ValueError("one weights file needs the bundle's `text_encoder` dimensions")
    if dims.num_hidden_layers * dims.hidden_size != raw_width:
        raise ValueError(
            f"the text encoder has {dims.num_hidden_layers} layers of {dims.hidden_size}, expected {raw_width} in all "
            "(network.crossattn_proj_in_channels)"
        )
    header = Header({name: entry for file in files for name, entry in read_header(file).tensors.items()})
    return Qwen2Files(dims, files, header, select_text_tower(header.shapes, qwen2_shapes(dims)))


def read_dims(folder: Path) -> Qwen2Dims:
    """By a folder's config.json. ValueError if it is not that of a Qwen2, or of a model with one in it."""
    try:
        config: Mapping[str, Any] = read_object(folder / "config.json")
        if not re.match("qwen2", str(config["model_type"])):
            raise ValueError(f"model_type {config['model_type']!r}")
        config = {**config, **(config.get("text_config") or {})}
        theta = config.get("rope_theta") or (config.get("rope_parameters") or {})["rope_theta"]
        names = Qwen2Dims.model_fields.keys() - {"rope_theta"}
        return Qwen2Dims(rope_theta=theta, **{name: config[name] for name in names if name in config})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"found no readable config.json of a Qwen2 ({type(error).__name__})") from error
