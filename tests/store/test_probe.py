"""A store that was out is heard within a second of its return, also one that takes longer than that for an answer."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.store import probe
from cosmos_ray.store.probe import answers, await_answer
from cosmos_ray.store.storage import Storage


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_S", 0.001)


def test_it_is_asked_again_until_it_answers() -> None:
    """In both ways: how soon each has its turn is the machine's affair."""
    asked: list[float] = []

    def ask(limit_s: float) -> bool:
        asked.append(limit_s)
        return len(asked) >= 6 and set(asked) == {probe.QUICK_S, probe.PATIENT_S}

    assert await_answer(ask, 300)
    assert len(asked) >= 6


def test_one_that_never_answers_is_not_awaited_longer_than_was_said() -> None:
    assert not await_answer(lambda _: False, 0.05)


def test_a_store_whose_answers_take_long_is_heard_by_the_patient_question() -> None:
    """Each quick one is given up before its answer."""
    assert await_answer(lambda limit_s: limit_s > 5, 300)


def test_a_question_that_hangs_keeps_no_quick_one_from_being_asked() -> None:
    goes_on = threading.Event()

    def ask(limit_s: float) -> bool:
        return goes_on.wait(300) if limit_s > 5 else True

    assert await_answer(ask, 300)
    patient = [thread for thread in threading.enumerate() if thread.name == "patient probe"]
    assert patient
    assert all(thread.daemon for thread in patient), "nor a process from ending"
    goes_on.set()


class _Client:
    """As s3fs, gcsfs and adlfs take a time limit."""

    async_impl = True

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, list[dict[str, Any]]()

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        self.asked.append({"path": path, **options})
        if self.error is not None:
            raise self.error
        return {"size": 1}

    def cat_file(self, path: str, **options: Any) -> bytes:
        self.info(path, **options)
        return b"1"


def test_a_question_has_a_limit_and_may_be_for_a_byte() -> None:
    client = _Client()
    assert answers(client, "bucket/a", 1.0)
    assert answers(client, "bucket/a", 2.0, reads=True)
    assert client.asked == [
        {"path": "bucket/a", "timeout": 1.0},
        {"path": "bucket/a", "timeout": 2.0, "start": 0, "end": 1},
    ]


@pytest.mark.parametrize(
    ("error", "is_there"),
    [
        (FileNotFoundError("no such key"), True),
        (PermissionError("ExpiredToken"), False),
        (OSError("503 SlowDown"), False),
        (TimeoutError(), False),
        (RuntimeError("a client's own"), False),
    ],
)
def test_what_counts_as_an_answer(error: Exception, is_there: bool) -> None:
    assert answers(_Client(error), "bucket/a", 1.0) is is_there


def test_a_disk_answers(tmp_path: Path) -> None:
    assert Storage(str(tmp_path)).answers(1.0)
    (tmp_path / "a").write_bytes(b"whole")
    storage = Storage(str(tmp_path))
    fs, _ = storage._at("a")
    assert answers(fs, str(tmp_path / "a"), 1.0, reads=True)
