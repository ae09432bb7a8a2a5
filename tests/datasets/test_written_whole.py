"""What the recipes for inputs write takes its place whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from make_sample import write_manifest, write_views

from cosmos_ray.clip.request import VIEWS


def test_who_reads_what_is_written_again_has_it_whole(tmp_path: Path) -> None:
    """As does whoever comes after a kill: a file takes its place when it is whole."""
    rows = [{"id": "a", "prompt": ["a road"]}]
    write_manifest(tmp_path / "m.parquet", rows)
    frames = {view: np.zeros((3, 32, 56, 3), np.uint8) for view in VIEWS}
    write_views(tmp_path, frames, 10)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    opened = {path: path.open("rb") for path in before}
    write_manifest(tmp_path / "m.parquet", [*rows, {"id": "b", "prompt": ["a street"]}])
    write_views(tmp_path, {view: 255 - shown for view, shown in frames.items()}, 10)
    for path, file in opened.items():
        with file:
            assert file.read() == before[path]
        assert path.read_bytes() != before[path]
