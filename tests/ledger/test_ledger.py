"""The ledger: a clip has one outcome a generation, whoever commits, in whatever order, however often."""

from __future__ import annotations

import collections
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attempts import begin_attempt

from cosmos_ray.errors import FAILURE_CLASSES, FailureClass
from cosmos_ray.ledger import ledger as ledger_module
from cosmos_ray.ledger.layout import LEDGER, RETRIES
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record, record_path
from cosmos_ray.store.storage import Storage


@pytest.fixture
def ledger(storage: Storage) -> Ledger:
    """An empty ledger, on a local folder and on an S3 server."""
    return Ledger(storage)


def record(clip_id: str = "clip", failure: FailureClass | None = None, generation: int = 0, attempt: int = 1) -> Record:
    return Record(
        id=clip_id,
        generation=generation,
        status="failed" if failure else "ok",
        failure_class=failure,
        attempt=attempt,
        error=f"a fault of class {failure}" if failure else None,
        row_hash="r" * 64,
        epoch=1,
    )


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_committed(ledger: Ledger) -> None:
    """Every field, and text beyond ASCII."""
    full = Record(
        id="a.s001",
        generation=2,
        status="ok",
        failure_class=None,
        attempt=5,
        error=None,
        row_hash="0" * 64,
        epoch=7,
        request_hash="1" * 64,
        gang="gang-3",
        node="nœud",
        started="2026-01-02T03:04:05.678+00:00",
        finished="2026-01-02T03:05:05.678+00:00",
        seconds={"denoise": 59.5, "decode": 0.25},
        files=(FileEntry("rear", "clips/a.s001/5/rear.mp4", 123, "2" * 64),),
        sidecar=FileEntry("", "clips/a.s001/5/clip.json", 45, "3" * 64),
    )
    assert ledger.commit(full) == full
    assert ledger.find("a.s001", 2) == full
    assert list(ledger.records()) == [full]


def test_a_record_names_its_failure_class_as_class(ledger: Ledger) -> None:
    """The file is a contract: other tools read `class`."""
    ledger.commit(record(failure="oom"))
    fields = json.loads(ledger.storage.read(record_path("clip", 0)))
    assert fields["class"] == "oom"
    assert (fields["id"], fields["generation"], fields["status"], fields["attempt"]) == ("clip", 0, "failed", 1)


def test_a_clip_is_committed_once(ledger: Ledger) -> None:
    """The second committer gets the first one's record, and nothing is changed."""
    first = record(attempt=1)
    assert ledger.commit(first) == first
    assert ledger.commit(record(attempt=2)) == first
    assert ledger.commit(record(failure="gang", attempt=3)) == first
    assert list(ledger.records()) == [first]


def test_of_many_committers_at_once_all_get_the_same_record(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = set(pool.map(lambda n: ledger.commit(record(attempt=n)).attempt, range(1, 9)))
    assert len(outcomes) == 1
    assert {one.attempt for one in ledger.records()} == outcomes


def test_a_clip_without_record_is_not_found(ledger: Ledger) -> None:
    assert ledger.find("clip", 0) is None
    assert list(ledger.records()) == []
    state = ledger.state()
    assert not state.is_settled("clip")
    assert state.generation("clip") == 0
    assert state.past_attempts("clip") == 0


def test_ids_that_end_like_other_ids_do_not_meet(storage: Storage) -> None:
    """`a.0` in generation 1 and `a` in generation 0 have names that begin the same."""
    ledger = Ledger(storage)
    ids = ["a", "a.0", "a.0.json", "a.1", "A", "a-0", "a_0"]
    for clip_id in ids:
        for generation in (0, 1, 10):
            ledger.commit(record(clip_id, generation=generation))
    found = [(one.id, one.generation) for one in ledger.records()]
    assert sorted(found) == sorted((clip_id, generation) for clip_id in ids for generation in (0, 1, 10))
    assert all(settled.generation == 10 for settled in ledger.state().records.values())


def test_more_records_than_are_read_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_READ_BATCH", 4)
    for number in range(11):
        ledger.commit(record(f"clip{number}"))
    assert len({one.id for one in ledger.records()}) == 11


def test_records_leave_out_what_is_no_record(ledger: Ledger) -> None:
    ledger.commit(record())
    ledger.storage.write(f"{LEDGER}/00/note.txt", b"no record")
    assert [one.id for one in ledger.records()] == ["clip"]


def test_on_a_clips_way_nothing_is_listed(tmp_path: Path) -> None:
    """A first attempt whose mark is there, and a row's own fault, which had none: no part can hold their outcome."""

    class Unlisted(Storage):
        def list(self, prefix: str) -> Iterator[str]:
            raise AssertionError(f"{prefix} was listed")

        def list_files(self, folder: str = "") -> list[str]:
            raise AssertionError(f"{folder} was listed")

    ledger = Ledger(Unlisted(str(tmp_path)))
    assert begin_attempt(ledger, "a", 0, "gang") == 1
    for one in (record("a"), record("b", "input", attempt=0)):
        assert ledger.commit(one) == one
    with pytest.raises(AssertionError, match="was listed"):
        ledger.commit(record("c", attempt=2))


# --- attempts --------------------------------------------------------------------------------------------------------


def test_attempts_are_numbered_from_the_known_ones_on(ledger: Ledger) -> None:
    assert begin_attempt(ledger, "clip", 0, "gang-1") == 1
    assert begin_attempt(ledger, "clip", 1, "gang-1") == 2
    assert begin_attempt(ledger, "other", 0, "gang-1") == 1


def test_an_attempt_is_marked_before_it_starts(ledger: Ledger) -> None:
    """So what it kills cannot uncount it: another owner, who knows of none, gets the next number."""
    assert begin_attempt(ledger, "clip", 0, "dead-gang") == 1
    assert begin_attempt(ledger, "clip", 0, "dead-gang-too") == 2
    assert begin_attempt(Ledger(Storage(ledger.storage.uri)), "clip", 0, "gang-3") == 3


def test_attempt_numbers_are_never_shared(ledger: Ledger) -> None:
    """Not by two owners, and not by one owner who asks again."""
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: begin_attempt(ledger, "clip", 0, f"gang-{n % 2}"), range(8)))
    assert sorted(numbers) == list(range(1, 9))


# --- generations -----------------------------------------------------------------------------------------------------


def test_a_clips_state_is_its_newest_generation(ledger: Ledger) -> None:
    ledger.commit(record(generation=2, attempt=4))
    ledger.commit(record(failure="oom", generation=0, attempt=1))
    ledger.commit(record(failure="timeout", generation=1, attempt=3))
    state = ledger.state()
    assert state.records["clip"].ok
    assert state.records["clip"].generation == 2
    assert state.past_attempts("clip") == 4


def test_retry_opens_the_failed_clips_again(ledger: Ledger) -> None:
    """And only those; their next outcome settles them."""
    ledger.commit(record("good"))
    ledger.commit(record("bad", "input"))
    ledger.commit(record("ill", "gang", attempt=3))
    assert ledger.retry() == ["bad", "ill"]
    state = ledger.state()
    assert [state.is_settled(clip_id) for clip_id in ("good", "bad", "ill")] == [True, False, False]
    assert (state.generation("good"), state.generation("ill")) == (0, 1)
    assert state.past_attempts("ill") == 3  # attempts go on counting, so no folder is used twice
    assert ledger.retry() == []  # they are open already

    ledger.commit(record("ill", generation=1, attempt=4))
    state = ledger.state()
    assert state.is_settled("ill")
    assert state.records["ill"].ok
    assert dict(state.settled()).keys() == {"good", "ill"}


def test_retry_of_a_class_leaves_the_others(ledger: Ledger) -> None:
    for failure in FAILURE_CLASSES:
        ledger.commit(record(f"clip-{failure}", failure))
    assert ledger.retry(["oom", "gang"]) == ["clip-gang", "clip-oom"]
    assert ledger.retry(["oom"]) == []
    assert len(ledger.retry()) == len(FAILURE_CLASSES) - 2


def test_a_clip_that_fails_again_can_be_retried_again(ledger: Ledger) -> None:
    for generation in range(3):
        ledger.commit(record(failure="storage", generation=generation))
        assert ledger.state().is_settled("clip")
        assert ledger.retry() == ["clip"]
        assert ledger.state().generation("clip") == generation + 1


def test_a_late_commit_of_an_older_generation_settles_nothing(ledger: Ledger) -> None:
    ledger.commit(record(failure="storage"))
    ledger.retry()
    assert ledger.commit(record(attempt=9)).failure_class == "storage"
    assert not ledger.state().is_settled("clip")


def test_redo_opens_clips_whatever_their_outcome(ledger: Ledger) -> None:
    ledger.commit(record("good"))
    ledger.commit(record("bad", "input"))
    ledger.commit(record("other"))
    ledger.redo(["good", "bad"])
    state = ledger.state()
    assert [state.is_settled(clip_id) for clip_id in ("good", "bad", "other")] == [False, False, True]
    assert state.generation("good") == 1


def test_a_retry_of_very_many_clips_is_written_in_parts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry file is created in one request, so it must stay small."""
    monkeypatch.setattr(ledger_module, "_RETRY_BATCH", 3)
    for number in range(7):
        ledger.commit(record(f"clip{number}", "oom"))
    assert len(ledger.retry()) == 7
    assert len(list(ledger.storage.list(RETRIES))) == 3
    assert len(ledger.state().reopened) == 7


def test_two_retries_at_once_lose_nothing(ledger: Ledger) -> None:
    for failure in FAILURE_CLASSES:
        ledger.commit(record(f"clip-{failure}", failure))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda failure: ledger.retry([failure]), FAILURE_CLASSES))
    state = ledger.state()
    assert all(state.generation(f"clip-{failure}") == 1 for failure in FAILURE_CLASSES)


# --- any order -------------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """What the ledger should hold: outcomes by clip and generation, the open generation, the attempts."""

    outcomes: dict[tuple[str, int], Record] = field(default_factory=dict)
    generation: dict[str, int] = field(default_factory=lambda: collections.defaultdict(int))
    attempts: dict[str, list[int]] = field(default_factory=lambda: collections.defaultdict(list))

    def is_settled(self, clip_id: str) -> bool:
        return (clip_id, self.generation[clip_id]) in self.outcomes

    def failed(self, classes: list[FailureClass]) -> list[str]:
        return sorted(
            clip_id
            for clip_id in list(self.generation)
            if self.is_settled(clip_id)
            and (failure := self.outcomes[clip_id, self.generation[clip_id]].failure_class)
            and (not classes or failure in classes)
        )


_ids = st.sampled_from(["a", "a.0", "b"])
_steps = st.one_of(
    st.tuples(st.just("attempt"), _ids),
    st.tuples(st.just("commit"), _ids, st.sampled_from([None, "oom", "gang"]), st.booleans()),
    st.tuples(st.just("retry"), st.sampled_from([(), ("oom",), ("gang", "oom")])),
    st.tuples(st.just("redo"), _ids),
)


@settings(max_examples=40)
@given(st.lists(_steps, max_size=14))
def test_any_interleaving_keeps_one_outcome_a_generation(steps: list[tuple]) -> None:
    """Attempts, commits (some late, of the generation before), retries and redos in any order agree with a model."""
    with tempfile.TemporaryDirectory() as folder:
        ledger, model = Ledger(Storage(folder)), Model()
        for name, *arguments in steps:
            _STEPS[name](ledger, model, *arguments)
            state = ledger.state()
            for clip_id in ("a", "a.0", "b"):
                assert state.is_settled(clip_id) == model.is_settled(clip_id)
                assert state.generation(clip_id) == model.generation[clip_id]
        found = list(ledger.records())
        assert len(found) == len({(one.id, one.generation) for one in found})
        assert {(one.id, one.generation): one for one in found} == model.outcomes


def _attempt(ledger: Ledger, model: Model, clip_id: str) -> None:
    past = ledger.state().past_attempts(clip_id)
    number = begin_attempt(ledger, clip_id, past, "owner")
    assert number not in model.attempts[clip_id]
    assert number > past
    model.attempts[clip_id].append(number)


def _commit(ledger: Ledger, model: Model, clip_id: str, failure: FailureClass | None, late: bool) -> None:
    if not model.attempts[clip_id]:
        _attempt(ledger, model, clip_id)
    generation = max(0, model.generation[clip_id] - late)
    new = replace(record(clip_id, failure, generation), attempt=model.attempts[clip_id][-1])
    assert ledger.commit(new) == model.outcomes.setdefault((clip_id, generation), new)


def _retry(ledger: Ledger, model: Model, classes: list[FailureClass]) -> None:
    expected = model.failed(classes)
    assert ledger.retry(classes) == expected
    for clip_id in expected:
        model.generation[clip_id] += 1


def _redo(ledger: Ledger, model: Model, clip_id: str) -> None:
    if model.is_settled(clip_id):
        ledger.redo([clip_id])
        model.generation[clip_id] += 1


_STEPS: dict[str, Callable[..., None]] = {"attempt": _attempt, "commit": _commit, "retry": _retry, "redo": _redo}
