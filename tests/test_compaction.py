"""Records that move from objects into Parquet parts are seen once, by every reader, whoever dies and whoever wakes.

* a crash at any operation of the compactor loses nothing, and the next one goes on;
* a reader sees everything, whatever it overlaps with: at each of the compactor's steps, and a whole compaction between
  any two of the reader's;
* a clip's outcome stays its only one after its object is gone, for attempts and owners that have slept meanwhile too.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosmos_ray import compaction
from cosmos_ray.compaction import KEPT_S, Compactor, compact, merge, move_records
from cosmos_ray.errors import CosmosRayError, FailureClass
from cosmos_ray.lease import FOLDER
from cosmos_ray.ledger import LEDGER, FileEntry, Ledger, Record, record_path
from cosmos_ray.ledger_parts import list_parts, live_parts, write_part
from cosmos_ray.ledger_rows import RecordReader
from cosmos_ray.record import table_of
from cosmos_ray.storage import Storage

LATER = 10 * KEPT_S


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything happens with a handful of records."""
    _make_small(monkeypatch)


def _make_small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compaction, "BATCH", 2)
    patch.setattr(compaction, "MERGE", 3)
    patch.setattr(compaction, "FULL", 6)
    patch.setattr(compaction, "_DELETERS", 1)  # a crash has its place


class CrashError(Exception):
    """The process is gone."""


class WatchedStorage(Storage):
    """A real folder; `before` is called with the number of each operation, and may raise or do something else."""

    def __init__(self, uri: str, before: Callable[[int], None]) -> None:
        super().__init__(uri)
        self._before, self._count = before, itertools.count()

    def _step(self) -> None:
        self._before(next(self._count))

    def uri_of(self, path: str) -> str:  # a part is about to be opened
        self._step()
        return super().uri_of(path)

    def read(self, path: str) -> bytes:
        self._step()
        return super().read(path)

    def write(self, path: str, data: bytes) -> None:
        self._step()
        super().write(path, data)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        self._step()
        return super().write_if_absent(path, data)

    def delete(self, path: str) -> None:
        self._step()
        super().delete(path)

    def list_files(self, folder: str) -> Sequence[str]:
        self._step()
        return super().list_files(folder)

    def list(self, prefix: str) -> Iterator[str]:
        self._step()
        return super().list(prefix)


def crash_at(step: int) -> Callable[[int], None]:
    """From that operation on nothing is done any more."""

    def before(number: int) -> None:
        if number >= step:
            raise CrashError

    return before


def record(clip_id: str, failure: FailureClass | None = None, generation: int = 0, attempt: int = 1) -> Record:
    ok = failure is None
    entry = FileEntry("rear", f"clips/{clip_id}/{attempt}/rear.mp4", 3, "0" * 64)
    return Record(
        clip_id, generation, "ok" if ok else "failed", failure, attempt, None if ok else "why", "hash", 1,
        finished=f"2026-01-01T00:00:00.{attempt:03d}+00:00", seconds={"denoise": 1.5},
        files=(entry,) if ok else (), sidecar=entry if ok else None,
    )  # fmt: skip


def settle(ledger: Ledger, *records: Record) -> list[Record]:
    """As gangs do: an attempt is marked, then its outcome committed."""
    for one in records:
        if one.attempt:
            assert ledger.begin_attempt(one.id, one.attempt - 1, "gang") == one.attempt
        assert ledger.commit(one) == one
    return list(records)


def by_key(records: Collection[Record]) -> list[Record]:
    return sorted(records, key=lambda one: (one.id, one.generation))


def check(uri: str, expected: Collection[Record]) -> None:
    """Every reader's view: each record once, the newest of each clip, whole records by row, and single ones."""
    ledger = Ledger(Storage(uri))
    assert by_key(list(ledger.records())) == by_key(expected)
    state = ledger.state()
    newest = {one.id: one for one in by_key(expected)}
    assert {key: (one.generation, one.attempt, one.ok) for key, one in state.records.items()} == {
        key: (one.generation, one.attempt, one.status == "ok") for key, one in newest.items()
    }
    assert RecordReader(ledger.storage, state).newest(list(newest)) == list(newest.values())


def compaction_of(storage: Storage, epoch: int = 1, now: float | None = None) -> None:
    compact(storage, epoch, Ledger(storage).state().contents)
    merge(storage, epoch, now)


def scene(uri: str) -> list[Record]:
    """Three small parts, some objects, a clip of two generations across them, one more to come with a merge."""
    ledger = Ledger(Storage(uri))
    settled: list[Record] = []
    for number in range(2):
        settled += settle(ledger, record(f"a{number}"), record(f"b{number}", "oom"))
        compact(ledger.storage, 1, ledger.state().contents)
    ledger.retry(["oom"])
    return settled + settle(
        ledger, record("b0", generation=1, attempt=2), record("c0"), record("c1", "input", attempt=0)
    )


# --- what it does ----------------------------------------------------------------------------------------------------


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
    storage.write_if_absent(f"{FOLDER}/00000002.json", b"the next owner")
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


def test_a_damaged_part_is_said_to_be_one(tmp_path: Path) -> None:
    """Never taken for no records: that would make all of its clips again."""
    ledger = Ledger(Storage(str(tmp_path)))
    settle(ledger, record("a"), record("b"))
    compact(ledger.storage, 1, ledger.state().contents)
    (part,) = list_parts(ledger.storage)
    ledger.storage.write(part.path, b"PAR1 and then nothing")
    with pytest.raises(CosmosRayError, match=r"\.parquet holds commit records and cannot be read"):
        ledger.state()


# --- crashes and readers ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_crash_at_any_operation_loses_nothing(tmp_path: Path) -> None:
    """And the next owner's compaction ends with all records in parts."""
    for step in itertools.count():
        uri = str(tmp_path / str(step))
        expected = scene(uri)
        try:
            compaction_of(WatchedStorage(uri, crash_at(step)), now=LATER)
        except CrashError:
            crashed = True
        else:
            crashed = False
        check(uri, expected)
        compaction_of(Storage(uri), epoch=2)
        check(uri, expected)
        if not crashed:
            break
    assert step > 20


def test_a_reader_at_any_moment_of_a_compaction_sees_everything(tmp_path: Path) -> None:
    uri = str(tmp_path)
    expected = scene(uri)
    moments = []

    def read(number: int) -> None:
        check(uri, expected)
        moments.append(number)

    compaction_of(WatchedStorage(uri, read), now=LATER)
    assert len(moments) > 20


def test_a_compaction_at_any_moment_of_a_reader_hides_nothing(tmp_path: Path) -> None:
    """Even one that removes what it replaces at once, so that listed parts are gone when they are opened."""
    for step in itertools.count():
        uri = str(tmp_path / str(step))
        expected = scene(uri)
        reached = []

        def compact_there(number: int, step: int = step, uri: str = uri, reached: list[int] = reached) -> None:
            if number == step:
                reached.append(number)
                compaction_of(Storage(uri), now=1e12)
                merge(Storage(uri), 1, now=1e12)

        state = Ledger(WatchedStorage(uri, compact_there)).state()
        newest = {one.id: one.generation for one in by_key(expected)}
        assert {clip_id: one.generation for clip_id, one in state.records.items()} == newest
        if not reached:
            break
    assert step > 5


# --- who wakes late --------------------------------------------------------------------------------------------------


def test_an_attempt_that_was_given_up_finds_the_outcome_that_was_moved(storage: Storage) -> None:
    """Its gang was cut off in the last step before the commit; its clip was made by another and the record moved."""
    ledger = Ledger(storage)
    assert ledger.begin_attempt("a", 0, "asleep") == 1
    settled = settle(ledger, record("a", attempt=2), record("b"))
    compact(storage, 1, ledger.state().contents)
    assert ledger.commit(record("a", attempt=1)) == settled[0]
    assert not storage.exists(record_path("a", 0)), "its own record is taken back"
    check(storage.uri, settled)


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
    assert ledger.begin_attempt("a", 1, "asleep") == 2
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


# --- any order -------------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """What should be: outcomes by clip and generation, the open generation, attempts that have not ended."""

    outcomes: dict[tuple[str, int], Record] = field(default_factory=dict)
    generation: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_IDS, 0))
    running: list[tuple[str, int, int]] = field(default_factory=list)
    epoch: int = 1

    def is_settled(self, clip_id: str) -> bool:
        return (clip_id, self.generation[clip_id]) in self.outcomes


_IDS = ("a", "a.0", "b", "c")
_ids = st.sampled_from(_IDS)
_steps = st.one_of(
    st.tuples(st.just("begin"), _ids),
    st.tuples(st.just("commit"), st.integers(0, 5), st.sampled_from([None, "oom", "gang"])),
    st.tuples(st.just("retry")),
    st.tuples(st.just("redo"), _ids),
    st.tuples(st.just("compact"), st.integers(0, 40), st.booleans()),
    st.tuples(st.just("takeover")),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(_steps, max_size=18))
def test_any_interleaving_of_gangs_owners_and_crashes_keeps_one_outcome_a_generation(steps: list[tuple]) -> None:
    """Attempts end in any order, however late; the compactor crashes anywhere; readers agree with a model."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        _make_small(patch)
        ledger, model = Ledger(Storage(folder)), Model()
        for name, *arguments in steps:
            _STEPS[name](ledger, model, *arguments)
            check(folder, list(model.outcomes.values()))
            state = ledger.state()
            for clip_id in _IDS:
                assert state.is_settled(clip_id) == model.is_settled(clip_id)
                assert state.generation(clip_id) == model.generation[clip_id]


def _begin(ledger: Ledger, model: Model, clip_id: str) -> None:
    """Owners begin what is not settled."""
    state = ledger.state()
    if not state.is_settled(clip_id):
        number = ledger.begin_attempt(clip_id, state.past_attempts(clip_id), "gang")
        model.running.append((clip_id, model.generation[clip_id], number))


def _commit(ledger: Ledger, model: Model, which: int, failure: FailureClass | None) -> None:
    """Any attempt that has begun and not ended, however long ago: it has one outcome to give."""
    if model.running:
        clip_id, generation, number = model.running.pop(which % len(model.running))
        new = replace(record(clip_id, failure, generation, number), epoch=model.epoch)
        assert ledger.commit(new) == model.outcomes.setdefault((clip_id, generation), new)


def _retry(ledger: Ledger, model: Model) -> None:
    failed = [
        clip_id
        for clip_id in _IDS
        if model.is_settled(clip_id) and model.outcomes[clip_id, model.generation[clip_id]].status == "failed"
    ]
    assert ledger.retry() == failed
    for clip_id in failed:
        model.generation[clip_id] += 1


def _redo(ledger: Ledger, model: Model, clip_id: str) -> None:
    if model.is_settled(clip_id):
        ledger.redo([clip_id])
        model.generation[clip_id] += 1


def _compact(ledger: Ledger, model: Model, crash: int, later: bool) -> None:
    """later: more than an hour after everything before, so that what was replaced goes."""
    now = LATER + max((part.written for part in list_parts(ledger.storage)), default=0.0) if later else None
    try:
        compaction_of(WatchedStorage(ledger.storage.uri, crash_at(crash)), model.epoch, now)
    except CrashError:
        pass


def _takeover(ledger: Ledger, model: Model) -> None:
    model.epoch += 1


_STEPS: dict[str, Callable[..., None]] = {
    "begin": _begin,
    "commit": _commit,
    "retry": _retry,
    "redo": _redo,
    "compact": _compact,
    "takeover": _takeover,
}


def test_records_in_parts_read_as_json_would(tmp_path: Path) -> None:
    """Every field survives, also of records that another version's `seconds` made longer."""
    one = replace(record("a"), gang="g", node="nœud", started="s", request_hash="h", seconds={"denoise": 1, "x": 0.25})
    ledger = Ledger(Storage(str(tmp_path)))
    settle(ledger, one, record("b"))
    compact(ledger.storage, 1, ledger.state().contents)
    found = ledger.find("a", 0)
    assert found is not None
    assert json.loads(found.to_json()) == json.loads(one.to_json())
