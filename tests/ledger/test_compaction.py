"""Records that move from objects into Parquet parts stay what they were, and each stays its clip's only one.

Also for attempts and owners that have slept meanwhile. Crashes and readers: test_compaction_crashes.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.attempts import begin_attempt
from support.compaction_scenes import LATER, check, compaction_of, make_small, record, settle

from cosmos_ray.errors import CosmosRayError
from cosmos_ray.ledger import compaction, parts
from cosmos_ray.ledger.compaction import KEPT_S, Compactor, compact, merge, move_records
from cosmos_ray.ledger.layout import LEASE, LEDGER
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.parts import list_parts, live_parts, write_part
from cosmos_ray.ledger.record import FileEntry, Record, record_path, table_of
from cosmos_ray.ledger.rows import bytes_a_clip
from cosmos_ray.store.storage import Storage


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def test_records_move_and_are_what_they_were(storage: Storage) -> None:
    """On a local folder and on an S3 server: no object is left, and no mark of a first attempt."""
    ledger = Ledger(storage)
    settled = settle(ledger, record("a"), record("b", "gang"), record("c"), record("nœud".replace("œ", "oe"), "input"))
    assert compact(storage, 1, ledger.state().contents) == 4
    assert [path for path in storage.list(LEDGER) if path.endswith(".json")] == []
    assert list(storage.list("_cosmos_ray/attempts")) == []
    assert len(list_parts(storage)) == 1
    check(storage.uri, settled)
    assert ledger.find("b", 0) == settled[1]
    assert ledger.retry() == ["b", "noeud"]
    settled += settle(ledger, record("b", generation=1, attempt=2))
    check(storage.uri, settled)
    assert ledger.state().is_settled("b")
    assert not ledger.state().is_settled("noeud")


def test_bytes_a_clip_are_told_of_objects_and_of_parts(tmp_path: Path) -> None:
    """Of the newest clips that are ok; a failure has no files."""
    ledger = Ledger(Storage(str(tmp_path)))
    assert bytes_a_clip(ledger.storage, ledger.state()) is None
    settle(ledger, *(with_files(number) for number in range(6)), record("bad", "input"))
    assert bytes_a_clip(ledger.storage, ledger.state()) == round(sum(range(6)) * 110 / 6)
    assert compact(ledger.storage, 1, ledger.state().contents) == 7
    settle(ledger, with_files(9))
    assert bytes_a_clip(ledger.storage, ledger.state()) == round((sum(range(6)) + 9) * 110 / 7)
    assert bytes_a_clip(ledger.storage, ledger.state(), clips=1) == 9 * 110


def with_files(number: int) -> Record:
    """Of `number` views of 100 bytes each, and ten of the sidecar for each."""
    files = tuple(FileEntry(f"view{view}", f"{number}/{view}.mp4", 100, "h") for view in range(number))
    return replace(record(f"c{number}"), files=files, sidecar=FileEntry("", f"{number}/clip.json", 10 * number, "h"))


def test_few_records_stay_objects(tmp_path: Path) -> None:
    ledger = Ledger(Storage(str(tmp_path)))
    settle(ledger, record("a"))
    assert compact(ledger.storage, 1, ledger.state().contents) == 0
    assert ledger.storage.exists(record_path("a", 0))


def test_parts_are_merged_and_the_old_ones_go_an_hour_later(tmp_path: Path) -> None:
    """So that there are few of them, however many records there are, and a reader has time to read what it listed."""
    storage = Storage(str(tmp_path))
    ledger = Ledger(storage)
    settled: list[Record] = []
    for number in range(0, 30, 2):
        settled += settle(ledger, record(f"c{number:02d}"), record(f"c{number + 1:02d}"))
        compaction_of(storage)
        assert len(live_parts(list_parts(storage))) <= 30 // 6 + 3
    check(storage.uri, settled)
    live = {part.path for part in live_parts(list_parts(storage))}
    assert len(list_parts(storage)) > len(live)
    merge(storage, 1, now=LATER + max(part.written for part in list_parts(storage)))
    assert {part.path for part in list_parts(storage)} <= live
    check(storage.uri, settled)


def test_what_was_merged_stays_for_an_hour_from_then_however_old_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is how long ago a reader could have listed a part as the place of its records."""
    clock = Clock()
    monkeypatch.setattr(parts, "time", clock)
    monkeypatch.setattr(compaction, "time", clock)
    storage = Storage(str(tmp_path))
    for number in range(3):
        move_records(storage, 1, table_of([record(f"c{number}")]))
    small = {part.path for part in list_parts(storage)}
    clock.now += 2 * KEPT_S
    for wait, kept in ((0, True), (KEPT_S - 1, True), (2, False)):
        clock.now += wait
        merge(storage, 1)
        assert {part.path for part in list_parts(storage)} & small == (small if kept else set())
        assert len(live_parts(list_parts(storage))) == 1


def test_objects_that_cannot_be_removed_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of a batch it is: the rest of what an owner leaves behind is removed by nobody else."""
    for wrong in (0, 3):
        storage = Storage(str(tmp_path / str(wrong)))
        settled = settle(Ledger(storage), *(record(f"c{number}") for number in range(4)))
        delete, stuck = storage.delete, record_path(f"c{wrong}", 0)

        def refused(path: str, stuck: str = stuck, delete: Callable[[str], None] = delete) -> None:
            if path == stuck:
                raise PermissionError(path)
            delete(path)

        monkeypatch.setattr(storage, "delete", refused)
        with pytest.raises(PermissionError, match=stuck):
            move_records(storage, 1, table_of(settled))
        check(storage.uri, settled)


class Clock:
    """Stands in for the module `time`."""

    now = 1e9

    def time(self) -> float:
        return self.now


def test_a_running_job_moves_its_records_without_listing_them(tmp_path: Path) -> None:
    """Only what the driver was told of: an outcome that another attempt may still commit stays an object."""
    storage = Storage(str(tmp_path))
    settled = settle(Ledger(storage), *(record(f"c{number}") for number in range(5)))
    compactor = Compactor(storage, epoch=1)
    for one in settled[:3]:
        compactor.add(one)
    compactor.close()
    left = {path for path in storage.list(LEDGER) if path.endswith(".json")}
    assert {record_path("c3", 0), record_path("c4", 0)} <= left
    assert record_path("c0", 0) not in left
    check(storage.uri, settled)


def test_an_owner_that_lost_the_output_moves_nothing(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    settled = settle(Ledger(storage), record("a"), record("b"))
    storage.write_if_absent(f"{LEASE}/00000002.json", b"the next owner")
    compactor = Compactor(storage, epoch=1)
    for one in settled:
        compactor.add(one)
    compactor.close()
    assert list_parts(storage) == []
    check(storage.uri, settled)


def test_a_damaged_record_is_left_where_it_is_and_its_clip_opened_again(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    ledger = Ledger(storage)
    settled = settle(ledger, record("a"), record("b"), record("c"))
    storage.write(record_path("a", 0), b'{"id": "a", "gener')
    assert compact(storage, 1, ledger.state().contents) == 2
    state = ledger.state()
    assert (state.is_settled("a"), state.generation("a"), state.is_settled("b")) == (False, 1, True)
    settled[0] = settle(ledger, record("a", generation=1, attempt=2))[0]
    check(storage.uri, settled)


def test_a_damaged_object_beside_a_moved_record_opens_nothing(tmp_path: Path) -> None:
    ledger = Ledger(Storage(str(tmp_path)))
    settled = settle(ledger, record("a"), record("b"))
    compact(ledger.storage, 1, ledger.state().contents)
    ledger.storage.write(record_path("a", 0), b"{")
    assert ledger.state().is_settled("a")
    check(ledger.storage.uri, settled)


def test_a_part_that_reads_back_as_other_bytes_takes_no_records(tmp_path: Path) -> None:
    """Of the same length: a store that lost what it was given, and answers with what it has."""

    class Forgetful(Storage):
        def read(self, path: str) -> bytes:
            data = super().read(path)
            return data[:-1] + bytes([data[-1] ^ 1]) if path.endswith(".parquet") else data

    storage = Forgetful(str(tmp_path))
    settled = settle(Ledger(storage), record("a"), record("b"))
    with pytest.raises(OSError, match=r"\.parquet: what was read back is not what was written"):
        compact(storage, 1, Ledger(storage).state().contents)
    assert all(storage.exists(record_path(one.id, 0)) for one in settled)


def test_a_damaged_part_is_said_to_be_one(tmp_path: Path) -> None:
    """Never taken for no records: that would make all of its clips again."""
    ledger = Ledger(Storage(str(tmp_path)))
    settle(ledger, record("a"), record("b"))
    compact(ledger.storage, 1, ledger.state().contents)
    (part,) = list_parts(ledger.storage)
    ledger.storage.write(part.path, b"PAR1 and then nothing")
    with pytest.raises(CosmosRayError, match=r"\.parquet holds commit records and cannot be read"):
        ledger.state()


def test_records_in_parts_read_as_json_would(tmp_path: Path) -> None:
    """Every field survives, also of records that another version's `seconds` made longer."""
    one = replace(
        record("a"), gang="g", node="nœud", started="2030-01-01", request_hash="h", seconds={"denoise": 1, "x": 0.25}
    )
    ledger = Ledger(Storage(str(tmp_path)))
    settle(ledger, one, record("b"))
    compact(ledger.storage, 1, ledger.state().contents)
    found = ledger.find("a", 0)
    assert found is not None
    assert json.loads(found.to_json()) == json.loads(one.to_json())


# --- who wakes late --------------------------------------------------------------------------------------------------


def test_an_attempt_that_was_given_up_finds_the_outcome_that_was_moved(storage: Storage) -> None:
    """Its gang was cut off in the last step before the commit; its clip was made by another and the record moved."""
    ledger = Ledger(storage)
    assert begin_attempt(ledger, "a", 0, "asleep") == 1
    settled = settle(ledger, record("a", attempt=2), record("b"))
    compact(storage, 1, ledger.state().contents)
    assert ledger.commit(record("a", attempt=1)) == settled[0]
    assert not storage.exists(record_path("a", 0)), "its own record is taken back"
    check(storage.uri, settled)


def test_so_does_a_first_attempt_that_is_marked_only_then(tmp_path: Path) -> None:
    """It began while the store was out: its mark, made now, says nothing of records that were moved before."""
    ledger = Ledger(Storage(str(tmp_path)))
    settled = settle(ledger, record("a", attempt=2), record("b"))
    compact(ledger.storage, 1, ledger.state().contents)
    assert ledger.mark_attempt("a", 1, "asleep") == 1
    assert ledger.commit(record("a", attempt=1), is_marked_late=True) == settled[0]
    assert not ledger.storage.exists(record_path("a", 0)), "its own record is taken back"
    check(ledger.storage.uri, settled)


def test_so_does_one_whose_clip_was_failed_by_the_driver_under_its_own_number(tmp_path: Path) -> None:
    ledger = Ledger(Storage(str(tmp_path)))
    settled = settle(ledger, record("a", "timeout", attempt=1), record("b"))
    compact(ledger.storage, 1, ledger.state().contents)
    assert ledger.commit(record("a", attempt=1)) == settled[0]
    check(ledger.storage.uri, settled)


def test_so_does_a_later_attempt_than_the_recorded_one(tmp_path: Path) -> None:
    """The first attempt's record was not heard of: a second was begun, slept, and another owner moved the record."""
    ledger = Ledger(Storage(str(tmp_path)))
    settled = settle(ledger, record("a"), record("b"))
    assert begin_attempt(ledger, "a", 1, "asleep") == 2
    compact(ledger.storage, 2, ledger.state().contents)
    assert ledger.commit(record("a", attempt=2)) == settled[0]
    check(ledger.storage.uri, settled)


def test_an_object_beside_a_moved_record_counts_for_nothing_and_is_removed(tmp_path: Path) -> None:
    """However it came there."""
    ledger = Ledger(Storage(str(tmp_path)))
    settled = settle(ledger, record("a"), record("b"))
    compact(ledger.storage, 1, ledger.state().contents)
    ledger.storage.write(record_path("a", 0), record("a", "gang", attempt=7).to_json())
    check(ledger.storage.uri, settled)
    settled += settle(ledger, record("c"), record("d"))
    compact(ledger.storage, 2, ledger.state().contents)
    check(ledger.storage.uri, settled)
    assert not ledger.storage.exists(record_path("a", 0))


def test_of_two_parts_the_later_owners_holds_also_after_they_are_merged(tmp_path: Path) -> None:
    """An owner that slept through the loss of the output wakes in the middle of a move."""
    storage = Storage(str(tmp_path))
    ledger = Ledger(storage)
    settled = settle(ledger, record("a", attempt=2), record("b"))
    compact(storage, 2, ledger.state().contents)
    move_records(storage, 1, table_of([record("a", "gang", attempt=1)]))
    check(storage.uri, settled)
    assert ledger.find("a", 0) == settled[0]
    settled += settle(ledger, record("c"), record("d"))
    compaction_of(storage, epoch=3)
    assert len(live_parts(list_parts(storage))) == 1
    check(storage.uri, settled)
    assert ledger.find("a", 0) == settled[0]


def test_a_part_says_what_it_replaces(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    table = table_of([record("a")])
    part = write_part(storage, 7, [table.append_column("compacted_by", [np.array([7])])], replaces=["x", "y"])
    assert part.startswith(f"{LEDGER}/00000007-")
    (found,) = list_parts(storage)
    assert (found.path, found.num_rows, found.replaces) == (part, 1, {"x", "y"})
