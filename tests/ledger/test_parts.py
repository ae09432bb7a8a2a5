"""Parts: their row groups, what stands in their last bytes, and files in their place that are none."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compaction_scenes import record

from cosmos_ray.errors import CosmosRayError
from cosmos_ray.ledger import parts
from cosmos_ray.ledger.layout import LEDGER
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.parts import Part, damage_named, list_parts, live_parts, read_columns, row_groups, write_part
from cosmos_ray.ledger.record import table_of
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.store import faults
from cosmos_ray.store.storage import Storage


def rows_of(*numbers: int) -> pa.Table:
    """Of PART_SCHEMA, a record a number."""
    table = table_of([record(f"c{number:03d}") for number in numbers])
    return table.append_column("compacted_by", pa.array(np.full(len(numbers), 1, np.int64)))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 11), max_size=5))
def test_tables_of_any_sizes_become_row_groups_of_one_size(sizes: list[int]) -> None:
    """All full but the last; every row once, in its order."""
    numbers = np.arange(sum(sizes))
    tables = [pa.table({"n": part}) for part in np.split(numbers, np.cumsum(sizes))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_ROW_GROUP", 4)
        groups = list(parts._regrouped(tables))
    assert [n for group in groups for n in group["n"].to_pylist()] == numbers.tolist()
    full, rest = divmod(sum(sizes), 4)
    assert [group.num_rows for group in groups] == [4] * full + [rest] * (rest > 0)


def test_a_part_is_read_by_row_groups_and_by_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_ROW_GROUP", 2)
    storage = Storage(str(tmp_path))
    paths = [write_part(storage, 1, [rows_of(*numbers)]) for numbers in ((0, 1, 2, 3, 4), (5,))]
    found = {part.path: part for part in list_parts(storage)}
    first, second = (found[path] for path in paths)
    assert (first.rows, first.num_rows, second.rows) == ((2, 2, 1), 5, (1,))
    assert [group["id"].to_pylist() for group in row_groups(storage, first)] == [
        ["c000", "c001"], ["c002", "c003"], ["c004"]
    ]  # fmt: skip
    columns = read_columns(storage, [second, first], ["id", "attempt"])
    assert [table.column_names for table in columns] == [["id", "attempt"]] * 2
    assert [table.num_rows for table in columns] == [1, 5], "in the order that was asked for"


def test_parts_that_another_replaces_are_not_live_even_if_that_one_is_replaced(tmp_path: Path) -> None:
    a, b, c, d = (
        Part(name, (1,), frozenset(replaces), 0.0) for name, replaces in (("a", ""), ("b", "a"), ("c", "b"), ("d", ""))
    )
    assert live_parts([a, b, c, d]) == [c, d]
    assert live_parts([]) == []


def with_footer(facts: dict[str, str] | None) -> bytes:
    table, buffer = rows_of(0), io.BytesIO()
    pq.write_table(table.replace_schema_metadata(facts), buffer)
    return buffer.getvalue()


GOOD = {"replaces": "[]", "written": "1.5"}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1", with_footer(GOOD)[:-9],
        with_footer(None), with_footer({"replaces": "[]"}), with_footer({"written": "1.5"}),
        with_footer(GOOD | {"replaces": "["}), with_footer(GOOD | {"replaces": "7"}),
        with_footer(GOOD | {"written": "yesterday"}),
    ],
    ids=["empty", "four bytes", "zeros", "cut off", "no facts", "no time", "no list", "half a list", "no list of paths",
         "no number"],
)  # fmt: skip
def test_what_is_no_part_is_named_and_never_taken_for_no_records(
    tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each who lists: as none, its clips would all be made again."""
    monkeypatch.setattr(faults, "_RETRY_DELAYS_S", ())
    storage = Storage(str(tmp_path))
    write_part(storage, 1, [rows_of(0)])
    storage.write(f"{LEDGER}/00000002-stranger.parquet", data)
    with pytest.raises(CosmosRayError, match=r"00000002-stranger\.parquet holds commit records and cannot be read"):
        list_parts(storage)


def test_a_part_whose_columns_are_spoilt_is_named(tmp_path: Path) -> None:
    """Its footer is whole, so that it is found only when it is read, by whoever reads it. Parquet's own word for it is
    that of a store that is out."""
    storage = Storage(str(tmp_path))
    path = write_part(storage, 1, [rows_of(*range(50))])
    state = Ledger(storage).state()
    (part,) = list_parts(storage)
    data = bytearray(storage.read(path))
    data[4:200] = bytes(196)
    storage.write(path, bytes(data))
    assert list_parts(storage) == [part]
    ways: list[Callable[[], object]] = [
        lambda: read_columns(storage, [part], ["id"]),
        lambda: list(row_groups(storage, part)),
        lambda: RecordReader(storage, state).newest(["c000"]),
    ]
    for way in ways:
        with pytest.raises(CosmosRayError, match=r"\.parquet holds commit records and cannot be read"):
            way()


def test_a_store_that_is_out_is_not_a_damaged_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words, and the job waits for it; nobody is told to remove the part."""
    storage = Storage(str(tmp_path))
    path = write_part(storage, 1, [rows_of(0)])

    def is_out(_: str) -> bytes:
        raise OSError("503")

    monkeypatch.setattr(storage, "read", is_out)
    for said in (OSError("connection lost"), ConnectionResetError("reset"), OSError(5, "broken"), FileNotFoundError()):
        with pytest.raises(OSError) as error, damage_named(storage, path):
            raise said
        assert error.value is said or str(error.value) == "503"


def test_only_files_of_the_folder_itself_that_end_like_parts_are_parts(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    path = write_part(storage, 12, [rows_of(0)], replaces={"z", "y"})
    for other in ("00000012-x.parquet.part", "ab/x.parquet", "ab/c000.0.json"):
        storage.write(f"{LEDGER}/{other}", b"none")
    assert [part.path for part in list_parts(storage)] == [path]
    name, facts = path.rsplit("/", 1)[1], footer(storage, path)
    assert name.startswith("00000012-")
    assert json.loads(facts[b"replaces"]) == ["y", "z"]


def footer(storage: Storage, path: str) -> dict[bytes, bytes]:
    return dict(pq.read_schema(io.BytesIO(storage.read(path))).metadata)


def test_numbers_of_rows_are_those_of_all_row_groups() -> None:
    sizes: Sequence[int] = (3, 4, 5)
    assert Part("p", tuple(sizes), frozenset(), 0.0).num_rows == 12


def test_parts_are_found_without_a_listing_of_all_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which there may be a million, each an object of its own, while the parts are looked for again and again."""
    storage = Storage(str(tmp_path))
    path = write_part(storage, 1, [])

    def no_listing(prefix: str) -> None:
        raise AssertionError(prefix)

    monkeypatch.setattr(storage, "list", no_listing)
    assert [part.path for part in list_parts(storage)] == [path]
