"""The mark of a state: the same for the same outcomes, another for any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.compaction_scenes import compaction_of, make_small
from support.outcomes import clips, run_of, settle

from cosmos_ray.ledger.layout import TABLE
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.output.mark import mark_of
from cosmos_ray.store.storage import Storage


def test_moving_records_into_parts_changes_nothing(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch)
    for clip in clips(manifest).values():
        settle(output, clip, "input" if clip.error else None)
    before = mark_of(run_of(manifest), Ledger(output).state())
    compaction_of(output)
    state = Ledger(output).state()
    assert state.contents.parts
    assert state.contents.tail.num_rows == 0
    assert mark_of(run_of(manifest), state) == before


def test_every_other_outcome_has_another_mark(manifest: str, output: Storage) -> None:
    run, known, marks = run_of(manifest), clips(manifest), list[str]()

    def look() -> None:
        marks.append(mark_of(run, Ledger(output).state()))

    look()
    settle(output, known["a"])
    look()
    settle(output, known["c"], "input")
    look()
    Ledger(output).retry()  # it is to be made again: it is settled no more
    look()
    settle(output, replace(known["c"], generation=1), "input", attempt=2)
    look()
    assert len(set(marks)) == len(marks) - 1, "where `c` is to be made again, only `a` is settled, as before"
    assert marks[1] == marks[3]


def test_another_attempt_is_another_clip(manifest: str, tmp_path: Path) -> None:
    clip, marks = clips(manifest)["a"], set[str]()
    for attempt, failure in ((1, None), (2, None), (1, "oom")):
        output = Storage(str(tmp_path / f"{attempt}{failure}"))
        settle(output, clip, failure, attempt=attempt)  # type: ignore[arg-type]
        marks.add(mark_of(run_of(manifest), Ledger(output).state()))
    assert len(marks) == 3


def test_the_manifest_counts_by_what_it_says(manifest: str, output: Storage) -> None:
    state, run = Ledger(output).state(), run_of(manifest)
    mark = mark_of(run, state)
    assert mark_of(replace(run, manifest_version="written again, as it was"), state) == mark
    assert mark_of(replace(run, manifest_sha256="other rows"), state) != mark
    assert mark_of(replace(run, removed={"ok": 1}), state) != mark


def test_a_table_that_the_output_keeps_is_the_same_wherever_that_is_moved(manifest: str, output: Storage) -> None:
    state = Ledger(output).state()
    here, there = (run_of(f"{folder}/{TABLE}") for folder in ("/data/out", "s3://bucket/out"))
    assert mark_of(here, state) == mark_of(there, state)
    assert mark_of(run_of("/data/m.parquet"), state) != mark_of(run_of("/other/m.parquet"), state)


def test_many_at_once_are_as_few(manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for clip in clips(manifest).values():
        settle(output, clip)
    state = Ledger(output).state()
    mark = mark_of(run_of(manifest), state)
    monkeypatch.setattr("cosmos_ray.output.mark._AT_ONCE", 3)
    assert mark_of(run_of(manifest), state) == mark
