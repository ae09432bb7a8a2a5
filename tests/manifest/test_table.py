"""Rows checked as columns and rows checked one by one are found alike: same clips, same hashes, same faults."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_ray.clip.family import FAMILIES
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.columns import COLUMNS, check_schema
from cosmos_ray.manifest.rows import RowDefaults, clips_of_row, rows_of
from cosmos_ray.manifest.table import check_batch, fan_out, first_illegal_id

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")
#: Of every family of models; and of one with fewer views and other words of its own.
MODELS = [
    DEFAULTS,
    RowDefaults(n_views=3, num_steps=9, guidance=2.5, negative_prompt="", seed=7, fps=24),
    *(replace(DEFAULTS, n_views=len(family.views), family=name) for name, family in FAMILIES.items()),
]
WAYMO = ["front_wide", "cross_right", "rear_right", "rear_left", "cross_left"]
BASES = ("/data/set", "s3://bucket/set")

CAPTIONS = ["a street", 'ünïcode \u2028 \\ "quoted"\t', "", "  \n", "\xa0", "\x1f", "a.txt", "b/a.PT\n", "at St. Paul",
            "nan", "\xa0None ", "<NA>", "none of it"]  # fmt: skip
PATHS = [
    "a.mp4",
    "in/a.mp4",
    "./a.mp4",
    "in//a.mp4",
    "in/",
    "..",
    "../a",
    "a..b/c",
    "in/./a",
    ".",
    "",
    "é/ü.mp4",
    "x\ny",
]
ROOTED = ["/abs/a.mp4", "//abs", "/abs/../a", "/", "s3://b/a.mp4", "S3://b/a", "gs://b/a", "s3://b/\x00", "file:///a"]
REFUSED = ["http://h/a", "zip://a::b", "a\\b", "a:b"]

_captions = st.one_of(st.none(), st.sampled_from(CAPTIONS), st.text(max_size=12), st.just("long " * 4001))
_references = st.one_of(
    st.none(), st.sampled_from([*PATHS, *ROOTED, *REFUSED]), st.text(alphabet="ab/.:\\ ", max_size=8)
)
_numbers = st.one_of(
    st.none(), st.integers(-2, 8), st.sampled_from([35, 100, 120, 121, 1000, 1001, 2**32 - 1, 2**32, 2**53 + 1])
)
_floats = st.one_of(_numbers, st.sampled_from([math.nan, math.inf, -math.inf, 0.5, 2.5, 7.0, 99.99, 1e300]))


def number_columns(draw: st.DrawFn, rows: int) -> dict[str, pa.Array]:
    """Each column is left out, of integers, or of floats."""
    columns = {}
    for name in ("num_conditional_frames", "guidance", "seed", "num_steps", "n_views", "fps", "num_samples"):
        kind = draw(st.sampled_from([None, pa.int64(), pa.float64(), pa.float32()]))
        if kind is not None:
            values = draw(st.lists(_numbers if kind == pa.int64() else _floats, min_size=rows, max_size=rows))
            columns[name] = pa.array([None if one is None else float(one) for one in values]).cast(kind, safe=False)
    return columns


def camera_column(draw: st.DrawFn, rows: int) -> pa.Array | None:
    kind = draw(st.sampled_from(["none", "struct", "odd struct", "list", "map"]))
    if kind == "none":
        return None
    if kind == "list":
        lists = st.one_of(
            st.none(), st.lists(_references, max_size=8), st.sampled_from([5, 7]).map(lambda n: ["a.mp4"] * n)
        )
        return pa.array(draw(st.lists(lists, min_size=rows, max_size=rows)), pa.list_(pa.string()))
    names = [*VIEWS, "roof"] if kind == "odd struct" else list(VIEWS)
    full = st.sampled_from([VIEWS, VIEWS, WAYMO]).map(lambda rig: {view: f"{view}.mp4" for view in rig})
    cameras = st.one_of(st.none(), full, st.dictionaries(st.sampled_from(names), _references, max_size=8))
    found = draw(st.lists(cameras, min_size=rows, max_size=rows))
    if kind == "map":
        again = draw(st.booleans())  # a key that is there twice
        items = [None if one is None else [*one.items(), *list(one.items())[: int(again)]] for one in found]
        return pa.array(items, pa.map_(pa.string(), pa.string()))
    return pa.array(found, pa.struct([(name, pa.string()) for name in names]))


def views_column(draw: st.DrawFn, rows: int) -> pa.Array | None:
    """Mostly of one kind, as a manifest of one data set has it."""
    if draw(st.booleans()):
        return None
    usual = draw(st.sampled_from([WAYMO, [*WAYMO], list(VIEWS[:5]), list(VIEWS), list(reversed(VIEWS))]))
    odd = st.one_of(
        st.none(),
        st.integers(0, 8).map(lambda n: list(VIEWS[:n])),
        st.lists(st.sampled_from([*VIEWS, "roof", "front_wide\0rear", None]), max_size=8),
    )
    views = st.one_of(st.just(usual), st.just(usual), odd)
    return pa.array(draw(st.lists(views, min_size=rows, max_size=rows)), pa.list_(pa.string()))


def frames_column(draw: st.DrawFn, rows: int, usual: list[str]) -> pa.Array | None:
    kind = draw(st.sampled_from(["none", "none", "struct", "map"]))
    if kind == "none":
        return None
    full = st.integers(0, 5).map(lambda n: {view: [f"{view}.{at}.jpg" for at in range(n)] for view in usual})
    pictures = st.lists(_references, max_size=6)
    odd = st.dictionaries(st.sampled_from([*VIEWS, "roof"]), st.one_of(st.none(), pictures), max_size=3)
    found = draw(st.lists(st.one_of(st.none(), full, odd), min_size=rows, max_size=rows))
    if kind == "map":
        items = [None if one is None else list(one.items()) for one in found]
        return pa.array(items, pa.map_(pa.string(), pa.list_(pa.string())))
    return pa.array(found, pa.struct([(name, pa.list_(pa.string())) for name in [*VIEWS, "roof"]]))


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    rows = draw(st.integers(1, 4))

    def some(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    columns: dict[str, pa.Array] = {"id": pa.array([f"row{number}" for number in range(rows)])}
    if draw(st.booleans()):
        columns["prompt"] = pa.array(some(_captions), draw(st.sampled_from([pa.string(), pa.large_string()])))
    else:
        lists = st.one_of(
            st.none(), st.lists(_captions, max_size=8), st.lists(st.sampled_from(["", "a"]), min_size=7, max_size=7)
        )
        columns["prompt"] = pa.array(some(lists), pa.list_(pa.string()))
    for name, values in (
        ("prompt_embedding", _references),
        ("input_video", _references),
        ("negative_prompt", _captions),
    ):
        if draw(st.booleans()):
            columns[name] = pa.array(some(values), pa.string())
    columns |= number_columns(draw, rows)
    cameras = camera_column(draw, rows)
    if cameras is not None:
        columns["input_videos"] = cameras
    views = views_column(draw, rows)
    if views is not None:
        columns["views"] = views
    frames = frames_column(draw, rows, draw(st.sampled_from([WAYMO, list(VIEWS)])))
    if frames is not None:
        columns["input_frames"] = frames
    return pa.RecordBatch.from_pydict(columns)


@settings(max_examples=25)
@given(batches(), st.sampled_from(BASES), st.sampled_from(MODELS))
def test_columns_and_rows_agree(batch: pa.RecordBatch, base: str, model: RowDefaults) -> None:
    agree(batch, base, model)


@pytest.mark.slow
@settings(max_examples=300)
@given(batches(), st.sampled_from(BASES), st.sampled_from(MODELS))
def test_columns_and_rows_agree_on_whatever_is_drawn(batch: pa.RecordBatch, base: str, model: RowDefaults) -> None:
    agree(batch, base, model)


@pytest.mark.parametrize("model", MODELS, ids=lambda one: f"{one.family} of {one.n_views}")
def test_what_one_model_takes_and_another_does_not_is_looked_at_again(model: RowDefaults) -> None:
    """At the limits that models have, with an input and without."""
    tried = {"n_views": (1, 2, 3, 4, 7, 8), "num_steps": (1, 4, 5, 999, 1000, 1001), "num_conditional_frames": range(7)}
    given = ({}, {"input_video": "a.mp4"}, {"input_video": "a.png"}, {"views": list(VIEWS[:2])}, {"views": ["video"]})
    for number, inputs in enumerate(given):
        rows = [{"id": f"r{number}", "prompt": "p", **inputs}]
        rows += [
            {"id": f"r{number}.{name}.{value}", "prompt": "p", **inputs, name: value}
            for name, values in tried.items()
            for value in values
        ]
        agree(pa.RecordBatch.from_pylist(rows), BASES[0], model)
        for row in rows:
            agree(pa.RecordBatch.from_pylist([row]), BASES[0], model)


def agree(batch: pa.RecordBatch, base: str, model: RowDefaults) -> None:
    """For every row that the columns are sure of; and they say how many clips every row asks for."""
    check_schema(batch.schema)
    by_row = [clips_of_row(row, model, base) for row in rows_of(batch)]
    fan, checked = fan_out(batch), check_batch(batch, model, base)
    assert fan.ids.to_pylist() == [clip.id for clips in by_row for clip in clips]
    assert fan.rows.tolist() == [number for number, clips in enumerate(by_row) for _ in clips]
    hashes = dict(zip(fan.ids.to_pylist(), checked.row_hashes(fan.rows, fan.samples), strict=True))
    for number, clips in enumerate(by_row):
        if not checked.right[number]:
            continue
        for clip in clips:
            assert clip.error is None
            assert hashes[clip.id] == clip.row_hash
            assert checked.unguided[number] == (not clip.negative_prompt)
            assert checked.seeds[number] == clips[0].seed
            assert clip.views == checked.views
            assert bool(checked.unused_input[number]) == bool(clip.warnings)


@pytest.mark.parametrize(
    ("column", "values", "right"),
    [
        ("seed", [0, 2**32 - 1, None, -1, 2**32], 3),
        ("num_steps", [1, 1000, None, 0, 1001], 3),
        ("fps", [1, 120, None, 0, 121], 3),
        ("num_samples", [1, 1000, None, 0, 1001], 3),
        ("n_views", [1, 7, None, 0, 8], 3),
        ("guidance", [0.0, 100.0, None, math.nan, -0.01, 100.01, math.inf], 4),
        ("num_conditional_frames", [0, 1, 5, None, 2, 3, 4, 6, -1], 4),
        ("negative_prompt", ["", "x" * 20_000, None, "nothing", "x" * 20_001, "none", " NaN"], 4),
        ("prompt", ["a", "x" * 20_000, "é", "", " ", None, "x" * 20_001, "a.txt", "null"], 3),
        ("input_video", ["a.mp4", "in/a.mp4", "/a.mp4", None, "../a.mp4", "in/./a.mp4", "a::b", "http://h/a.mp4"], 4),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_first_values_are_surely_right_and_the_others_are_looked_at_again(
    column: str, values: list[Any], right: int
) -> None:
    """At the limits of each column. What is right has the hash that it has by itself, in each of its samples."""
    rows = [{"id": f"r{n}", "prompt": "p", "input_video": "a.mp4", column: value} for n, value in enumerate(values)]
    batch = pa.RecordBatch.from_pylist(rows)
    checked, fan = check_batch(batch, DEFAULTS, BASES[0]), fan_out(batch)
    assert checked.right.tolist() == [number < right for number in range(len(values))]
    by_row = [clip for row in rows for clip in clips_of_row(row, DEFAULTS, BASES[0])]
    assert fan.ids.to_pylist() == [clip.id for clip in by_row]
    hashes = checked.row_hashes(fan.rows, fan.samples)
    for clip, row, found in zip(by_row, fan.rows, hashes, strict=True):
        assert found == clip.row_hash or not checked.right[row]
        assert clip.error is None or not checked.right[row]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("cameras", ["struct", "map", "list", "input_video", None])
@pytest.mark.parametrize("caption", ["a street", ["a"] + [""] * 6])
def test_rows_as_they_usually_are_need_no_second_look(base: str, cameras: str | None, caption: str | list[str]) -> None:
    """Else a million of them would take minutes."""
    row: dict[str, Any] = {"id": "a", "prompt": caption, "seed": 3.0, "num_steps": None, "weather": "rain"}
    if cameras == "struct":
        row["input_videos"] = {view: f"in/{view}.mp4" for view in VIEWS}
    elif cameras == "list":
        row["input_videos"] = [f"s3://bucket/{view}.mp4" for view in VIEWS]
    elif cameras == "input_video":
        row["input_video"] = "in/a.mp4"
    batch = pa.RecordBatch.from_pylist([row, {**row, "id": "b"}])
    if cameras == "map":
        maps = pa.array([[(view, f"in/{view}.mp4") for view in reversed(VIEWS)]] * 2, pa.map_(pa.string(), pa.string()))
        row["input_videos"] = {view: f"in/{view}.mp4" for view in VIEWS}
        batch = batch.append_column("input_videos", maps)
    checked = check_batch(batch, DEFAULTS, base)
    assert checked.right.all()
    assert checked.row_hashes(np.array([1]), np.array([0])) == [clips_of_row(row, DEFAULTS, base)[0].row_hash]


@pytest.mark.parametrize("views", [list(VIEWS), list(VIEWS[:2]), WAYMO, ["rear", "front_wide"]], ids="_".join)
@pytest.mark.parametrize("kind", ["struct", "map", "list", None])
def test_rows_that_name_their_cameras_need_no_second_look(views: list[str], kind: str | None) -> None:
    """Whichever these are, as long as most rows of a batch name the same."""
    cameras = {view: f"in/{view}.mp4" for view in sorted(views)}
    row: dict[str, Any] = {"id": "a", "prompt": ["p"] * len(views), "views": views}
    given: Any = list(cameras.values()) if kind == "list" else cameras if kind else None
    column = pa.array([given] * 3)
    if kind == "map":
        column = pa.array([list(cameras.items())] * 3, pa.map_(pa.string(), pa.string()))
    batch = pa.RecordBatch.from_pylist([row, {**row, "id": "b"}, {**row, "id": "c", "views": ["rear"]}])
    checked = check_batch(batch.append_column("input_videos", column), DEFAULTS, "/data")
    assert checked.right.tolist()[:2] == [True, True]
    [clip] = clips_of_row({**row, "input_videos": given}, DEFAULTS, "/data")
    assert checked.row_hashes(np.array([1]), np.array([0])) == [clip.row_hash]
    assert checked.views == clip.views


@pytest.mark.parametrize(
    "views",
    [["rear", "rear"], ["front_wide\0cross_right"], ["front_wide\0rear"], ["roof"], [], [*VIEWS, "rear"], [None]],
)
def test_cameras_that_no_car_has_are_looked_at_again(views: list[str | None]) -> None:
    """Also where all rows of a batch name them."""
    row = {"id": "a", "prompt": "p", "views": views}
    schema = pa.schema([("id", pa.string()), ("prompt", pa.string()), ("views", pa.list_(pa.string()))])
    batch = pa.RecordBatch.from_pylist([row, {**row, "id": "b"}, {**row, "id": "c"}], schema=schema)
    assert not check_batch(batch, DEFAULTS, "/data").right.any()
    [clip] = clips_of_row(row, DEFAULTS, "/data")
    assert clip.error is not None
    assert "column `views`" in clip.error


@pytest.mark.parametrize(
    ("inputs", "base"),
    [
        ({"input_video": "a.mp4", "input_videos": [f"{view}.mp4" for view in VIEWS]}, BASES[0]),
        ({"input_video": "/abs/a.mp4"}, BASES[1]),
        ({"input_video": "/abs/a::b.mp4"}, BASES[0]),
        ({"input_video": "s3://b/a::b.mp4"}, BASES[0]),
        ({"input_videos": [f"{view}.mp4" for view in VIEWS[:6]] + [None]}, BASES[0]),
    ],
    ids=["both columns", "local in a bucket's manifest", "chained path", "chained uri", "a view without"],
)
def test_inputs_that_are_refused_are_looked_at_again(inputs: dict[str, Any], base: str) -> None:
    row = {"id": "a", "prompt": "p", **inputs}
    assert not check_batch(pa.RecordBatch.from_pylist([row]), DEFAULTS, base).right[0]
    assert clips_of_row(row, DEFAULTS, base)[0].error is not None


@pytest.mark.parametrize("kind", [pa.map_(pa.int64(), pa.string()), pa.map_(pa.string(), pa.int64())], ids=str)
def test_cameras_are_named_by_text_and_so_are_their_files(kind: pa.DataType) -> None:
    schema = pa.schema([("id", pa.string()), ("prompt", pa.string()), ("input_videos", kind)])
    with pytest.raises(ManifestError, match=r"column `input_videos`: found type map<.*expected struct or map camera"):
        check_schema(schema)


def test_a_manifest_needs_captions_or_embeddings() -> None:
    for name in ("prompt", "prompt_embedding"):
        check_schema(pa.schema([("id", pa.string()), (name, pa.string())]))
    with pytest.raises(ManifestError, match="neither a column `prompt` nor a column `prompt_embedding`"):
        check_schema(pa.schema([("id", pa.string()), ("seed", pa.int64())]))


@pytest.mark.parametrize(
    ("found", "together"),
    [
        ([pa.int32(), pa.int64()], pa.int64()),
        ([pa.uint32(), pa.int64()], pa.int64()),
        ([pa.uint64(), pa.uint64()], pa.uint64()),
        ([pa.uint64(), pa.int64()], pa.float64()),
        ([pa.int64(), pa.float32()], pa.float64()),
        ([pa.float32(), pa.float32()], pa.float32()),
        ([pa.float16(), pa.float16()], pa.float64()),
        ([pa.decimal128(9, 2)] * 2, pa.float64()),
    ],
    ids=str,
)
def test_numbers_of_several_files_become_one_type_that_holds_them(
    found: list[pa.DataType], together: pa.DataType
) -> None:
    assert COLUMNS["seed"].together(found) == together


def test_cameras_of_several_files_come_in_the_models_order() -> None:
    """Whichever file names which; others after them, as they are spelt."""
    text, found = pa.string(), [["roof", "rear"], ["front_wide", "a roof"], ["cross_left", "rear"]]
    structs = [pa.struct([(name, text) for name in names]) for names in found]
    together = COLUMNS["input_videos"].together(structs)
    assert isinstance(together, pa.StructType)
    assert [field.name for field in together] == ["front_wide", "rear", "cross_left", "a roof", "roof"]
    assert COLUMNS["input_videos"].together([structs[0], pa.map_(text, text)]) == pa.map_(text, text)
    assert COLUMNS["input_videos"].together([structs[0], pa.list_(text)]) is None
    assert COLUMNS["input_videos"].together([pa.list_(text)] * 2) == pa.list_(text)


def test_the_first_illegal_id_is_found(tmp_path: Path) -> None:
    ids = ["a", "b" * 128, "c.-_", "d/e", "", None]
    assert first_illegal_id(pa.RecordBatch.from_pydict({"id": pa.array(ids)})) == 3
    assert first_illegal_id(pa.RecordBatch.from_pydict({"id": pa.array(ids[:3])})) is None
