"""Small rules of the room over all that they may meet, as they were."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from support.surfaces import assert_as_it_was

from cosmos_ray.errors import UsageError
from cosmos_ray.output import columns, index
from cosmos_ray.output.column_names import beside
from cosmos_ray.output.export import export
from cosmos_ray.output.references import without_secrets
from cosmos_ray.output.report import listing, summary, together, values
from cosmos_ray.output.report.listing import Listing
from cosmos_ray.output.report.page import _percent_of

URIS = (
    "s3://b/k", "s3://u:secret@b/k", "https://h/k?sig=secret&x=1", "a#token=secret", "/plain/x.mp4", "a%3Fb%3Dc",
    "x:y@z",
    "?", "p?q", "abfs://c@acc.dfs.core.windows.net/k", "b%23c=d", None,
)  # fmt: skip


def test_what_is_kept_of_references() -> None:
    """In texts, lists, structs and maps of ours, and in columns that are only carried."""
    lines = []
    for uri in URIS:
        batch = pa.RecordBatch.from_pydict({
            "id": ["a?b=c"], "prompt": ["see s3://u:p@b/k"], "input_video": pa.array([uri], pa.string()),
            "input_videos": pa.array([[("rear", uri)]], pa.map_(pa.string(), pa.string())),
            "input_frames": pa.array([{"rear": [uri, "x"]}], pa.struct([("rear", pa.list_(pa.string()))])),
            "control_videos": pa.array([{"rear": uri}], pa.struct([("rear", pa.string())])),
            "theirs": pa.array([uri], pa.string()), "views": [["rear?a=b"]],
        })  # fmt: skip
        lines += [f"{uri}: {without_secrets(batch).to_pylist()[0]}"]
    assert_as_it_was("output/secrets.txt", "\n".join(lines))


def test_types_without_maps() -> None:
    kinds = [
        pa.map_(pa.string(), pa.int64()), pa.list_(pa.map_(pa.string(), pa.string())), pa.int8(),
        pa.struct([("a", pa.map_(pa.string(), pa.map_(pa.string(), pa.int8()))), ("b", pa.string())]),
        pa.large_list(pa.struct([("m", pa.map_(pa.string(), pa.string()))])), pa.map_(pa.string(),
        pa.list_(pa.string())),
    ]  # fmt: skip
    assert_as_it_was("output/maps.txt", "\n".join(f"{kind} -> {index._without_maps(kind)}" for kind in kinds))


def test_names_beside_others() -> None:
    names = (
        ["a", "b"],
        ["id", "ID"],
        ["status", "manifest_status"],
        ["__filename", "x"],
        ["A"],
        [],
        ["Straße", "STRASSE"],
    )
    lines = [
        f"{some} beside {ours}: {beside(some, ours)}"
        for some in names
        for ours in ((), ("id", "status"), ("a", "manifest_a"))
    ]
    assert_as_it_was("output/names.txt", "\n".join(lines))


def test_rows_of_several_outputs_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of numbers in one and of texts in another, or of one alone; the most rows that a page has."""
    monkeypatch.setattr(together, "MOST", 3)
    lists = [
        Listing("clips", (("id", "text"), ("speed", "number"), ("output", "text"), (".folder", "text")),
                [["a", 1, "x", "clips/a"], ["b", None, "y", None]], 7),
        Listing("clips", (("id", "text"), ("speed", "text"), ("seed", "number"), (".preview", "text")),
                [["c", "fast", 3, "p/c"], ["d", "slow", 4, None]], 2),
    ]  # fmt: skip
    parts = [together._One(SimpleNamespace(output=f"/o {n}"), f"o{n}", one, one, []) for n, one in enumerate(lists)]  # type: ignore[arg-type]
    found = together._merged("clips", parts)
    lines = [f"{found.name} {found.total}", *map(str, found.columns), *map(str, found.rows)]
    uris = ("/a/x", "/a/y", "/b", "s3://b/a/x", "s3://b/a/y", "s3://c/x", "/a/x/", "gs://b/a/x")
    for one, other in itertools.product(uris, uris[:5]):
        try:
            lines.append(f"{one} {other}: {together._folder_of([one, other]).uri}")
        except UsageError as error:
            lines.append(f"{one} {other}: {error}")
    assert_as_it_was("output/together.txt", "\n".join(lines))


def test_values_as_a_page_shows_them() -> None:
    arrays = [
        pa.array([0.1, 1.5, None], pa.float32()), pa.array([0.1, float("nan"), float("-inf"), 1 / 3]),
        pa.array([2**53, -(2**53) - 1, 5]),
        pa.array(["a", "", "x" * 4001, "a\nb\x07"]), pa.array([b"ab", None]), pa.array([True, None]),
        pa.array([[0.1 + 0.2, 1.0]]),
        pa.array([{"a": 1 / 3, "b": [1]}]), pa.array([[("k", 0.1)]], pa.map_(pa.string(), pa.float32())),
        pa.array([0], pa.date32()),
        pa.array(["x"]).dictionary_encode(), pa.array([1.5], pa.float16()),
    ]  # fmt: skip
    lines = [
        f"{one.type}: {[str(v)[:60] for v in values.values_of(one)]} {values.kind_of(values.values_of(one))}"
        for one in arrays
    ]
    lines += [str([_percent_of(part, whole) for whole in (1, 3, 1000, 10000)]) for part in (0, 1)]
    lines += [str([_percent_of(part, 10000) for part in (1, 4, 5, 9994, 9999, 10000)])]
    plain = (None, True, 1, 1.5, float("inf"), "a", b"ab", [1, (2,)], {1: float("nan")}, 3j)
    lines += [f"{one!r}: {columns.plain(one)!r}" for one in plain]
    for frames, views, control in itertools.product((0, 1, 5, 9, "x"), ("rear", "picture", None), (False, True)):
        lines.append(f"{frames} {views} {control}: {listing._mode(frames, views, control)}")
    lines += [summary.Throughput((1, 3), "a", "b", seconds).in_words() for seconds in (0.5, 1, 90, 7200)]
    assert_as_it_was("output/values.txt", "\n".join(lines))


def test_a_copy_goes_nowhere_that_is_removed_with_the_job(tmp_path: Path) -> None:
    unpacked = tmp_path / "runtime_resources" / "working_dir_files" / "x"
    with pytest.raises(UsageError, match=r"^--to: .*would lie in the copy of the working directory"):
        export(str(tmp_path / "out"), "rds-hq", str(unpacked), print)
