"""`--where`: any table that an index can be, and words of people who mean no good."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cosmos_ray.errors import UsageError
from cosmos_ray.output.where import filtered

IDS = pa.array(["a", "b", "c"])


@pytest.mark.parametrize("name", ["row_number", "ROW_NUMBER", "Row_Number"])
def test_a_column_may_have_any_name(name: str) -> None:
    """DuckDB knows no difference of case."""
    table = pa.table({"id": IDS, name: [5, 6, 7], "row_number_": [7, 8, 9]})
    assert filtered(table, "row_number > 5 and row_number_ < 9").equals(table.slice(1, 1))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0.5, 1.5, None], pa.float16()),
        pa.array([[0.5], None, []], pa.list_(pa.float16())),
        pa.array([{"x": [0.5]}, None, {"x": None}], pa.struct([("x", pa.list_(pa.float16()))])),
        pa.array([Decimal("1" * 50), None, Decimal(3)], pa.decimal256(60, 2)),
        pa.array([datetime.timedelta(days=1), None, None]),
        pa.array([2**62, None, 0], pa.timestamp("us")),
        pa.array(["x", "x", None]).dictionary_encode(),
        pa.nulls(3),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_of_any_type_stays_as_it_is(column: pa.Array) -> None:
    """DuckDB reads few of these as what they are."""
    table = pa.table({"id": IDS, "row_number": column})
    found = filtered(table, "id <> 'b'")
    assert found.schema == table.schema
    assert found.equals(table.take([0, 2]))


def test_conditions_ask_for_any_of_them_and_rows_stay_in_their_order() -> None:
    columns: dict[str, Any] = {
        "id": pa.array([str(number) for number in range(5000)]),
        "half": pa.array([number % 7 / 2 for number in range(5000)], pa.float16()),
        "took": pa.array([datetime.timedelta(seconds=number) for number in range(5000)]),
    }
    found = filtered(pa.table(columns), "half = 1.5 and took < interval 1 hour")
    assert found["id"].to_pylist() == [str(number) for number in range(3600) if number % 7 == 3]


@pytest.mark.parametrize(
    "where",
    [
        "", " \n", "'", '"', "((((", "\0", "id = '\udcff'", "id = ?", "nobody = 1", "count(*) > 0", "id = 'a' LIMIT 1",
        "id = 'a'; DROP TABLE rows", "id = 'a') OR (1 = 1", "id = 'a' UNION SELECT * FROM rows", "install httpfs",
        "1 = 1; COPY rows TO 'x.csv'", "exists(select * from secret)", "exists(select * from '/etc/hostname')",
        "exists(select * from read_text('/etc/hostname'))", "exists(select * from glob('/etc/*'))",
    ],
)  # fmt: skip
def test_words_that_are_no_condition_or_ask_for_more_than_the_table_are_refused(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = pa.table({"key": ["of this program"]})
    with pytest.raises(UsageError, match=r"^where"):
        filtered(pa.table({"id": IDS}), where)
    assert list(tmp_path.iterdir()) == []
    assert len(secret) == 1


def test_quotes_comments_and_letters_of_any_script_are_read_as_sql_has_them() -> None:
    table = pa.table({"id": IDS, 'ünï "<b>': ["'; --", "路", None]})
    assert filtered(table, "\"ünï \"\"<b>\" = '''; --' -- and so on")["id"].to_pylist() == ["a"]
    assert filtered(table, '"ünï ""<b>" = \'路\'')["id"].to_pylist() == ["b"]
    assert filtered(table, "null")["id"].to_pylist() == []
