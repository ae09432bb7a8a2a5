"""Values of strangers' columns on a page: exact, or in words."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cosmos_ray.output.report.values import as_json, kind_of, values_of


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None, 2**53, 2**60]), [1, None, 2**53, str(2**60)]),
        (pa.array([1.5, float("nan"), float("-inf")]), [1.5, "nan", "-inf"]),
        (pa.array([0.1, 1 / 3, None], pa.float32()), [0.1, 0.33333334, None]),
        (pa.array([0.1, float("inf")], pa.float16()), [0.1, "inf"]),
        (pa.array([0.1], pa.float32()).dictionary_encode(), [0.1]),
        (pa.array([0.1 + 0.2]), [0.1 + 0.2]),
        (pa.array([[0.1, None]], pa.list_(pa.float32())), ["[0.1, None]"]),
        (pa.array([{"a": [0.1 + 0.2, 1e-7, 2.0]}]), ["{'a': [0.3, 1e-07, 2.0]}"]),
        (pa.array([[("k", 0.1)]], pa.map_(pa.string(), pa.float32())), ["[('k', 0.1)]"]),
        (pa.array([Decimal("1.50"), None]), [1.5, None]),
        (pa.array([Decimal("12345678901234567.25")]), ["12345678901234567.25"]),
        (pa.array([[Decimal("1.50")]]), ["[1.5]"]),
        (pa.array([{"at": datetime.date(2030, 1, 2), "of": b"abc"}]), ["{'at': '2030-01-02', 'of': '(3 bytes)'}"]),
        (pa.array([True, None]), [True, None]),
        (pa.array(["a\nb", "https://x/y?token=z", "\x1b[1m"]), ["a\nb", "https://x/y?…", "\\x1b[1m"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array(["a", "a"]).dictionary_encode(), ["a", "a"]),
        (pa.array([b"abc", None]), ["(3 bytes)", None]),
        (pa.StructArray.from_arrays([pa.array([0.1], pa.float32()).dictionary_encode()], ["of"]), ["{'of': 0.1}"]),
        (pa.ListArray.from_arrays([0, 2], pa.array([b"abc", None]).dictionary_encode()), ["['(3 bytes)', None]"]),
        (pa.array([datetime.date(2030, 1, 2)]), ["2030-01-02"]),
        (pa.array([2**62], pa.timestamp("ns")), None),
        (pa.array([2**62, None, 0], pa.timestamp("us")), [str(2**62), None, "1970-01-01 00:00:00"]),
        (pa.array([2**62], pa.duration("s")), [str(2**62)]),
        (pa.array([[2**62, 0]], pa.list_(pa.timestamp("us"))), [f"['{2**62}', '1970-01-01 00:00:00']"]),
        (pa.array([{"at": 2**62}], pa.struct([("at", pa.date64())])), [f"{{'at': '{2**62}'}}"]),
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
    assert values_of(pa.array(["x" * 4000])) == ["x" * 4000]


def test_columns_of_numbers_are_ordered_by_size() -> None:
    assert kind_of([1, None, 2.5]) == "number"
    assert kind_of([1, "a"]) == kind_of([True]) == kind_of([None]) == "text"
