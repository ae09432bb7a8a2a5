"""The same rows as different tools write them, and files of one manifest that different tools wrote."""

from __future__ import annotations

import decimal
import re
import uuid
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.job.plan import make_plan, manifest_clips
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import open_manifest, row_group_batches
from cosmos_ray.manifest.rows import Clip, RowDefaults

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.binary(),
         pa.large_binary(), pa.dictionary(pa.int8(), pa.binary())]  # fmt: skip
NUMBERS = [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(38, 0), pa.decimal128(22, 3),
           pa.decimal256(60, 2)]  # fmt: skip
LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda kind: pa.list_(kind, 7)]


def clips_of(uri: Any) -> list[Clip]:
    """Those of the rows; `plan` must count the same."""
    clips = list(manifest_clips(str(uri), DEFAULTS))
    plan = make_plan(str(uri), DEFAULTS, LedgerState.empty())
    assert (plan.clips, plan.invalid) == (len(clips), sum(clip.error is not None for clip in clips))
    return clips


def one_file(folder: Path, **columns: pa.Array) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    try:
        pq.write_table(pa.table({"id": pa.array([path.stem]), "prompt": pa.array(["p"]), **columns}), path)
    except pa.ArrowNotImplementedError as error:
        pytest.skip(f"this pyarrow does not write it: {error}")
    return path


def typed(values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array(values).cast(kind)


@pytest.mark.parametrize("kind", TEXTS, ids=str)
def test_text_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {name: typed([text], kind) for name, text in (("id", "a"), ("prompt", "é"), ("input_video", "v"))}
    [clip] = clips_of(one_file(tmp_path, **columns, negative_prompt=typed([None], kind)))
    assert (clip.id, clip.prompts, clip.inputs, clip.negative_prompt) == ("a", ("é",), (f"{tmp_path}/v",), "blurry")


needs_extensions = pytest.mark.skipif(not hasattr(pa, "json_"), reason="pyarrow before 19 has no such types")


def extended(values: list[Any], kind: Any) -> pa.Array:
    """What an extension makes of a storage's values: DuckDB's UUID and JSON, pyarrow's and pandas' own."""
    return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))


@needs_extensions
def test_an_id_of_16_bytes_is_the_text_that_everybody_writes_for_it(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=7), uuid.UUID(int=2**127)]
    texts = [str(one) for one in ids]
    runs = pa.ListArray.from_arrays(pa.array([0, 1, 1], pa.int32()), extended([ids[0].bytes], pa.uuid()))
    pq.write_table(
        pa.table({
            "id": extended([one.bytes for one in ids], pa.uuid()), "prompt": extended(["p", "q"], pa.json_()),
            "run": extended([ids[0].bytes, None], pa.uuid()), "meta": extended(['{"x": 1}', None], pa.json_()),
            "flag": extended([1, 0], pa.bool8()), "runs": runs,
        }),
        tmp_path / "m.parquet",
    )  # fmt: skip
    assert [(clip.id, clip.prompts) for clip in clips_of(tmp_path / "m.parquet")] == [
        (texts[0], ("p",)), (texts[1], ("q",)),
    ]  # fmt: skip
    manifest = open_manifest(str(tmp_path / "m.parquet"))
    [batch] = row_group_batches(manifest.files[0], 0, manifest.schema)
    assert batch.select(["run", "meta", "flag", "runs"]).to_pylist() == [
        {"run": texts[0], "meta": '{"x": 1}', "flag": 1, "runs": [texts[0]]},
        {"run": None, "meta": None, "flag": 0, "runs": []},
    ]


@needs_extensions
def test_ids_that_duckdb_has_drawn_are_ids(tmp_path: Path) -> None:
    one = f"'{uuid.UUID(int=5)}'::UUID"
    made = f"SELECT {one} AS id, 'p' AS prompt, '{{}}'::JSON AS meta, {one} AS run, [{one}] AS runs"
    duckdb.sql(f"COPY ({made}) TO '{tmp_path}/m.parquet'")
    assert [clip.id for clip in clips_of(tmp_path / "m.parquet")] == [str(uuid.UUID(int=5))]
    manifest = open_manifest(str(tmp_path / "m.parquet"))
    [batch] = row_group_batches(manifest.files[0], 0, manifest.schema)
    [row] = batch.to_pylist()
    assert (row["run"], row["runs"]) == (row["id"], [row["id"]])


@pytest.mark.parametrize("number", NUMBERS, ids=str)
def test_whole_numbers_are_integers(tmp_path: Path, number: pa.DataType) -> None:
    path = one_file(tmp_path, seed=typed([7], number), fps=typed([None], number))
    [clip] = clips_of(path)
    assert (clip.error, clip.seed, clip.fps) == (None, 7, 10)
    assert clip.row_hash == clips_of(one_file(tmp_path / "plain", id=pa.array(["0"]), seed=pa.array([7])))[0].row_hash


def test_a_decimal_is_the_number_that_it_says(tmp_path: Path) -> None:
    """pyarrow's own cast makes 7.1 a 7.1000000000000005: another request, and another video."""
    [clip] = clips_of(one_file(tmp_path, guidance=pa.array([decimal.Decimal("7.1")])))
    assert clip.guidance == 7.1
    [clip] = clips_of(one_file(tmp_path, seed=pa.array([decimal.Decimal("1.5")])))
    assert clip.error == "column `seed`: found 1.5, expected an integer from 0 to 4294967295"


@pytest.mark.parametrize("lists", LISTS, ids=["list", "large", "view", "large-view", "fixed-size"])
@pytest.mark.parametrize("kind", TEXTS, ids=str)
def test_lists_are_lists(tmp_path: Path, lists: Any, kind: pa.DataType) -> None:
    values = {"prompt": list("abcdefg"), "input_videos": list("hijklmn"), "views": list(VIEWS)}
    columns = {}
    for name, texts in values.items():
        flat = typed(texts, kind)
        plain = pa.ListArray.from_arrays(pa.array([0, 7], pa.int32()), flat)
        columns[name] = plain if lists is pa.list_ else _as(plain, lists(kind))
    path = one_file(tmp_path, **columns)
    [clip] = clips_of(path)
    assert clip.error is None
    assert (clip.prompts, clip.cameras) == (tuple("abcdefg"), VIEWS)
    assert clip.inputs == tuple(f"{tmp_path}/{name}" for name in "hijklmn")


def _as(plain: pa.ListArray, kind: pa.DataType) -> pa.Array:
    """pyarrow has no cast from lists of dictionaries to other lists of them."""
    flat = plain.flatten()
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(flat, 7)
    if pa.types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(pa.array([0, 7], pa.int64()), flat)
    wide = pa.int64() if pa.types.is_large_list_view(kind) else pa.int32()
    maker = pa.LargeListViewArray if pa.types.is_large_list_view(kind) else pa.ListViewArray
    return maker.from_arrays(pa.array([0], wide), pa.array([7], wide), flat)


@pytest.mark.parametrize("kind", TEXTS, ids=str)
@pytest.mark.parametrize("shape", ["struct", "map"])
def test_cameras_by_name_are_cameras(tmp_path: Path, kind: pa.DataType, shape: str) -> None:
    keys, uris = typed(list(VIEWS), kind), [typed([f"{view}.mp4"], kind) for view in VIEWS]
    pictures = [pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), uri) for uri in uris]
    found = []
    for name, values in (("input_videos", uris), ("input_frames", pictures)):
        if shape == "struct":
            column = pa.StructArray.from_arrays(values, list(VIEWS))
        else:
            column = pa.MapArray.from_arrays(pa.array([0, 7], pa.int32()), keys, pa.concat_arrays(values))
        path = one_file(tmp_path, **{name: column})
        found += clips_of(path)
    assert [clip.error for clip in found] == [None, None]
    assert found[0].inputs == tuple(f"{tmp_path}/{view}.mp4" for view in VIEWS)
    assert found[1].frames == tuple((f"{tmp_path}/{view}.mp4",) for view in VIEWS)


def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "prompt": ["a street", "ünïcode", "p"],
            "seed": pd.array([7, None, 2**32 - 1], "Int64"),
            "guidance": [7.5, np.nan, 3.0],
            "negative_prompt": ["", None, "bad"],
            "weather": ["rain", None, "fog"],
        }
    )


def by_pandas(path: Path) -> None:
    rows().to_parquet(path)


def by_pandas_with_gaps_as_floats(path: Path) -> None:
    rows().astype({"seed": "float64", "weather": "category", "prompt": "category"}).to_parquet(path)


def by_polars(path: Path) -> None:
    pl.from_pandas(rows()).with_columns(pl.col("prompt").cast(pl.Categorical)).write_parquet(path)


def by_polars_decimals(path: Path) -> None:
    pl.from_pandas(rows()).with_columns(pl.col("seed").cast(pl.Decimal(20, 0))).write_parquet(path)


def by_duckdb(path: Path) -> None:
    frame = rows()  # noqa: F841 - DuckDB finds it by its name
    duckdb.sql("from frame").to_parquet(str(path))


def by_duckdb_hugeints(path: Path) -> None:
    """What its `sum`, and a sum of sums, give."""
    frame = rows()  # noqa: F841 - DuckDB finds it by its name
    duckdb.sql("select * replace (seed::hugeint as seed, guidance::decimal(5, 2) as guidance) from frame").to_parquet(
        str(path)
    )


def by_duckdb_through_arrow(path: Path) -> None:
    frame = rows()  # noqa: F841 - DuckDB finds it by its name
    pq.write_table(duckdb.sql("select * replace (seed::hugeint as seed) from frame").to_arrow_table(), path)


WRITERS = [by_pandas, by_pandas_with_gaps_as_floats, by_polars, by_polars_decimals, by_duckdb, by_duckdb_hugeints,
           by_duckdb_through_arrow]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_writers_file_asks_for_the_same(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "m.parquet")
    found = clips_of(tmp_path / "m.parquet")
    assert [clip.error for clip in found] == [None] * 3
    assert [clip.prompts[0] for clip in found] == ["a street", "ünïcode", "p"]
    assert [(clip.seed, clip.guidance, clip.negative_prompt) for clip in found] == [
        (7, 7.5, ""), (0, 7.0, "blurry"), (2**32 - 1, 3.0, "bad"),
    ]  # fmt: skip
    by_pandas(tmp_path / "plain.parquet")
    assert [clip.row_hash for clip in found] == [clip.row_hash for clip in clips_of(tmp_path / "plain.parquet")]


@pytest.mark.parametrize("first", WRITERS[:2] + WRITERS[4:6], ids=lambda write: write.__name__)
def test_a_folder_may_hold_files_of_every_writer(tmp_path: Path, first: Any) -> None:
    """Whichever comes first; ids are made to differ."""
    folder = tmp_path / "m"
    folder.mkdir()
    for number, write in enumerate([first, *(write for write in WRITERS if write is not first)]):
        write(tmp_path / "staged.parquet")
        table = pq.read_table(tmp_path / "staged.parquet")
        ids = pa.array([f"{clip_id}{number}" for clip_id in table["id"].to_pylist()], table["id"].type)
        pq.write_table(table.set_column(0, "id", ids), folder / f"{number}.parquet")
    found = clips_of(folder)
    assert [clip.seed for clip in found] == [7, 0, 2**32 - 1] * len(WRITERS)
    assert len({clip.row_hash for clip in found}) == 3
    assert set(open_manifest(str(folder)).carried) == {"weather"}


def carried(folder: Path, column: str) -> list[Any]:
    manifest = open_manifest(str(folder))
    batches = [batch for file in manifest.files for batch in row_group_batches(file, 0, manifest.schema)]
    return [value for batch in batches for value in batch.column(column).to_pylist()]


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ([pa.array(["x"]), pa.array(["y"], pa.large_string()), None], ["x", "y", None]),
        ([pa.array([1]), pa.array([1.5]), pa.nulls(1)], [1.0, 1.5, None]),
        ([pa.nulls(1), pa.array([1], pa.int8()), pa.array([3])], [None, 1, 3]),
        ([pa.array(["x"]).dictionary_encode(), pa.array(["y"]), None], ["x", "y", None]),
        ([pa.array(["x"], pa.string_view()), pa.array(["y"], pa.string_view())], ["x", "y"]),
        ([pa.array([{"a": 1}]), pa.array([{"a": 2, "b": "x"}])], [{"a": 1, "b": None}, {"a": 2, "b": "x"}]),
        ([pa.array([["x"]], pa.list_view(pa.string())), None], [["x"], None]),
        ([pa.array([["x"]], pa.large_list_view(pa.string())), None], [["x"], None]),
    ],
    ids=["text", "numbers", "gaps", "dictionary", "views", "structs", "list-views", "large-list-views"],
)
def test_carried_columns_of_several_files_become_one(tmp_path: Path, columns: list[Any], values: list[Any]) -> None:
    for column in columns:
        one_file(tmp_path / "m", **({} if column is None else {"extra": column}))
    assert carried(tmp_path / "m", "extra") == values
    for batch in row_group_batches(
        open_manifest(str(tmp_path / "m")).files[0], 0, open_manifest(str(tmp_path / "m")).schema
    ):
        batch.take(pa.array([0]))  # as the index does, which pyarrow cannot do with views


def test_our_columns_of_several_files_become_one(tmp_path: Path) -> None:
    """A caption and a list of them, cameras in structs of other fields and in maps."""
    two = {"front_wide": "f.mp4", "cross_right": "r.mp4"}
    n_views = pa.array([2])
    one_file(tmp_path / "m", n_views=n_views, input_videos=pa.array([two]))
    pairs = pa.array([list(two.items())], pa.map_(pa.string(), pa.string()))
    one_file(tmp_path / "m", n_views=n_views.cast(pa.float64()), prompt=pa.array([["p", "q"]]), input_videos=pairs)
    one_file(tmp_path / "m", n_views=n_views, input_videos=pa.array([dict(reversed(two.items()))]))
    one_file(tmp_path / "m", input_videos=pa.array([None], pa.struct([("rear", pa.string())])))
    one_file(tmp_path / "m")
    one_file(tmp_path / "m", prompt=pa.array([None], pa.string()))
    *found, without = clips_of(tmp_path / "m")
    assert [clip.error for clip in found] == [None] * 5
    assert without.error == "column `prompt`: found None, expected one caption or 7, one a view"
    assert [clip.prompts for clip in found] == [("p",), ("p", "q"), ("p",), ("p",), ("p",)]
    assert [[Path(uri).name for uri in clip.inputs] for clip in found] == [["f.mp4", "r.mp4"]] * 3 + [[], []]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"town": pa.array([1])}, {"town": pa.array(["Ulm"])}, "column `town`: found type int64 in 0.parquet and"),
        ({"input_videos": pa.array([["a"]])}, {"input_videos": pa.array([{"rear": "a"}])}, "and struct<rear: string>"),
        ({"seed": pa.array([1])}, {"seed": pa.array(["1"])}, "1.parquet: the manifest cannot be used: column `seed`"),
        ({"seed": pa.array([1])}, {"seed": pa.array([True])}, "found type bool, expected an integer"),
    ],
    ids=["carried", "cameras", "text", "bool"],
)  # fmt: skip
def test_types_that_do_not_fit_are_named_with_their_files(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], message: str
) -> None:
    one_file(tmp_path / "m", **first)
    one_file(tmp_path / "m", **second)
    with pytest.raises(ManifestError, match=re.escape(message)):
        open_manifest(str(tmp_path / "m"))


def test_ids_that_are_numbers_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"id": [1], "prompt": ["x"]}), path)
    with pytest.raises(ManifestError, match=re.escape("expected string (cast it, as by `table['id'].astype(str)`")):
        open_manifest(str(path))


def test_numbers_as_text_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=re.escape("cast it, as by `table['seed'].astype(float)` in pandas")):
        open_manifest(str(one_file(tmp_path, seed=pa.array(["7"]))))


def test_a_type_that_no_reader_knows_is_an_error_in_words(tmp_path: Path) -> None:
    """Polars writes integers of 128 bits, which pyarrow cannot read."""
    pl.DataFrame({"id": ["a"], "prompt": ["p"], "seed": pl.Series([7], dtype=pl.Int128)}).write_parquet(
        tmp_path / "m.parquet"
    )
    with pytest.raises(ManifestError, match=r"m\.parquet cannot be read as Parquet: .*64 bits"):
        open_manifest(str(tmp_path / "m.parquet"))
