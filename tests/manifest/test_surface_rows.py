"""What every column makes of every kind of value, type and mixture of types: a table of all, as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.surfaces import assert_as_it_was

from cosmos_ray.clip.family import FAMILIES
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.captions import MAX_PROMPT_CHARS
from cosmos_ray.manifest.columns import COLUMNS, check_schema
from cosmos_ray.manifest.names import near_column
from cosmos_ray.manifest.rows import RowDefaults, clips_of_row, rows_of
from cosmos_ray.manifest.schema import FileSchema, conform, unify
from cosmos_ray.manifest.table import check_batch

BASE = "/data/set"
LONG = "x" * (MAX_PROMPT_CHARS + 1)
NUMBERS: list[Any] = [
    -1, 0, 0.5, 1, 1.0, 2, 3, 5, 7, 8, 10, 99.5, 100, 100.5, 101, 120, 121, 1000, 1001, 2**32 - 1, 2**32,
    math.nan, math.inf, True,
]  # fmt: skip
TEXTS: list[Any] = [
    "", " ", "a", "a.mp4", "A.PNG", "in/a.webp", "a/../b.mp4", "../a.mp4", "/abs/a.mp4", "~/a.mp4", "./a.mp4",
    "a//b.mp4",
    "s3://b/a.mp4", "s3:/b/a.mp4", "s3a://b/a", "gs://b/a?x=1", "az://c@acc.blob.core.windows.net/a", "az://c/a",
    "abfs://c@other.dfs.core.windows.net/a", "http://h/a.mp4", "file:///a.mp4", "C:\\a.mp4", "a::b", "a?b", "nan",
    "None",
    "#REF!", "[1]", "['a' b]", "{'a' b}", "{'a'", "['a', 'b']", '{"a": 1}', "a.txt", "b.pt", "two words.txt", LONG,
    "x" * MAX_PROMPT_CHARS, "\0",
]  # fmt: skip
CAMERAS: list[Any] = [
    [], ["rear"], ["rear", "front_wide"], ["rear", "rear"], ["nobody"], list(VIEWS), [*VIEWS, "rear"], ["a", "b"],
    [None, "a"],
    ["a"] * 7, {}, {"rear": "a"}, {view: f"{view}.mp4" for view in VIEWS}, {"front_wide": None}, {"nobody": "a"},
    {"rear": ["a", "b"]}, {view: ["1.jpg", "2.jpg"] for view in VIEWS},
    {view: [f"{n}" for n in range(5)] for view in VIEWS},
    {"front_wide": []}, {"front_wide": [None]},
]  # fmt: skip
#: Without lists of pictures, which no column of videos has.
VIDEOS = [one for one in CAMERAS if not isinstance(one, dict) or not any(isinstance(uri, list) for uri in one.values())]
#: What a row says beside the column: alone some say nothing.
BESIDE: dict[str, list[dict[str, Any]]] = {
    "num_conditional_frames": [{}, {"input_video": "a.mp4"}],
    "chunk_overlap": [{}, {"num_chunks": 3, "input_video": "a.mp4"}],
    "n_views": [{}, {"views": ["rear", "front_wide"]}],
    "input_videos": [{}, {"n_views": 1}, {"views": ["rear"]}, {"input_video": "b.mp4"}],
    "input_frames": [{}, {"n_views": 1}, {"num_conditional_frames": 5}, {"input_video": "b.mp4"}],
    "control_videos": [{}, {"n_views": 1}],
    "prompt_embedding": [{}, {"prompt": None}],
}
KINDS = {
    "id": TEXTS, "prompt": [*TEXTS, *CAMERAS[:10]], "prompt_embedding": TEXTS, "input_video": TEXTS,
    "negative_prompt": TEXTS, "views": CAMERAS[:8], "input_videos": VIDEOS, "control_videos": VIDEOS,
    "input_frames": CAMERAS,
}  # fmt: skip


def defaults_of(family: str) -> RowDefaults:
    return RowDefaults(len(FAMILIES[family].views), 35, 7.0, "blurry", 0, 10, family)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 90 else f"{text[:40]}… ({len(text)})"


def made_of(row: dict[str, Any], defaults: RowDefaults) -> str:
    """Errors, or what the clip has that the plain one has not; and whether a whole batch is sure of it."""
    try:
        clip = clips_of_row(row, defaults, BASE)[0]
    except ManifestError as error:
        return f"refused: {shown(str(error))}"
    plain = asdict(clips_of_row({"id": "r", "prompt": "p"}, defaults, BASE)[0])
    found = {
        name: one
        for name, one in asdict(clip).items()
        if one != plain[name] and name not in ("id", "row_id", "row_hash")
    }
    said = f"error: {clip.error}" if clip.error else ", ".join(f"{name}={shown(one)}" for name, one in found.items())
    try:
        right = check_batch(pa.RecordBatch.from_pylist([row]), defaults, BASE).right[0]
    except (pa.ArrowException, KeyError, TypeError):
        right = None
    sure = {None: "", True: " (sure)", False: " (looked at)"}[None if right is None else bool(right)]
    return f"{said or 'as without it'}{sure}"


def grouped(lines: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Values that give the same stand in one line."""
    found: dict[str, list[str]] = {}
    for value, answer in lines:
        found.setdefault(answer, []).append(value)
    for answer, values in found.items():
        yield f"  {' | '.join(values)}"
        yield f"    -> {answer}"


@pytest.mark.parametrize("column", list(COLUMNS))
def test_what_a_column_makes_of_each_value(column: str) -> None:
    defaults = defaults_of("predict2-multiview")
    lines = []
    for beside in BESIDE.get(column, [{}]):
        lines.append(f"{column} beside {beside}")
        values = KINDS.get(column, NUMBERS)
        row: dict[str, Any] = {"id": "r", "prompt": "p", **beside}
        answers = [(value, made_of({**row, column: value}, defaults)) for value in values]
        lines += grouped(
            (shown(value), answer.replace(f"found {value!r}", "found IT").replace(f"={shown(value)}", "=IT"))
            for value, answer in answers
        )
    assert_as_it_was(f"manifest/rows/{column}.txt", "\n".join(lines))


ROWS: list[dict[str, Any]] = [
    {}, {"prompt": None}, {"n_views": 1}, {"n_views": 7}, {"views": ["front_wide"]}, {"views": ["video"]},
    {"input_video": "a.mp4"}, {"input_video": "a.png"}, {"input_video": "a.mp4", "num_conditional_frames": 0},
    {"input_video": "a.mp4", "num_conditional_frames": 5}, {"input_frames": {"video": ["a.jpg"]}},
    {"input_frames": {"front_wide": ["a.jpg"]}, "n_views": 1}, {"num_conditional_frames": 1},
    {"num_chunks": 2, "input_video": "a.mp4"}, {"num_chunks": 2, "chunk_overlap": 1, "input_video": "a.mp4"},
    {"num_chunks": 2, "chunk_overlap": 5, "input_video": "a.mp4"}, {"num_chunks": 100}, {"num_chunks": 101},
    {"control_videos": {"front_wide": "c.mp4"}, "n_views": 1}, {"control_weight": 0.5}, {"num_steps": 4},
    {"num_steps": 5}, {"num_steps": 1000}, {"fps": 16}, {"seed": 2**32 - 1, "num_samples": 3}, {"num_samples": 1000},
    {"num_samples": 1001}, {"prompt": ["a", "b"], "n_views": 2}, {"prompt_embedding": "e.pt"},
    {"prompt": None, "prompt_embedding": "e.pt"},
]  # fmt: skip


@pytest.mark.parametrize("family", list(FAMILIES))
def test_what_each_family_makes_of_each_row(family: str) -> None:
    lines = grouped((shown(row), made_of({"id": "r", "prompt": "p", **row}, defaults_of(family))) for row in ROWS)
    assert_as_it_was(f"manifest/families/{family}.txt", "\n".join(lines))


def test_samples_of_a_row_differ_in_id_seed_and_hash() -> None:
    row = {"id": "r", "prompt": "p", "seed": 7, "num_samples": 3}
    found = clips_of_row(row, defaults_of("predict2-multiview"), BASE)
    lines = [f"{one.id} {one.row_id} {one.seed} {one.row_hash} {one.with_next_seed().seed}" for one in found]
    batch = pa.RecordBatch.from_pylist([row])
    checked = check_batch(batch, defaults_of("predict2-multiview"), BASE)
    lines += checked.row_hashes(np.array([0, 0, 0]), np.array([0, 1, 2]))
    assert_as_it_was("manifest/samples.txt", "\n".join(lines))


TYPES = [
    pa.null(), pa.bool_(), pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
    pa.decimal128(10, 2), pa.string(), pa.large_string(), pa.binary(), pa.date32(), pa.timestamp("s"),
    pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int32(), pa.int64()), pa.list_(pa.string()),
    pa.large_list(pa.string()), pa.list_(pa.int64()), pa.list_(pa.null()), pa.list_(pa.string(), 7),
    pa.struct([("rear", pa.string())]), pa.struct([("rear", pa.list_(pa.string()))]), pa.struct([("nobody",
    pa.string())]),
    pa.struct([("rear", pa.int64())]), pa.map_(pa.string(), pa.string()), pa.map_(pa.string(), pa.list_(pa.string())),
    pa.map_(pa.int64(), pa.string()),
]  # fmt: skip


def test_which_types_each_column_takes_and_what_each_mixture_becomes() -> None:
    lines = []
    for column in COLUMNS:
        lines.append(column)
        answers = []
        for kind in TYPES:
            try:
                columns = {"id": pa.string(), "prompt": pa.string()} | {column: kind}
                check_schema(pa.schema(list(columns.items())))
                answers.append((str(kind), "taken"))
            except ManifestError as error:
                answers.append((str(kind), str(error).replace(f"type {kind}", "type IT")))
        lines += grouped(iter(answers))
    assert_as_it_was("manifest/types.txt", "\n".join(lines))
    lines = []
    for column in ("prompt", "seed", "input_videos", "input_frames", "views", "other"):
        lines.append(column)
        answers = []
        accepted = [kind for kind in TYPES if column == "other" or COLUMNS[column].accepts(kind)]
        for place, one in enumerate(accepted):
            for other in accepted[place:]:
                files = [FileSchema(name, pa.schema([(column, kind)]), ()) for name, kind in (("a", one), ("b", other))]
                try:
                    answers.append((f"{one} + {other}", str(unify(files).field(0).type)))
                except ManifestError as error:
                    answers.append(
                        (f"{one} + {other}", str(error).replace(str(one), "ONE").replace(str(other), "OTHER"))
                    )
        lines += grouped(iter(answers))
    assert_as_it_was("manifest/mixtures.txt", "\n".join(lines))


def test_what_values_become_in_the_type_of_all_files() -> None:
    """Nulls, empty ones and values, of each type that another becomes."""
    wanted: dict[str, list[tuple[pa.DataType, list[Any]]]] = {
        "prompt": [(pa.string(), ["a", None, ""]), (pa.list_(pa.string()), [["a", "b"], None, []])],
        "views": [(pa.list_(pa.string()), [["rear"], None, []]), (pa.large_list(pa.string()), [["rear"], None, []])],
        "input_videos": [
            (pa.struct([("rear", pa.string()), ("nobody", pa.string())]), [{"rear": "a"}, None, {}, {"nobody": "b"}]),
            (pa.map_(pa.string(), pa.string()), [[("rear", "a")], None, [], [("rear", "a"), ("rear", "b")]]),
        ],
        "seed": [(pa.float64(), [1.0, None]), (pa.int8(), [1, None])],
    }
    lines = []
    for column, kinds in wanted.items():
        batches = [pa.RecordBatch.from_arrays([pa.array(values, kind)], [column]) for kind, values in kinds]
        schema = unify([FileSchema(str(place), one.schema, ()) for place, one in enumerate(batches)])
        for one in batches:
            found = conform(one, schema, ()).batch
            lines.append(f"{column}: {one.schema.field(0).type} as {schema.field(0).type}: {rows_of(found)}")
    assert_as_it_was("manifest/conformed.txt", "\n".join(lines))


NAMES = (
    "ids", "name", "Prompt", "promt", "prompts", "caption", "captions", "text", "video", "videos", "input", "inputs",
    "input_vidoe", "inputvideo", "input_path", "frames", "images", "seeds", "sed", "n_view", "num_views", "view",
    "cameras",
    "steps", "num_step", "cfg", "guidance_scale", "negative", "neg_prompt", "rate", "frame_rate", "samples",
    "num_sample",
    "embedding", "chunks", "overlap", "control", "weight", "weather", "scene", "x", "id2", "fps_", "my_seed", "uuid",
)  # fmt: skip


def test_which_names_are_taken_for_misspelt_ones() -> None:
    lines = grouped((name, str([near_column(name, NAMES, holds) for holds in (False, True)])) for name in NAMES)
    assert_as_it_was("manifest/names.txt", "\n".join(lines))
