"""Whole records by their row numbers: of parts of several row groups, in any order, with few of them in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.compaction_scenes import record, settle

from cosmos_ray.ledger import parts, rows
from cosmos_ray.ledger.compaction import move_records
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, records_of, table_of
from cosmos_ray.ledger.rows import RecordReader, read_committed
from cosmos_ray.store.storage import Storage

NAMES = [f"c{number:02d}" for number in range(13)]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Thirteen clips: five row groups of two in parts, and three objects."""
    monkeypatch.setattr(parts, "_ROW_GROUP", 2)
    ledger = Ledger(Storage(str(tmp_path)))
    for first, count in ((0, 6), (6, 4)):
        move_records(ledger.storage, 1, table_of([record(name) for name in NAMES[first : first + count]]))
    settle(ledger, *(record(name) for name in NAMES[10:]))
    return ledger


@pytest.mark.parametrize("cached", [1, 2, 12])
def test_any_rows_come_in_the_order_that_was_asked_for(
    ledger: Ledger, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also twice, and those of a row group that has left the memory meanwhile."""
    monkeypatch.setattr(rows, "_CACHED", cached)
    state = ledger.state()
    known = state.records.table["id"].to_pylist()
    assert sorted(known) == NAMES
    reader, random = RecordReader(ledger.storage, state), np.random.RandomState(0)
    for count in (13, 1, 40, 5):
        places = random.randint(0, 13, count)
        assert [one.id for one in records_of(reader.table(places))] == [known[place] for place in places]
    assert reader.table(np.array([], np.int64)).num_rows == 0


def test_few_row_groups_are_in_memory_and_the_one_used_last_stays(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    open_part = rows.open_part
    monkeypatch.setattr(rows, "open_part", lambda *at: read.append(1) or open_part(*at))  # type: ignore[func-returns-value]
    monkeypatch.setattr(rows, "_CACHED", 2)
    state = ledger.state()
    reader = RecordReader(ledger.storage, state)
    starts = {name: state.records.table["id"].to_pylist().index(name) for name in NAMES}
    for name, reads in (("c00", 1), ("c02", 2), ("c01", 2), ("c04", 3), ("c00", 3), ("c03", 4), ("c12", 4)):
        assert [one.id for one in reader.newest([name])] == [name]
        assert len(read) == reads, f"{name} in row {starts[name]}"


@pytest.mark.parametrize("data", [b"abd", b"ab", b"abcd", b""])
def test_a_committed_file_is_the_recorded_bytes_and_no_others(tmp_path: Path, data: bytes) -> None:
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of abc
    storage, entry = Storage(str(tmp_path)), FileEntry("rear", "x", 3, sha256)
    with pytest.raises(ValueError, match="x is missing"):
        read_committed(storage, entry)
    storage.write("x", b"abc")
    assert read_committed(storage, entry) == b"abc"
    for wrong in (replace(entry, size=4), replace(entry, sha256="0" * 64)):
        with pytest.raises(ValueError, match="x: found 3 bytes of another sha256"):
            read_committed(storage, wrong)
    storage.write("x", data)
    with pytest.raises(ValueError, match=f"x: found {len(data)} bytes of another sha256, expected 3 bytes"):
        read_committed(storage, entry)
