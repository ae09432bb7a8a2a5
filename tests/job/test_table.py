"""A DataFrame as manifest: kept in the output, with paths that mean what they meant where it was made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cosmos_ray import GenerateConfig
from cosmos_ray.errors import LeaseHeld, ManifestError
from cosmos_ray.job import table as table_module
from cosmos_ray.job.table import keep
from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.store.storage import Storage

ROWS = pd.DataFrame({"id": ["a", "b"], "prompt": ["p", "q"], "seed": [1, None], "town": ["x", "y"]})


def test_a_configuration_takes_a_frame(tmp_path: Path) -> None:
    config = GenerateConfig(manifest=ROWS, output=tmp_path / "out")
    assert config.table is ROWS
    assert config.output == str(tmp_path / "out")
    assert config.model_copy(update={"manifest": "m"}).table is ROWS
    assert GenerateConfig(manifest=tmp_path / "m.parquet", output="out").table is None


def test_it_is_kept_and_written_again_only_if_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path / "out"))
    monkeypatch.chdir(tmp_path)
    videos = ROWS.assign(input_video=["v.mp4", None], n_views=[1, 1])
    uri = keep(videos, storage, 15.0)
    found = pq.read_table(uri).to_pylist()
    assert uri == f"{tmp_path}/out/_cosmos_ray/manifest.parquet"
    assert [(row["id"], row["prompt"], row["seed"], row["town"]) for row in found] == [
        ("a", "p", 1, "x"), ("b", "q", None, "y"),
    ]  # fmt: skip
    assert found[0]["input_video"] == f"{tmp_path}/v.mp4"
    before = Path(uri).stat().st_mtime_ns
    assert keep(videos.set_index("id"), storage, 15.0) == uri
    assert Path(uri).stat().st_mtime_ns == before
    assert pq.read_table(keep(ROWS[:1], storage, 15.0)).num_rows == 1


def test_another_table_is_not_put_under_a_living_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path / "out"))
    keep(ROWS, storage, 15.0)
    lease = acquire(storage, LeaseTimes(60.0, 180.0))
    keep(ROWS, storage, 180.0)
    with pytest.raises(LeaseHeld, match="owned by a living job"):
        keep(ROWS[:1], storage, 180.0)
    dead = dataclasses.replace(table_module.read_owner(storage), age_s=181.0)  # type: ignore[type-var]
    monkeypatch.setattr(table_module, "read_owner", lambda storage: dead)
    keep(ROWS[:1], storage, 180.0)
    lease.release()


def test_what_a_frame_cannot_be(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "out"))
    with pytest.raises(ManifestError, match="cannot be written as Parquet"):
        keep(pd.DataFrame({"id": ["a", "b"], "prompt": [object(), 3]}), storage, 15.0)
    with pytest.raises(ManifestError, match="id"):
        keep(pd.DataFrame({"prompt": ["p"]}), storage, 15.0)
