"""Small rules of what an output tells: values as JSON has them, rows by a condition, who is at work."""

from __future__ import annotations

import datetime
import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.lease import Owner
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.tidy import files_of
from cosmos_ray.output.columns import plain
from cosmos_ray.output.failures import first_by_name, in_words
from cosmos_ray.output.report.listing import Listing
from cosmos_ray.output.report.page import _percent_of
from cosmos_ray.output.report.part import Part
from cosmos_ray.output.status import Status, removed_line
from cosmos_ray.output.where import filtered


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), (True, True), (3, 3), (1.5, 1.5), ("a", "a"), (math.nan, None), (-math.inf, None),
        (b"\x00\xff", "AP8="), (datetime.date(2030, 1, 2), "2030-01-02"), (datetime.time(3, 4, 5), "03:04:05"),
        (datetime.datetime(2030, 1, 2, 3, tzinfo=datetime.UTC), "2030-01-02T03:00:00+00:00"),
        (datetime.timedelta(hours=1), "1:00:00"), (Decimal("1.50"), "1.50"),
        ({1: (math.nan, b"")}, {"1": [None, ""]}), ([("a", [1.0])], [["a", [1.0]]]),
    ],
)  # fmt: skip
def test_what_parquet_holds_is_told_as_json_can(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)
    json.dumps(plain(value), allow_nan=False)


def test_rows_by_a_condition_keep_their_order_and_types() -> None:
    table = pa.table({"id": ["c", "a", "b"], "seed": pa.array([3, None, 1], pa.int32()), "of": [{"x": 1.0}] * 3})
    found = filtered(table, 'seed >= 1 and "of".x = 1')
    assert found["id"].to_pylist() == ["c", "b"]
    assert found.schema == table.schema
    assert filtered(table, "seed is null")["id"].to_pylist() == ["a"]
    for wrong in ("sed = 1", "seed =", "id in (select * from read_csv('/etc/passwd'))"):
        with pytest.raises(UsageError, match=r"^where ['\"]"):
            filtered(table, wrong)


@pytest.mark.parametrize(
    ("age_s", "has_ended", "is_at_work"),
    [(0.0, False, True), (59.9, False, True), (60.0, False, False), (1.0, True, False)],
)
def test_a_job_that_was_heard_of_within_a_minute_is_at_work(age_s: float, has_ended: bool, is_at_work: bool) -> None:
    owner = Owner("job", 1, False, age_s, {}, has_ended)
    status = Status("out", "tiny", 3, 1, 1, {"oom": 1}, 1, None, None, owner=owner)
    assert status.is_at_work is is_at_work
    assert not Status("out", "tiny", 3, 1, 1, {"oom": 1}, 1, None, None).is_at_work


def test_a_grid_may_be_asked_for_in_the_words_of_the_index_or_of_the_page() -> None:
    names = ("id", "caption", "steps", "denoise_s", "attempts", "seed", ".views")
    clips = Listing("clips", tuple((name, "text") for name in names), [], 0)
    assert Part().grid_of(clips) is None
    for asked, shown in (("prompt", "caption"), ("num_steps", "steps"), ("seconds", "denoise_s"),
                         ("attempt", "attempts"), ("seed", "seed"), ("caption", "caption")):  # fmt: skip
        assert Part(grid=(asked, "id")).grid_of(clips) == (shown, "id")
        assert Part(grid=("id", asked)).grid_of(clips) == ("id", shown)
    with pytest.raises(UsageError, match=r"--grid \.views: no clip has such a column, expected one of attempts, capt"):
        Part(grid=("seed", ".views")).grid_of(clips)
    own = Listing("clips", (*clips.columns, ("prompt", "text")), [], 0)
    assert Part(grid=("prompt", "seed")).grid_of(own) == ("prompt", "seed"), "the manifest's own, shown under its name"
    assert Part("seed < 3").in_words() == "only clips for which seed < 3"


def test_only_all_of_it_is_a_hundred_and_only_none_of_it_is_nothing() -> None:
    shares = {(0, 3): 0.0, (3, 3): 100.0, (0, 0): 0.0, (1, 3): 33.3, (1, 10**6): 0.1, (10**6 - 1, 10**6): 99.9}
    assert {of: _percent_of(*of) for of in shares} == shares


def test_failures_are_told_in_a_line_and_the_first_come_by_name() -> None:
    record = Record("a", 0, "failed", "oom", 1, "no memory", "h", 1)
    assert in_words(record) == "failed (oom) a: no memory"
    assert first_by_name(pa.chunked_array([["c", "a"], ["b"]]), 2) == ["a", "b"]
    assert first_by_name(pa.chunked_array([], pa.string()), 2) == []
    assert removed_line(1).startswith("1 more clip of rows that the manifest no longer has")


def test_a_record_refers_to_all_its_files() -> None:
    files = [FileEntry(name, name, 1, "s") for name in ("video", "sidecar", "preview")]
    record = Record("a", 0, "ok", None, 1, None, "h", 1, files=(files[0],), sidecar=files[1], previews=(files[2],))
    assert files_of(record) == {"video", "sidecar", "preview"}
