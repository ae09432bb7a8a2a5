"""A DataFrame as manifest: kept in the output, with paths that mean what they meant where it was made."""

from __future__ import annotations

import datetime
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cosmos_ray import GenerateConfig
from cosmos_ray.errors import LeaseHeld, ManifestError
from cosmos_ray.job.table import keep
from cosmos_ray.ledger.layout import TABLE
from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.store.storage import Storage

ROWS = pd.DataFrame({"id": ["a", "b"], "prompt": ["p", "q"], "seed": [1, None], "town": ["x", "y"]})

TIMES = LeaseTimes(0.1, 5.0)


def nobody(line: str) -> None:
    raise AssertionError(line)


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
    uri = keep(videos, storage, TIMES, nobody)
    found = pq.read_table(uri).to_pylist()
    assert uri == f"{tmp_path}/out/_cosmos_ray/manifest.parquet"
    assert [(row["id"], row["prompt"], row["seed"], row["town"]) for row in found] == [
        ("a", "p", 1, "x"), ("b", "q", None, "y"),
    ]  # fmt: skip
    assert found[0]["input_video"] == f"{tmp_path}/v.mp4"
    before = Path(uri).stat().st_mtime_ns
    assert keep(videos.set_index("id"), storage, TIMES, nobody) == uri
    assert Path(uri).stat().st_mtime_ns == before
    assert pq.read_table(keep(ROWS[:1], storage, TIMES, nobody)).num_rows == 1
    by_town = keep(ROWS.set_index("town"), storage, TIMES, nobody)
    assert pq.read_table(by_town).column_names == ["id", "prompt", "seed"], "an index of another name is no column"


@pytest.mark.parametrize("ahead_s", [-3600.0, 0.0, 3600.0])
def test_another_table_is_not_put_under_a_living_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    """Whatever the clock of its machine says: that of the newcomer's may be another."""
    storage = Storage(str(tmp_path / "out"))
    keep(ROWS, storage, TIMES, nobody)
    own_clock = time.time
    monkeypatch.setattr(time, "time", lambda: own_clock() + ahead_s)
    lease = acquire(storage, LeaseTimes(0.1, 1.0))
    keep(ROWS, storage, TIMES, nobody)
    monkeypatch.setattr(time, "time", own_clock)
    said: list[str] = []
    with pytest.raises(LeaseHeld, match="owned by a living job"):
        keep(ROWS[:1], storage, TIMES, said.append)
    assert "watching it" in said[0]
    assert pq.read_table(storage.uri_of(TABLE)).num_rows == 2
    lease.release()
    assert pq.read_table(keep(ROWS[:1], storage, TIMES, nobody)).num_rows == 1


def test_what_is_doubtful_in_a_frame_is_said_and_columns_of_mixed_values_are_carried_as_text(tmp_path: Path) -> None:
    """As of a table in a file: CSV and JSONL, which have no types."""
    mixed = ROWS.assign(
        town=[7, "seven"],
        notes=[{"a": np.int64(1)}, ["b", pd.NaT]],
        taken=[datetime.date(2024, 2, 3), Decimal("1.50")],
        clip=["a.mp4", "b.mp4"],
        views=[["front_wide"], "front_wide"],
    )
    said: list[str] = []
    found = pq.read_table(keep(mixed, Storage(str(tmp_path / "out")), 15.0, said.append)).to_pylist()
    assert [(row["town"], row["notes"], row["taken"]) for row in found] == [
        ("7", '{"a": 1}', "2024-02-03"), ("seven", '["b", null]', "1.50"),
    ]  # fmt: skip
    assert sorted(said) == [
        "warning: columns of videos or pictures that are only carried along: 1: `clip`",
        "warning: columns whose values have no type in common, which are carried as text: 3: `taken`; `town`: a number "
        "in row 0 of the DataFrame, a text in row 1 of the DataFrame; `notes`: an object in row 0 of the DataFrame, a "
        "list in row 1 of the DataFrame",
    ]


def test_columns_stand_in_the_tables_order_whatever_holds_their_values(tmp_path: Path) -> None:
    """Those that Parquet has no type for among the others."""
    frame = pd.DataFrame({"id": ["a", "b"], "prompt": ["p", "q"], "c": [1, "x"], "b": [1, 2], "a": [pd.NaT, "x"]})
    table = pq.read_table(keep(frame, Storage(str(tmp_path / "out")), 15.0, lambda _: None))
    assert table.column_names == ["id", "prompt", "c", "b", "a"]
    assert table.column("a").to_pylist() == [None, "x"]


def test_our_own_columns_may_hold_what_a_row_may(tmp_path: Path) -> None:
    """A caption here and one a view there, paths as pathlib has them."""
    frame = pd.DataFrame({"id": ["a", 2], "prompt": ["p", ("q", "r")], "seed": ["3", 4], "n_views": [2, 2],
                          "input_videos": [[Path("/v/1.mp4"), Path("/v/2.mp4")], None]})  # fmt: skip
    found = pq.read_table(keep(frame, Storage(str(tmp_path / "out")), 15.0, nobody)).to_pylist()
    assert [(row["id"], row["prompt"], row["seed"]) for row in found] == [("a", ["p"], 3), ("2", ["q", "r"], 4)]
    assert found[0]["input_videos"] == ["/v/1.mp4", "/v/2.mp4"]
    only = pd.DataFrame({"id": ["a", 2], "prompt": ["p", ["q", "r"]], "n_views": [2, "2"]})
    assert pq.read_table(keep(only, Storage(str(tmp_path / "2")), 15.0, nobody)).num_rows == 2


def test_what_a_frame_cannot_be(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "out"))
    with pytest.raises(ManifestError, match="cannot be written as Parquet"):
        keep(pd.DataFrame({"id": ["a", "b"], "prompt": [object(), 3]}), storage, TIMES, nobody)
    for names, said in (("ii", "several columns of one name"), (["id", 3], "the column 3: expected a text")):
        with pytest.raises(ManifestError, match=said):
            keep(pd.DataFrame([["a", "b"]], columns=list(names)), storage, TIMES, nobody)
    with pytest.raises(ManifestError, match="row 1 of the DataFrame: `seed` is 'x', expected an integer"):
        keep(ROWS.assign(seed=[1, "x"]), storage, TIMES, nobody)
    with pytest.raises(ManifestError, match="id"):
        keep(pd.DataFrame({"prompt": ["p"]}), storage, TIMES, nobody)


def test_another_table_may_take_the_place_of_one_whose_job_has_ended(tmp_path: Path) -> None:
    """At once, however lively its lease still looks."""
    storage = Storage(str(tmp_path / "out"))
    keep(ROWS, storage, TIMES, nobody)
    acquire(storage, LeaseTimes(60.0, 180.0)).release()
    assert pq.read_table(keep(ROWS[:1], storage, TIMES, nobody)).num_rows == 1
