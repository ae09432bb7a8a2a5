"""What tests of the manifest's builders share: files to build from, and manifests read as a job reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row, rows_of

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="")
#: One a view.
CAPTIONS = [f"what camera {k} sees" for k in range(7)]


def put(path: Path, content: Any = "x") -> Path:
    """Bytes and texts as they are, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(manifest: Path) -> list[dict[str, Any]]:
    return rows_of(pq.read_table(manifest))


def clips(manifest: Path) -> list[Clip]:
    found = [clip for row in read(manifest) for clip in clips_of_row(row, DEFAULTS, str(manifest.parent))]
    assert [clip.error for clip in found] == [None] * len(found)
    return found
