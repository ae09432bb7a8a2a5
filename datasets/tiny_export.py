"""Put a trained tiny model in place: bfloat16 weights, their hashes, `bundle.json`, model card.

    python datasets/tiny_export.py --carry STATE/carry --out cosmos_ray/models/bundle/built_in/tiny

Needs the small files of a state folder only (`tiny_state`); the averaged weights are the ones that are shipped. Also
writes benchmarks/tiny_judge.safetensors (--judge), which `benchmarks/tiny_quality.py` scores with.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, Bundle, parse_bundle
from cosmos_ray.models.bundle.cache import file_sha256
from cosmos_ray.models.bundle.dims import T5Dims
from cosmos_ray.models.bundle.shapes import dit_shapes, t5_shapes, vae_shapes

REPOSITORY = Path(__file__).resolve().parents[1]
LIMIT = 20_000_000  # bytes, of all weights together

CARD = """---
license: apache-2.0
---

# tiny: a small world model of the sample drive

The architecture of Cosmos-Predict2 Multiview in miniature, trained from nothing on the rendered street of
`datasets/sample_drive.py`: seven cameras of 64 x 112 pixels, 29 frames. It exists so that the whole line of cosmos_ray
runs, and can be judged, on a laptop. It knows that street and no other: no real pictures, no real people, no data but
what the renderer drew.

| part | parameters | file |
|---|---|---|
{parts}

All are bfloat16, {megabytes:.1f} MB together.

- **Modes**: from a caption alone, from one frame, from five frames a view. One caption (for view 0), or one a view.
- **Captions** it understands are those that `caption` and `view_captions` of the sample drive write: day, dusk or
  rain; up to three cars, red, blue, yellow or white; ahead, behind, passing left or right, oncoming.
- **Negative prompt**: the one in `bundle.json` was what a tenth of the training clips had instead of a caption.

## Training

`python datasets/train_tiny.py`, see `datasets/README.md`. {training}

## Licence

Apache-2.0, weights too.
"""


def export(carry: Path, out: Path, bundle: Bundle, judge: Path | None = None) -> None:
    """Write the bundle's folder. ValueError if a file lacks weights, or all are too large together."""
    out.mkdir(parents=True, exist_ok=True)
    text = {
        name.removeprefix("average."): tensor
        for name, tensor in load_file(carry / "text.safetensors").items()
        if name.startswith("average.")
    }
    dims = bundle.text_encoder
    if not isinstance(dims, T5Dims):
        raise ValueError(f"bundle `{bundle.name}` says no dimensions of its text encoder")
    weights = {
        "dit": ({f"net.{n}": t for n, t in load_file(carry / "dit_average.safetensors").items()}, "net."),
        "vae": (load_file(carry / "vae.safetensors"), ""),
        "text_encoder": (text, ""),
    }
    shapes = {
        "dit": dit_shapes(bundle.network),
        "vae": vae_shapes(bundle.vae),
        "text_encoder": t5_shapes(dims, bundle.text_width),
    }
    said = json.loads(bundle.model_dump_json())
    total, parts = 0, []
    for kind, (tensors, prefix) in weights.items():
        expected = {prefix + name: tuple(shape) for name, shape in shapes[kind].items()}
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if found != expected:
            raise ValueError(f"{kind}: {sorted(set(found.items()) ^ set(expected.items()))[:4]} do not fit the bundle")
        path = out / f"{kind}.safetensors"
        save_file({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}, path)
        path.chmod(0o644)
        total += path.stat().st_size
        parts.append(f"| {kind} | {sum(t.numel() for t in tensors.values()):,} | `{path.name}` |")
        said["files"][kind] = {"uri": path.name, "sha256": file_sha256(path)}
    if total > LIMIT:
        raise ValueError(f"{total:,} bytes of weights, expected at most {LIMIT:,}")
    tokenizer = out / "tokenizer.json"
    if tokenizer.resolve() != (BUILT_IN_FOLDER / "tiny" / "tokenizer.json").resolve():
        shutil.copyfile(BUILT_IN_FOLDER / "tiny" / "tokenizer.json", tokenizer)
    said["files"]["tokenizer"] = {"uri": tokenizer.name, "sha256": file_sha256(tokenizer)}
    # What the weights are stored as, so that nothing is converted on first use.
    said["text_encoder_dtype"] = "bfloat16"
    document = json.dumps(said, indent=2) + "\n"
    parse_bundle(document, str(out))
    (out / "bundle.json").write_text(document)
    progress = json.loads((carry / "progress.json").read_text())
    training = (
        f"{progress['clips']:,} rendered clips; {progress['steps']['vae']:,} steps of the autoencoder, "
        f"{progress['steps']['dit']:,} of network and text encoder together."
    )
    card = CARD.format(parts="\n".join(parts), megabytes=total / 1e6, training=training)
    (out / "README.md").write_text(card)
    if judge is not None:
        shutil.copyfile(carry / "judge.safetensors", judge)
        judge.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--carry", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--judge", type=Path, default=REPOSITORY / "benchmarks" / "tiny_judge.safetensors")
    arguments = parser.parse_args()
    source = json.loads((BUILT_IN_FOLDER / "tiny" / "bundle.json").read_text())
    export(arguments.carry, arguments.out, parse_bundle(json.dumps(source), ""), arguments.judge)
    print(arguments.out)


if __name__ == "__main__":
    main()
