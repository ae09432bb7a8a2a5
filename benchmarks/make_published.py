"""A bundle whose files are like the published ones (names, shapes, prefixes, dtypes, extras), with random values.

    python benchmarks/make_published.py OUT --size full [--blocks 4] [--t5 11b|small] [--numerics reference|float32]
    python benchmarks/make_published.py OUT --size full --model cosmos-transfer2.5-2b-multiview [--reason1 7b|small]

`full`: of the 2B multiview model, the DiT as a 3.9 GB bfloat16 `.pt`, the Wan 2.1 VAE as a 0.5 GB `.pth`; `small`: the
same in miniature. `--model`: any published one of one network (`cosmos-ray model list`; of 14B, a `.pt` of 29 GB).
`--blocks`: of the network (28 at full size), where what is round it is to be measured in less time.
Needs torch; no Ray, no diffusers, no transformers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import published_weights as published  # type: ignore[import-not-found]  # noqa: E402

from cosmos_ray.models.bundle.bundle import load_bundle  # noqa: E402
from cosmos_ray.models.bundle.cache import content_sha256  # noqa: E402

MULTIVIEW = "cosmos-predict2-2b-multiview"
#: What makes a network small.
_WIDTHS = ("model_channels", "num_blocks", "num_heads", "adaln_lora_dim", "crossattn_emb_channels")


def make(out: Path, size: str, text: str, numerics: str, blocks: int | None = None, model: str = MULTIVIEW) -> Path:
    """Writes the bundle; its `bundle.json`. text: `11b`, `7b` or `small`, the size of the family's text encoder."""
    like = load_bundle(model)
    tiny = load_bundle("tiny")
    is_small = size == "small"
    small = {width: getattr(published.SMALL_NETWORK, width) for width in _WIDTHS}
    network = like.network.model_copy(update=small if is_small else {})
    network = network.model_copy(update={"num_blocks": blocks or network.num_blocks})
    if like.recipe.text_encoder == "reason1":
        dims = published.REASON1_7B if text == "7b" else published.SMALL_QWEN2
        raw = dims.num_hidden_layers * dims.hidden_size
        network = network.model_copy(update={"crossattn_proj_in_channels": raw})
    vae = published.SMALL_VAE if is_small else like.vae
    out.mkdir(parents=True, exist_ok=True)
    _timed("dit.pt", lambda: torch.save(published.dit_state(network), out / "dit.pt"))
    _timed("vae.pth", lambda: torch.save(published.vae_state(vae), out / "vae.pth"))
    tokenizer = Path(tiny.root, "tokenizer.json")
    if like.recipe.text_encoder == "reason1":
        folder = "reason1"
        _timed(folder, lambda: published.write_reason1_folder(out / folder, dims, tokenizer))
    else:
        folder = "t5"
        _timed(folder, lambda: _write_t5(out / folder, text, network.crossattn_emb_channels, tokenizer))
    shutil.copy(tokenizer, out / "tokenizer.json")
    uris = {"dit": "dit.pt", "vae": "vae.pth", "text_encoder": folder, "tokenizer": "tokenizer.json"}
    hashes: dict[str, str] = {}
    _timed("hashes", lambda: hashes.update({kind: content_sha256(out / uri) for kind, uri in uris.items()}))
    spec = like.model_dump(mode="json") | {
        "name": f"{size}-{like.name}",
        "network": network.model_dump(),
        "vae": vae.model_dump(),
        "numerics": numerics,
        "files": {kind: {"uri": uri, "sha256": hashes[kind]} for kind, uri in uris.items()},
    }
    if is_small:
        spec |= {"height": 64, "width": 112, "state_t": min(like.state_t, 8)}
    path = out / "bundle.json"
    path.write_text(json.dumps(spec, indent=1))
    return path


def _write_t5(folder: Path, text: str, width: int, tokenizer: Path) -> None:
    is_whole = text == "small"  # of the 11B model, the encoder alone is 9.7 GB in bfloat16
    dims = published.SMALL_T5 if is_whole else published.T5_11B
    dtype = torch.float32 if is_whole else torch.bfloat16
    published.write_t5_folder(folder, dims, width, tokenizer, dtype, decoder=is_whole)


def _timed(what: str, work: Callable[[], object]) -> None:
    started = time.monotonic()
    work()
    print(f"{what}: {time.monotonic() - started:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--t5", choices=("small", "11b"), default="small")
    parser.add_argument("--reason1", choices=("small", "7b"), default="small")
    parser.add_argument("--model", default=MULTIVIEW)
    parser.add_argument("--numerics", choices=("reference", "float32"), default="reference")
    parser.add_argument("--blocks", type=int)
    arguments = parser.parse_args()
    is_reason1 = load_bundle(arguments.model).recipe.text_encoder == "reason1"
    text = arguments.reason1 if is_reason1 else arguments.t5
    found = make(arguments.out, arguments.size, text, arguments.numerics, arguments.blocks, arguments.model)
    print(found)


if __name__ == "__main__":
    main()
