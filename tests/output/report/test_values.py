"""Values of strangers' columns on a page: exact, or in words."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pyarrow as pa
import pytest

from cosmos_ray.output.report.values import as_json, kind_of, values_of


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None, 2**53, 2**60]), [1, None, 2**53, str(2**60)]),
        (pa.array([1.5, float("nan"), float("-inf")]), [1.5, "nan", "-inf"]),
        (pa.array([True, None]), [True, None]),
        (pa.array(["a\nb", "https://x/y?token=z", "\x1b[1m"]), ["a\nb", "https://x/y?…", "\\x1b[1m"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array(["a", "a"]).dictionary_encode(), ["a", "a"]),
        (pa.array([b"abc", None]), ["(3 bytes)", None]),
        (pa.array([datetime.date(2030, 1, 2)]), ["2030-01-02"]),
        (pa.array([2**62], pa.timestamp("ns")), None),
        (pa.array([[1, 2], None]), ["[1, 2]", None]),
        (pa.array([{"__proto__": "x"}]), ["{'__proto__': 'x'}"]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_every_kind_of_column_is_shown(column: pa.Array, expected: list[Any] | None) -> None:
    found = values_of(column)
    assert expected is None or found == expected
    assert json.loads(as_json(found)) == found


def test_a_long_text_is_cut() -> None:
    (found,) = values_of(pa.array(["x" * 10_000]))
    assert found == "x" * 4000 + " …"


def test_columns_of_numbers_are_ordered_by_size() -> None:
    assert kind_of([1, None, 2.5]) == "number"
    assert kind_of([1, "a"]) == kind_of([True]) == kind_of([None]) == "text"
