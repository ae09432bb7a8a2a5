"""Hive partitions: what stands in the names of a manifest's folders is a column of its rows, whoever wrote them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from cosmos_ray.errors import ManifestError
from cosmos_ray.job.plan import make_plan, manifest_clips
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.partitions import partitions_of
from cosmos_ray.manifest.rows import Clip, RowDefaults
from cosmos_ray.manifest.schema import conform
from cosmos_ray.output.index import write_index
from cosmos_ray.store.storage import Storage

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")
WEATHER = {100: "rain", 101: "fog & mist", 102: "50% sun/cloud"}


def put(path: Path, **columns: Any) -> Path:
    """A file with these columns, each of one value; an id and a prompt too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"id": path.stem, "prompt": "a street"} | columns
    pq.write_table(pa.table({name: [value] for name, value in columns.items() if value is not ...}), path)
    return path


def clips_of(uri: Any) -> dict[str, Clip]:
    return {clip.id: clip for clip in manifest_clips(str(uri), DEFAULTS)}


def rows_of(uri: Any) -> list[dict[str, Any]]:
    """Rows as everything after the files sees them."""
    return [row for _, batch in open_manifest(str(uri)).batches() for row in batch.to_pylist()]


def by_pandas(frame: pd.DataFrame, folder: Path) -> None:
    frame.to_parquet(folder, partition_cols=["seed", "weather"])


def by_polars(frame: pd.DataFrame, folder: Path) -> None:
    pl.from_pandas(frame).write_parquet(pl.PartitionBy(folder, key=["seed", "weather"]), mkdir=True)


def by_duckdb(frame: pd.DataFrame, folder: Path) -> None:
    duckdb.sql("from frame").to_parquet(str(folder), partition_by=["seed", "weather"])


def by_spark(frame: pd.DataFrame, folder: Path) -> None:
    """In the names that Spark gives them; it writes no other files that matter than `_SUCCESS`."""
    for number, row in enumerate(frame.to_dict("records")):
        name = f"seed={row['seed']}/weather={quote(row['weather'], safe=' &')}/part-{number:05d}-c000.snappy.parquet"
        put(folder / name, id=row["id"], prompt=row["prompt"])
    (folder / "_SUCCESS").touch()


@pytest.mark.parametrize("write", [by_pandas, by_polars, by_duckdb, by_spark], ids=lambda write: write.__name__)
def test_partitions_are_columns_whoever_wrote_them(tmp_path: Path, write: Any) -> None:
    frame = pd.DataFrame(
        [
            {"id": f"h{seed}", "prompt": "a street", "seed": seed, "weather": weather}
            for seed, weather in WEATHER.items()
        ]
    )
    write(frame, tmp_path / "m")
    assert {clip.id: clip.seed for clip in clips_of(tmp_path / "m").values()} == {f"h{seed}": seed for seed in WEATHER}
    assert {row["seed"]: row["weather"] for row in rows_of(tmp_path / "m")} == WEATHER
    assert open_manifest(str(tmp_path / "m")).carried == ("weather",)
    hashes = {clip.row_hash for clip in clips_of(tmp_path / "m").values()}
    assert len(hashes) == 3, "three videos, not three times the same"
    plan = make_plan(str(tmp_path / "m"), DEFAULTS, LedgerState.empty())
    assert (plan.rows, plan.left, plan.invalid, plan.carried) == (3, 3, 0, ("weather",))


@pytest.mark.parametrize(
    "uri", ["m", "m/", "m/seed=*/*/part*.parquet", "m/**/*.parquet", "m/seed=7/weather=*/part.parquet", "m/seed=7",
            "m/seed=7/weather=rain", "m/seed=7/*/*", "m/seed=7/weather=rain/part.parquet"]
)  # fmt: skip
def test_they_do_not_depend_on_how_the_manifest_is_named(tmp_path: Path, uri: str) -> None:
    """Folder, pattern, one of the folders, one file: the row asks for the same."""
    put(tmp_path / "m/seed=7/weather=rain/part.parquet")
    assert clips_of(tmp_path / uri)["part"].seed == 7
    assert rows_of(tmp_path / uri) == [{"id": "part", "prompt": "a street", "seed": 7, "weather": "rain"}]


def test_folders_further_up_are_none_of_the_manifests(tmp_path: Path) -> None:
    put(tmp_path / "run=3/set/m.parquet")
    assert rows_of(tmp_path / "run=3/set/m.parquet") == [{"id": "m", "prompt": "a street"}]


def test_relative_references_start_from_the_files_own_folder(tmp_path: Path) -> None:
    put(tmp_path / "m/seed=7/part.parquet", input_video="a.mp4")
    assert clips_of(tmp_path / "m")["part"].inputs == (f"{tmp_path}/m/seed=7/a.mp4",)


def test_partitions_in_an_object_store(s3: str, tmp_path: Path) -> None:
    data = put(tmp_path / "part.parquet").read_bytes()
    Storage(s3).write("m/seed=7/weather=light%20rain/part.parquet", data)
    for uri in ("m", "m/seed=*/*/*.parquet", "m/seed=7/weather=light%20rain/part.parquet"):
        [row] = rows_of(f"{s3}/{uri}")
        assert (row["seed"], row["weather"]) == (7, "light rain")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "007", "-3"], pa.int32()),
        (["1", "rain"], pa.string()),
        (["3000000000"], pa.string()),
        (["2026-01-01"], pa.string()),
        (["1.5"], pa.string()),
        (["__HIVE_DEFAULT_PARTITION__", "4"], pa.int32()),
        (["a%20b", "%C3%BC", "x%3Dy"], pa.string()),
        (["a=b", ""], pa.string()),
    ],
    ids=lambda value: str(value)[:24],
)
def test_carried_partitions_are_typed_as_pyarrow_types_them(tmp_path: Path, values: list[str], kind: Any) -> None:
    for number, value in enumerate(values):
        put(tmp_path / f"m/key={value}/part{number}.parquet")
    expected = ds.dataset(tmp_path / "m", partitioning="hive")
    assert open_manifest(str(tmp_path / "m")).schema.field("key").type == expected.schema.field("key").type == kind
    found = {row["id"]: row["key"] for row in rows_of(tmp_path / "m")}
    assert found == {row["id"]: row["key"] for row in expected.to_table().to_pylist()}


def test_files_outside_a_partition_have_a_null_there(tmp_path: Path) -> None:
    put(tmp_path / "m/seed=7/a.parquet")
    put(tmp_path / "m/b.parquet")
    put(tmp_path / "m/seed=__HIVE_DEFAULT_PARTITION__/c.parquet")
    assert {clip_id: clip.seed for clip_id, clip in clips_of(tmp_path / "m").items()} == {"a": 7, "b": 0, "c": 0}


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [("seed", "4294967295", 2**32 - 1), ("guidance", "2.5", 2.5), ("fps", "30", 30), ("num_steps", "4.0", 4)],
)
def test_numbers_of_ours_are_numbers_whatever_pyarrow_would_call_them(
    tmp_path: Path, column: str, value: str, found: float
) -> None:
    put(tmp_path / f"m/{column}={value}/a.parquet")
    clip = clips_of(tmp_path / "m")["a"]
    assert (clip.error, getattr(clip, column)) == (None, found)


@pytest.mark.parametrize(("column", "value"), [("id", "0042"), ("prompt", "1995"), ("prompt", "a%20street")])
def test_texts_of_ours_are_texts_even_if_they_look_like_numbers(tmp_path: Path, column: str, value: str) -> None:
    put(tmp_path / f"m/{column}={value}/a.parquet", **{column: ...})
    [clip] = clips_of(tmp_path / "m").values()
    assert {"id": clip.id, "prompt": clip.prompts[0]}[column] == value.replace("%20", " ")


def test_a_caption_in_a_folders_name_beside_lists_of_captions(tmp_path: Path) -> None:
    put(tmp_path / "m/prompt=rain/a.parquet", prompt=...)
    put(tmp_path / "m/b.parquet", prompt=["p"] * 7)
    assert {one.id: one.prompts for one in clips_of(tmp_path / "m").values()} == {"a": ("rain",), "b": ("p",) * 7}


@pytest.mark.parametrize(
    ("path", "columns", "message"),
    [
        ("seed=7/a", {"seed": 8}, "seed=7/a.parquet: row 0: column `seed`: found 8, expected '7', as its folder"),
        ("weather=rain/a", {"weather": "fog"}, "column `weather`: found 'fog', expected 'rain', as its folder"),
        ("prompt=p/a", {"prompt": ["q"]}, "column `prompt`: found ['q'], expected 'p', as its folder prompt=p says"),
        ("day=x/a", {"day": 3}, "column `day`: found the folder day=x, expected a value of type int64, as"),
        ("seed=abc/a", {}, "column `seed`: found the folder seed=abc, expected an integer"),
        ("seed=/a", {}, "column `seed`: found the folder seed=, expected an integer"),
        ("steps=4/a", {}, "column 'steps': found no use for it, expected `num_steps`"),
        ("views=rear/a", {}, "column `views`: found it in the name of a folder, expected it in the files"),
        ("seed=1/seed=2/a", {}, "its folders say seed=1 and seed=2"),
        ("weather=%FF/a", {}, "'%FF', in the name of a folder, is no UTF-8 text"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(tmp_path: Path, path: str, columns: dict[str, Any], message: str) -> None:
    put(tmp_path / f"m/{path}.parquet", **columns)
    with pytest.raises(ManifestError, match=re.escape(message)):
        make_plan(str(tmp_path / "m"), DEFAULTS, LedgerState.empty())


@pytest.mark.parametrize(
    ("folder", "column"),
    [("seed=7", pa.array([7])), ("seed=7", pa.array([7.0])), ("seed=7", pa.array([None], pa.int64())),
     ("day=2026-01-02", pa.array([20455]).cast(pa.int32()).cast(pa.date32())), ("town=Ulm", pa.array(["Ulm"])),
     ("town=7", pa.array(["7"])), ("wet=true", pa.array([True]))],
    ids=str,
)  # fmt: skip
def test_a_column_that_agrees_with_its_folder_is_all_right(tmp_path: Path, folder: str, column: pa.Array) -> None:
    """In whichever type the file has it; a null in it says nothing against the folder."""
    path, name = tmp_path / f"m/{folder}/a.parquet", folder.partition("=")[0]
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a"], "prompt": ["p"], name: column}), path)
    [row] = rows_of(tmp_path / "m")
    assert row[name] == (column[0].as_py() if column[0].is_valid else 7)


def test_partitions_reach_the_index(tmp_path: Path) -> None:
    for seed in (100, 101):
        put(tmp_path / f"m/seed={seed}/weather=rain/c{seed}.parquet")
    output = Storage(str(tmp_path / "out"))
    for clip in clips_of(tmp_path / "m").values():
        files = (FileEntry("rear", f"clips/{clip.id}/1/rear.mp4", 1, "s"),)
        Ledger(output).commit(
            Record(clip.id, 0, "ok", None, 0, None, clip.row_hash, 1, finished="2026-01-01T00:00:00+00:00", files=files)
        )
    manifest, state = open_manifest(str(tmp_path / "m")), Ledger(output).state()
    assert make_plan(str(tmp_path / "m"), DEFAULTS, state).left == 0
    assert write_index(output, manifest, DEFAULTS, state) == 2
    index = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    assert [(row["id"], row["seed"], row["weather"]) for row in index] == [("c100", 100, "rain"), ("c101", 101, "rain")]


def test_hidden_folders_are_no_data_but_a_partition_may_begin_with_an_underscore(tmp_path: Path) -> None:
    put(tmp_path / "m/_temporary/torn.parquet")
    put(tmp_path / "m/_version=3/a.parquet")
    assert rows_of(tmp_path / "m") == [{"id": "a", "prompt": "a street", "_version": 3}]


def test_the_first_row_that_contradicts_its_folders_is_named_in_whichever_column() -> None:
    batch = pa.RecordBatch.from_pydict({"seed": [5, 5, 5, 6], "town": ["x", None, "y", "x"]})
    found = conform(batch, batch.schema, (("seed", "5"), ("town", "x")))
    assert found.differs == (2, "column `town`: found 'y', expected 'x', as its folder town=x says")
    assert found.batch["town"].to_pylist() == ["x", "x", "y", "x"]
    other = conform(batch, batch.schema, (("town", "x"), ("seed", "6")))
    assert other.differs is not None
    assert other.differs[0] == 0


@pytest.mark.parametrize("wrong", range(7))
@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_such_a_row_is_told_by_its_number_in_its_file(tmp_path: Path, wrong: int, batch_rows: int) -> None:
    """Of which it may stand in any row group, and in any batch of one."""
    path = tmp_path / "m/seed=5/a.parquet"
    path.parent.mkdir(parents=True)
    seeds = [6 if row >= wrong else 5 for row in range(7)]
    table = pa.table({"id": [f"c{row}" for row in range(7)], "prompt": ["p"] * 7, "seed": seeds})
    pq.write_table(table, path, row_group_size=3)
    with pytest.raises(ManifestError, match=rf"seed=5/a.parquet: row {wrong}: column `seed`: found 6, expected '5'"):
        list(open_manifest(str(tmp_path / "m")).batches(batch_rows))


def test_columns_of_folders_come_from_the_outermost_on() -> None:
    """As they stand in the manifest's schema, and in the index."""
    names = (("town", "x"), ("seed", "5"), ("at", None))
    assert partitions_of("m/town=x/seed=5/at=__HIVE_DEFAULT_PARTITION__/part.parquet", "m") == names
    assert partitions_of("m/town=x/seed=5/at=__HIVE_DEFAULT_PARTITION__/part.parquet", "m/town=x") == names
