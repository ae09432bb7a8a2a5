"""What a ledger says of each clip, by column and one by one: the two never differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.compaction_scenes import record

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import record_path, table_of
from cosmos_ray.ledger.state import LedgerState, contents_of, counts_by_outcome
from cosmos_ray.store.storage import Storage

_ids = st.sampled_from(["a", "b", "c", "d"])
_outcome = st.tuples(_ids, st.integers(0, 2), st.sampled_from([None, "oom"]), st.integers(1, 9))


@settings(max_examples=60)
@given(st.lists(_outcome, max_size=8, unique_by=lambda one: one[:2]), st.dictionaries(_ids, st.integers(0, 4)))
def test_columns_and_single_looks_agree_with_what_was_put_down(
    outcomes: list[tuple[str, int, None, int]], reopened: dict[str, int]
) -> None:
    """The newest generation counts; a clip is settled unless a later one was opened."""
    rows = table_of([record(name, failure, generation, attempt) for name, generation, failure, attempt in outcomes])
    state = LedgerState(contents_of((), (), rows, ()), reopened)
    newest = {name: (generation, failure, attempt) for name, generation, failure, attempt in sorted(outcomes, key=str)}
    found = {name: (one.generation, one.failure_class, one.attempt) for name, one in state.records.items()}
    assert found == newest
    settled = {name for name, (generation, *_) in newest.items() if reopened.get(name, 0) <= generation}
    table = state.records.table["id"].to_pylist()
    assert {name for name, one in zip(table, state.settled_rows, strict=True) if one} == settled
    assert set(state.settled_table["id"].to_pylist()) == settled
    assert dict(state.settled()) == {name: state.records[name] for name in settled}
    for name in "abcd":
        assert state.is_settled(name) == (name in settled)
        assert state.generation(name) == reopened.get(name, 0)
        assert state.past_attempts(name) == (newest[name][2] if name in newest else 0)
    assert state.records.places(["d", "nobody", "a"]).tolist() == [
        table.index(name) if name in table else -1 for name in ("d", "nobody", "a")
    ]
    assert all(state.records.row_hashes(np.array([place])) == ["hash"] for place in range(len(table)))


def test_outcomes_are_counted_by_class_and_one_of_no_known_class_is_internal() -> None:
    said = [
        ("a", "ok", None),
        ("b", "failed", "oom"),
        ("c", "failed", None),
        ("d", "ok", "gang"),
        ("e", "failed", "oom"),
    ]
    rows = table_of([record(name) for name, *_ in said]).to_pylist()
    for row, (_, status, failure) in zip(rows, said, strict=True):
        row["status"], row["class"] = status, failure
    table = table_of([]).schema.empty_table().from_pylist(rows, schema=table_of([]).schema)
    assert list(counts_by_outcome(table).items()) == [("internal", 1), ("ok", 2), ("oom", 2)]


@pytest.mark.parametrize(
    ("records", "damaged", "generation"),
    [
        ([("oom", 0)], [1], 2),
        ([(None, 0)], [1], 2),
        ([], [0], 1),
        ([], [1, 0], 2),
        ([], [0, 1], 2),
        ([], [2, 10], 11),  # in the order of their names, which is another one
        ([(None, 2)], [1], 2),
        ([(None, 1)], [1], 0),
    ],
    ids=str,
)
def test_a_damaged_record_opens_the_generation_after_its_own(
    tmp_path: Path, records: list[tuple[None, int]], damaged: list[int], generation: int
) -> None:
    """Also beside a retry that opened the damaged one itself: a path that is taken would be waited for, for ever.
    A record that the same outcome has elsewhere was not lost."""
    ledger = Ledger(Storage(str(tmp_path)))
    for failure, number in records:
        ledger.commit(record("a", failure, number))
    if ("oom", 0) in records:
        assert ledger.retry() == ["a"]
    if (None, 0) in records:
        ledger.redo(["a"])
    for number in damaged:
        if (None, number) not in records:
            ledger.storage.write(record_path("a", number), b"{")
    state = ledger.state()
    assert state.generation("a") == generation
    newest = max((number for _, number in records), default=-1)
    assert state.is_settled("a") == (newest >= generation)


def test_the_later_of_two_openings_holds_in_whatever_order_they_are_read(tmp_path: Path) -> None:
    """A damaged record of generation 3, and an older retry that opened generation 1."""
    ledger = Ledger(Storage(str(tmp_path)))
    ledger.commit(record("a", "oom"))
    ledger.retry()
    ledger.storage.write(record_path("a", 3), b"not a record")
    assert ledger.state().generation("a") == 4
    ledger.storage.write("_cosmos_ray/retries/000001.json", b'{"generations": {"a": 7}}')
    ledger.storage.write("_cosmos_ray/retries/000002.json", b'{"generations": {"a": 6}}')
    assert ledger.state().generation("a") == 7
