"""Moments beyond Python's years, as databases write them for `infinity`: no reason to refuse a row that carries one."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.outcomes import clips

from cosmos_ray.manifest.builders.table import from_table
from cosmos_ray.manifest.python_values import rows_in, values_in

NEVER = 2**63 - 1
DAY = datetime.datetime(1970, 1, 2)
MOMENTS = pa.array([NEVER, None, 86_400_000_000], pa.timestamp("us"))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (MOMENTS, [str(NEVER), None, DAY]),
        (pa.chunked_array([MOMENTS, MOMENTS[:1]]), [str(NEVER), None, DAY, str(NEVER)]),
        (MOMENTS.dictionary_encode(), [str(NEVER), None, DAY]),
        (pa.array([2**62], pa.duration("s")), [str(2**62)]),
        (pa.array([2**31 - 1], pa.int32()).view(pa.date32()), [str(2**31 - 1)]),
        (pa.array([[NEVER, 86_400_000_000], None], pa.large_list(pa.timestamp("us"))), [[str(NEVER), DAY], None]),
        (
            pa.array([{"at": NEVER, "n": 1}], pa.struct([("at", pa.timestamp("s")), ("n", pa.int8())])),
            [{"at": str(NEVER), "n": 1}],
        ),
        (pa.array([[("k", NEVER)]], pa.map_(pa.string(), pa.timestamp("us"))), [[("k", str(NEVER))]]),
    ],
)
def test_a_moment_that_python_does_not_know_is_its_number(column: Any, expected: list[Any]) -> None:
    assert values_in(column) == expected
    assert rows_in(pa.table({"id": range(len(column)), "at": column})) == [
        {"id": row, "at": value} for row, value in enumerate(expected)
    ]


def test_manifests_are_made_and_read_with_it(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b", "c"], "prompt": ["p"] * 3, "until": MOMENTS})
    pq.write_table(table, tmp_path / "given.parquet")
    from_table(str(tmp_path / "given.parquet"), str(tmp_path / "m.parquet"))
    assert pq.read_table(tmp_path / "m.parquet")["until"].combine_chunks().equals(MOMENTS)
    assert list(clips(str(tmp_path / "m.parquet"))) == ["a", "b", "c"]
