"""Attempts begin though the store is out, and no two have one number. Without Ray."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from support.attempts import begin_attempt

from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import marks as marks_module
from cosmos_ray.pool.marks import Marks
from cosmos_ray.pool.workload import Work
from cosmos_ray.store.storage import Storage


class Store(Storage):
    """Out until `is_back`: it refuses, or it does not answer."""

    def __init__(self, uri: str, hangs: bool) -> None:
        super().__init__(uri)
        self.hangs, self.is_back, self.asked = hangs, threading.Event(), 0

    def write_if_absent(self, path: str, data: bytes) -> bool:
        self.asked += 1
        if self.hangs:
            assert self.is_back.wait(300)
        elif not self.is_back.is_set():
            raise OSError("503 SlowDown")
        return super().write_if_absent(path, data)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks_module, "_WAITS_S", 0.05)


def begin(marks: Marks, *works: Work) -> list[str]:
    async def all_of_them() -> list[str]:
        return [await marks.begin(work, "gang-0001") for work in works]

    return asyncio.run(all_of_them())


def test_an_attempt_is_marked_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks_module, "_WAITS_S", 300.0)
    work = Work(Clip("a", "a"), past_attempt=2)
    assert begin(Marks(Ledger(Storage(str(tmp_path))), 7), work) == [""]
    assert work.past_attempt == 3
    assert (tmp_path / "_cosmos_ray/attempts/a.3").read_text().startswith("7/gang-0001/")


def test_a_number_that_another_has_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks_module, "_WAITS_S", 300.0)
    ledger, work = Ledger(Storage(str(tmp_path))), Work(Clip("a", "a"), past_attempt=0)
    begin_attempt(ledger, "a", 0, "one that is dead")
    assert begin(Marks(ledger, 7), work) == [""]
    assert work.past_attempt == 2


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "does not answer"])
def test_while_the_store_is_out_attempts_begin_with_a_mark_still_to_make(tmp_path: Path, hangs: bool) -> None:
    """More of them than there are threads that wait for it."""
    store = Store(str(tmp_path), hangs)
    marks = Marks(Ledger(store), 7)
    works = [Work(Clip(f"c{n}", f"c{n}"), past_attempt=0) for n in range(marks_module._AT_ONCE + 3)]
    left = begin(marks, *works)
    assert all(mark.startswith("7/gang-0001/") for mark in left)
    assert len(set(left)) == len(works)
    assert {work.past_attempt for work in works} == {1}
    assert store.asked
    store.is_back.set()
    marks.close()


def test_a_mark_that_is_made_after_all_is_the_attempts_own(tmp_path: Path) -> None:
    """By the thread that was not waited for; the gang makes it again."""
    store = Store(str(tmp_path), hangs=True)
    marks, work = Marks(Ledger(store), 7), Work(Clip("a", "a"), past_attempt=0)
    (mark,) = begin(marks, work)
    store.is_back.set()
    marks._threads.shutdown(wait=True)
    assert (tmp_path / "_cosmos_ray/attempts/a.1").read_text() == mark
    assert Ledger(store).mark_attempt("a", work.past_attempt, mark) == 1
    assert Ledger(store).mark_attempt("a", work.past_attempt, "another's") == 2
