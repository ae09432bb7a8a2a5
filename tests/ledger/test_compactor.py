"""When records are moved, how many at a time, and which parts are merged: the limits, one by one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.attempts import begin_attempt
from support.compaction_scenes import check, make_small, record, settle
from support.waiting import PATIENCE_S

from cosmos_ray.ledger import compaction
from cosmos_ray.ledger.compaction import Compactor, compact, merge, move_records
from cosmos_ray.ledger.ledger import Ledger, attempt_path
from cosmos_ray.ledger.parts import list_parts, live_parts
from cosmos_ray.ledger.record import Record, record_path, table_of
from cosmos_ray.store.storage import Storage


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records make a batch, three parts a merge, and six rows a part that is full."""
    make_small(monkeypatch)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Storage(str(tmp_path)))


def many(count: int, start: int = 0) -> list[Record]:
    return [record(f"c{number:02d}") for number in range(start, start + count)]


def sizes(ledger: Ledger) -> list[int]:
    return sorted(part.num_rows for part in live_parts(list_parts(ledger.storage)))


def test_the_limits_that_pages_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert (compaction.BATCH, compaction.FULL, compaction.MERGE, compaction.KEPT_S) == (1000, 100_000, 16, 3600.0)


@pytest.mark.parametrize(("count", "expected"), [(1, []), (2, [2]), (6, [6]), (7, [1, 6]), (13, [1, 6, 6])])
def test_what_an_earlier_job_left_becomes_parts_that_are_full_but_the_last(
    ledger: Ledger, count: int, expected: list[int]
) -> None:
    settled = settle(ledger, *many(count))
    assert compact(ledger.storage, 1, ledger.state().contents) == sum(expected)
    assert sizes(ledger) == expected
    check(ledger.storage.uri, settled)


def test_what_an_earlier_job_left_is_merged_with_its_parts(ledger: Ledger) -> None:
    settled = many(2)
    for one in settled:
        move_records(ledger.storage, 1, table_of([one]))
    settled += settle(ledger, *many(2, start=2))
    compact(ledger.storage, 2, ledger.state().contents)
    assert sizes(ledger) == [4]
    check(ledger.storage.uri, settled)


def test_only_parts_that_are_not_full_are_merged_and_only_when_there_are_enough(ledger: Ledger) -> None:
    settled = many(17)
    for first, count in ((0, 6), (6, 5), (11, 1)):
        move_records(ledger.storage, 1, table_of(settled[first : first + count]))
    merge(ledger.storage, 1)
    assert sizes(ledger) == [1, 5, 6], "a full one does not count"
    move_records(ledger.storage, 1, table_of(settled[12:]))
    merge(ledger.storage, 1)
    assert sizes(ledger) == [6, 11]
    merge(ledger.storage, 1)
    assert len(list_parts(ledger.storage)) == 5, "once merged, nothing is to do"
    check(ledger.storage.uri, settled)


def test_a_running_job_merges_its_parts_too(ledger: Ledger) -> None:
    """Else a job of weeks has thousands of them, and each reader reads them all."""
    settled = settle(ledger, *many(6))
    compactor = Compactor(ledger.storage, epoch=1)
    for first in (0, 2, 4):
        add(compactor, settled[first : first + 2])
    compactor.close()
    assert sizes(ledger) == [6]
    check(ledger.storage.uri, settled)


def add(compactor: Compactor, records: list[Record]) -> None:
    """And wait until they are moved, as they are while a job makes the next ones."""
    for one in records:
        compactor.add(one)
    if compactor._moving:
        compactor._moving.result()


class SlowStorage(Storage):
    """Whose parts are written when `go` is set."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, path: str, data: bytes) -> None:
        if path.endswith(".parquet"):
            self.begun.set()
            assert self.go.wait(PATIENCE_S)
        super().write(path, data)


def test_records_that_come_while_a_batch_is_moved_wait_and_go_together(tmp_path: Path) -> None:
    """The driver is not held up, none is moved twice, and none is forgotten. Closing waits for the batch."""
    storage = SlowStorage(str(tmp_path))
    ledger = Ledger(storage)
    settled = settle(ledger, *many(6))
    compactor = Compactor(storage, epoch=1)
    for one in settled[:5]:
        compactor.add(one)
    assert storage.begun.wait(PATIENCE_S)
    closing = threading.Timer(0.05, storage.go.set)
    closing.start()
    assert compactor._moving is not None
    compactor._moving.result()
    assert sizes(ledger) == [2]
    storage.go.clear()
    compactor.add(settled[5])
    closing = threading.Timer(0.05, storage.go.set)
    closing.start()
    compactor.close()
    assert sizes(ledger) == [2, 4]
    assert not storage.exists(record_path("c05", 0))
    check(storage.uri, settled)


def test_a_batch_that_cannot_be_moved_is_said_and_stays_and_the_next_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage(str(tmp_path))
    settled = settle(Ledger(storage), *many(4))
    write, failures = storage.write, [OSError("503")]

    def write_next_time(path: str, data: bytes) -> None:
        if failures:
            raise failures.pop()
        write(path, data)

    monkeypatch.setattr(storage, "write", write_next_time)
    compactor = Compactor(storage, epoch=1)
    add(compactor, settled[:2])
    add(compactor, settled[2:])
    compactor.close()
    assert "2 records stay objects: 503" in caplog.text
    left = [one.id for one in settled if storage.exists(record_path(one.id, 0))]
    assert left == ["c00", "c01"]
    check(storage.uri, settled)


def test_of_a_moved_record_the_mark_of_its_first_attempt_goes_and_later_ones_stay(ledger: Ledger) -> None:
    """Numbers go on from the record's, and a clip that is not settled keeps all of its marks."""
    settle(ledger, record("a", "oom"), record("b", attempt=3), record("c", "input", attempt=0))
    for name, number in (("a", 2), ("b", 1), ("d", 1)):
        ledger.storage.write(attempt_path(name, number), b"gang")
    compact(ledger.storage, 1, ledger.state().contents)
    left = {path.rsplit("/", 1)[1] for path in ledger.storage.list("_cosmos_ray/attempts")}
    assert left == {"a.2", "b.3", "d.1"}
    assert begin_attempt(ledger, "b", 3, "gang") == 4
