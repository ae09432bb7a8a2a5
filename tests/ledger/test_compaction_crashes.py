"""Records that move into Parquet parts are seen once, by every reader, whoever dies and whoever wakes.

* a crash at any operation of the compactor loses nothing, and the next one goes on;
* a reader sees everything, whatever it overlaps with: at each of the compactor's steps, and a whole compaction between
  any two of the reader's;
* attempts, owners, crashes and readers in any order agree with a model of the ledger.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attempts import begin_attempt
from support.compaction_scenes import (
    LATER,
    CrashError,
    WatchedStorage,
    by_key,
    check,
    compaction_of,
    crash_at,
    make_small,
    record,
    scene,
    settle,
)

from cosmos_ray.errors import FailureClass
from cosmos_ray.ledger.compaction import merge
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.parts import list_parts
from cosmos_ray.ledger.record import Record
from cosmos_ray.store.storage import Storage


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


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


@pytest.mark.parametrize("compact_again", [False, True], ids=["at once", "after the next compaction"])
def test_an_attempt_that_slept_through_a_crash_gets_the_record_that_was_moved(
    tmp_path: Path, compact_again: bool
) -> None:
    """A first attempt trusts its mark: if that outlived its clip's record, the clip would have two outcomes."""
    for step in itertools.count():
        ledger = Ledger(Storage(str(tmp_path / str(step))))
        assert begin_attempt(ledger, "a", 0, "asleep") == 1
        settled = settle(ledger, record("a", attempt=2), record("b"))
        crashed = compact_until(ledger, step)
        if compact_again:
            compaction_of(ledger.storage, epoch=2)
        assert ledger.commit(record("a", attempt=1)) == settled[0]
        check(ledger.storage.uri, settled)
        if not crashed:
            break
    assert step > 8


def compact_until(ledger: Ledger, step: int) -> bool:
    """A compaction whose process is gone from its operation `step` on; whether it came so far."""
    try:
        compaction_of(WatchedStorage(ledger.storage.uri, crash_at(step)), now=LATER)
    except CrashError:
        return True
    return False


def test_a_compaction_at_any_moment_of_a_look_at_one_clip_hides_nothing(tmp_path: Path) -> None:
    """Of an object that is moved meanwhile, and of a record in a part that is merged into another and removed."""
    for clip_id, generation in (("c0", 0), ("a0", 0), ("b0", 1)):
        for step in itertools.count():
            uri = str(tmp_path / f"{clip_id}-{step}")
            expected = {(one.id, one.generation): one for one in scene(uri)}
            reached = []

            def compact_there(number: int, step: int = step, uri: str = uri, reached: list[int] = reached) -> None:
                if number == step:
                    reached.append(number)
                    compaction_of(Storage(uri), now=1e12)
                    merge(Storage(uri), 1, now=1e12)

            assert Ledger(WatchedStorage(uri, compact_there)).find(clip_id, generation) == expected[clip_id, generation]
            if not reached:
                break
        assert step > 3


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


_IDS = ("a", "a.0", "b")
_ids = st.sampled_from(_IDS)
_outcomes: st.SearchStrategy[FailureClass | None] = st.sampled_from([None, "oom"])
_steps = st.one_of(
    st.tuples(st.just("compact"), st.integers(0, 24), st.booleans()),
    st.tuples(st.just("commit"), st.integers(0, 3), _outcomes),
    st.tuples(st.just("begin"), _ids),
    st.sampled_from([("retry",), ("takeover",)]),
    st.tuples(st.just("redo"), _ids),
)


@st.composite
def _histories(draw: st.DrawFn) -> list[tuple]:
    """Clips whose last attempt has ended while earlier ones sleep; a compaction that is cut off; then anything."""
    history: list[tuple] = []
    for clip_id in draw(st.permutations(_IDS))[: draw(st.integers(2, 3))]:
        history += [("begin", clip_id)] * draw(st.sampled_from([2, 1]))
        history.append(("commit", -1, draw(_outcomes)))
    cut_off = ("compact", draw(st.sampled_from(range(5, 17))), draw(st.booleans()))  # while it writes and deletes
    return [*history, cut_off, *draw(st.lists(_steps, max_size=6))]


@settings(max_examples=40)
@given(_histories())
def test_any_interleaving_of_gangs_owners_and_crashes_keeps_one_outcome_a_generation(history: list[tuple]) -> None:
    """Attempts end in any order, however late; the compactor crashes anywhere; readers agree with a model."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        patch.setattr(os, "fsync", lambda file: None)  # processes crash here, not the machine
        ledger, model = Ledger(Storage(folder)), Model()
        for name, *arguments in history:
            _STEPS[name](ledger, model, *arguments)
        while model.running:
            _commit(ledger, model, 0, None)
        check(folder, list(model.outcomes.values()))
        state = ledger.state()
        for clip_id in _IDS:
            assert state.is_settled(clip_id) == model.is_settled(clip_id)
            assert state.generation(clip_id) == model.generation[clip_id]


def _begin(ledger: Ledger, model: Model, clip_id: str) -> None:
    """Owners begin what is not settled."""
    state = ledger.state()
    if not state.is_settled(clip_id):
        number = begin_attempt(ledger, clip_id, state.past_attempts(clip_id), "gang")
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
