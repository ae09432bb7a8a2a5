"""The tiny model's `bundle.json` with random weights, for tests that change its sizes or have no need of its files."""

from __future__ import annotations

import json
from typing import Any

from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, Bundle, parse_bundle

TINY = BUILT_IN_FOLDER / "tiny"


def random_tiny_spec() -> dict[str, Any]:
    spec = json.loads((TINY / "bundle.json").read_text())
    spec["files"] |= {kind: {"random_seed": seed} for seed, kind in enumerate(("dit", "vae", "text_encoder"), start=1)}
    return spec


def random_tiny() -> Bundle:
    return parse_bundle(json.dumps(random_tiny_spec()), str(TINY))
