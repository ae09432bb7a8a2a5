"""What tests of compaction share: ledgers in small, a storage that is watched at each operation, all readers' views."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest

from cosmos_ray.errors import FailureClass
from cosmos_ray.ledger import compaction
from cosmos_ray.ledger.compaction import KEPT_S, compact, merge
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.store.storage import Storage
from support.attempts import begin_attempt

LATER = 10 * KEPT_S


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Everything happens with a handful of records."""
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

    def write_file(self, path: str, source: Path) -> None:
        self._step()
        super().write_file(path, source)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        self._step()
        return super().write_if_absent(path, data)

    def delete(self, path: str) -> None:
        self._step()
        super().delete(path)

    def list_files(self, folder: str = "") -> Sequence[str]:
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
            assert begin_attempt(ledger, one.id, one.attempt - 1, "gang") == one.attempt
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
