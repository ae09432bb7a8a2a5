"""How long a clip that is made is stored for, and what is told with it. The store is stood in for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cosmos_ray.gang import waiting as waiting_module
from cosmos_ray.gang.waiting import Waiting, deliver
from cosmos_ray.ledger.record import Record


def waits(mark: str = "") -> Waiting:
    plain: dict[str, Any] = {field.name: None for field in dataclasses.fields(Record)}
    known = {"id": "a", "generation": 3, "attempt": 2, "seconds": {"denoise": 2.0}, "files": (), "previews": ()}
    return Waiting(Path("place"), {"id": "a", "seconds": {"denoise": 2.0}}, Record(**(plain | known)), "standard", mark)


class Store:
    """Refuses so many tries. Its clock goes on by a second a sleep; found: the record that a try has left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refuses: int, found: Any = None) -> None:
        self.refuses, self.found = refuses, found
        self.now, self.tries = 100.0, 0
        self.looked: list[tuple[str, int]] = []
        self.patience: list[float] = []
        self.answers = "whether it answers"
        monkeypatch.setattr(waiting_module, "_deliver", self._deliver)
        monkeypatch.setattr(waiting_module, "Ledger", lambda storage: SimpleNamespace(find=self._find))
        monkeypatch.setattr(waiting_module, "await_answer", self._await)
        monkeypatch.setattr(waiting_module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(waiting_module.time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += 1.0

    def _find(self, clip_id: str, generation: int) -> Any:
        self.looked.append((clip_id, generation))
        return self.found

    def _await(self, ask: Any, patience_s: float) -> bool:
        assert ask == self.answers
        self.patience.append(patience_s)
        return True

    def _deliver(self, storage: Any, waiting: Waiting, epoch: int, stored: set[str]) -> Any:
        assert (storage, epoch, stored) == (self, 7, {str(number) for number in range(self.tries)})
        stored.add(str(self.tries))
        self.tries += 1
        if self.tries <= self.refuses:
            raise OSError(f"503 number {self.tries}")
        return "its record"


def test_a_new_clip_is_not_looked_for_until_a_try_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a try that failed nobody knows how far it came."""
    store: Any = Store(monkeypatch, 0)
    assert deliver(store, waits(), 7, 60.0, is_new=True) == "its record"
    assert store.looked == []
    store = Store(monkeypatch, 1)
    assert deliver(store, waits(), 7, 60.0, is_new=True) == "its record"
    assert store.looked == [("a", 3)]
    store = Store(monkeypatch, 1, found="the record of that try")
    assert deliver(store, waits(), 7, 60.0, is_new=True) == "the record of that try"
    assert store.tries == 1
    store = Store(monkeypatch, 0, found="another driver's")
    assert deliver(store, waits(), 7, 60.0) == "another driver's"
    assert store.tries == 0


def test_patience_is_counted_from_the_first_try_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = Store(monkeypatch, 99)
    with pytest.raises(OSError, match="503 number 4"):
        deliver(store, waits(), 7, 3.0)
    assert store.patience == [2.0, 1.0, 0.0], "what is left of it"


@pytest.mark.parametrize("mark", ["", "marked late"])
def test_record_and_sidecar_tell_the_same_seconds_and_whether_the_mark_came_late(
    monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    told: list[Any] = []

    def commit(storage: Any, record: Record, sidecar: dict[str, Any], is_marked_late: bool) -> str:
        told.append((record, sidecar, is_marked_late))
        return "its record"

    monkeypatch.setattr(waiting_module, "commit_made", commit)
    monkeypatch.setattr(waiting_module, "_marked", lambda storage, waiting, epoch: waiting)
    storage: Any = None
    assert waiting_module._deliver(storage, waits(mark), 7, set()) == "its record"
    ((record, sidecar, is_marked_late),) = told
    assert record.epoch == 7
    assert record.seconds.keys() == {"denoise", "put"}
    assert sidecar == {"id": "a", "seconds": record.seconds}
    assert is_marked_late == bool(mark)
