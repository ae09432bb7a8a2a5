"""`--use_lora` of the published command lines: adapters (LoRA) of one's own, merged before the job begins.

The merged network is written once, beside the result, where every node reads it; its folder is named by what it is made
of, so that the same command finds it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import posixpath
from typing import Any

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import DitPrefix, load_bundle
from cosmos_ray.models.bundle.shapes import dit_shapes
from cosmos_ray.published.options import between, version_of
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri

#: Of the published training.
RANK, ALPHA = 16, 16.0


def add_lora(parser: Any) -> None:
    """What the published `video2world_lora.py` must be told."""
    add = parser.add_argument
    add("--use_lora", action="store_true", help="--dit_path holds a network with adapters (LoRA), which are merged")
    add("--lora_rank", type=between(int, 1, 4096), default=RANK, help="of the adapters, as in training")
    add("--lora_alpha", type=between(float, 0, 65536), default=ALPHA, help="of the adapters, as in training")


def merged_dit(flags: argparse.Namespace, model: str) -> str | None:
    """The checkpoint that a job is to take: --dit_path, or what is merged of it; None if there is none."""
    if not flags.use_lora:
        if (flags.lora_rank, flags.lora_alpha) != (RANK, ALPHA):
            raise UsageError("--lora_rank, --lora_alpha: found without --use_lora, which merges what they are of")
        return flags.dit_path or None
    if not flags.dit_path:
        raise UsageError("--use_lora: found without --dit_path, expected the file of the network with its adapters")
    from cosmos_ray.models.bundle.lora import MERGED, merge

    prefix: DitPrefix = "net_ema." if flags.load_ema else "net."
    version = version_of(flags.dit_path)
    facts = [normalise_uri(flags.dit_path), version, flags.lora_rank, flags.lora_alpha, prefix, model]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    folder = Storage(f"{posixpath.splitext(normalise_uri(flags.save_path))[0]}.work/merged-{key}")
    if folder.exists(MERGED):
        return folder.uri_of(MERGED)
    shapes = dit_shapes(load_bundle(model).network)
    return merge(flags.dit_path, int(flags.lora_rank), flags.lora_alpha, shapes, folder, prefix=prefix)
