"""What the tables of an output are read with elsewhere, each the real one: `datasets`, pandas, polars, DuckDB."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.outcomes import DEFAULTS, EMPTY, clips, settle

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output import index
from cosmos_ray.output.index import write_tables
from cosmos_ray.store.storage import Storage

VIDEOS = {"front_wide": "f.mp4", "cross_right": "c.mp4"}
MAP = pa.map_(pa.string(), pa.string())
#: Columns of a manifest, beside `id` and `prompt`: what strangers' manifests have.
CARRIED: dict[str, tuple[pa.DataType, Any]] = {
    "n_views": (pa.int32(), 2),
    "input_videos": (MAP, list(VIDEOS.items())),
    "tags": (pa.list_(MAP), [[("by", "me")], []]),
    "rig": (pa.struct([("lens", MAP)]), {"lens": [("mm", "35")]}),
    "weather": (pa.dictionary(pa.int32(), pa.string()), "rain"),
    "speed": (pa.float32(), 4.5),
    "seed": (pa.int64(), 2**31),
    "seconds": (pa.string(), "a stranger's"),
    "__filename": (pa.string(), "x"),
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an output whose first batch of rows has no failure and whose last has no clip that was made."""
    folder = tmp_path_factory.mktemp("tables")
    ids = ["a", "b", "c", "d"]
    columns = {name: pa.array([value] * len(ids), kind) for name, (kind, value) in CARRIED.items()}
    pq.write_table(pa.table({"id": ids, "prompt": [f"Street {one}." for one in ids], **columns}), folder / "m.parquet")
    output = Storage(str(folder / "out"))
    for clip_id, clip in clips(str(folder / "m.parquet")).items():
        settle(output, clip, "oom" if clip_id > "b" else None, warnings=("cropped",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_ROWS_A_BATCH", 2)
        write_tables(folder, output, open_manifest(str(folder / "m.parquet")), DEFAULTS, Ledger(output).state())
    return folder


def by_datasets(path: Path) -> list[dict[str, Any]]:
    datasets = pytest.importorskip("datasets")
    os.environ["HF_HUB_OFFLINE"] = "1"
    datasets.disable_progress_bars()
    found = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(path.parent / "cache"))["train"]
    return list(found)


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "datasets": by_datasets,
    "pandas": lambda path: list(pd.read_parquet(path).to_dict("records")),
    "polars": lambda path: pl.read_parquet(path).to_dicts(),
    "duckdb": lambda path: duckdb.read_parquet(str(path)).to_arrow_table().to_pylist(),
}


def pairs(found: Any) -> dict[str, str]:
    return {one["key"]: one["value"] for one in found}


@pytest.mark.parametrize("reader", READERS)
def test_the_index_is_read(tables: Path, reader: str) -> None:
    rows = READERS[reader](tables / "index.parquet")
    assert [row["id"] for row in rows] == ["a", "b"]
    first = rows[0]
    assert first["video_front_wide"] == "clips/a/1/front_wide.mp4"
    assert first["sha256"]["rear"] == "sha of rear"
    assert (first["seed"], list(first["warnings"])) == (2**31, ["cropped"])
    assert (first["prompt"], first["weather"], first["speed"]) == ("Street a.", "rain", 4.5)
    assert pairs(first["input_videos"]) == VIDEOS
    assert [pairs(one) for one in first["tags"]] == [{"by": "me"}, {}]
    assert pairs(first["rig"]["lens"]) == {"mm": "35"}
    assert (first["manifest_seconds"], first["manifest___filename"]) == ("a stranger's", "x")


@pytest.mark.parametrize("reader", READERS)
def test_the_failures_are_read(tables: Path, reader: str) -> None:
    rows = READERS[reader](tables / "failures.parquet")
    assert [(row["id"], row["class"], row["error"], row["attempts"]) for row in rows] == [
        ("c", "oom", "why", 1),
        ("d", "oom", "why", 1),
    ]
    assert pairs(rows[0]["input_videos"]) == VIDEOS


def test_of_nothing_all_but_one_read_a_table_without_rows(tables: Path, tmp_path: Path) -> None:
    """`datasets` refuses any file without rows."""
    manifest = open_manifest(str(tables / "m.parquet"))
    write_tables(tmp_path, Storage(str(tmp_path / "none")), manifest, DEFAULTS, EMPTY)
    for name in ("index.parquet", "failures.parquet"):
        for reader in ("pandas", "polars", "duckdb"):
            assert READERS[reader](tmp_path / name) == []
