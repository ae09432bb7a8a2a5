"""The report while a job runs: written again, by nobody after the job's end, and no reason for a job to fail."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.waiting import wait_for

from cosmos_ray.job import live_report as module
from cosmos_ray.job.live_report import _write_on, live_report
from cosmos_ray.ledger.history import JobTook, read_jobs
from cosmos_ray.ledger.run import Run
from cosmos_ray.store.storage import Storage

RUN = Run("m.parquet", "h", 1, 1, "fake", "f", "reference", {})


def took(gpu_seconds: float = 1.0) -> JobTook:
    return JobTook(3, "2030", "2030", 1, 1, "cpu", gpu_seconds, None)


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr(module, "EVERY_S", 0.01)
    return Storage(str(tmp_path / "out"))


def test_it_is_written_again_and_again_until_the_job_ends(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []
    monkeypatch.setattr(module, "make", lambda *_: made.append(read_jobs(output)[0].gpu_seconds))
    asked: list[int] = []

    def taken() -> JobTook:
        asked.append(len(asked))
        return took(asked[-1])

    with live_report(output, RUN, taken, pytest.fail):
        wait_for(lambda: len(made) >= 3, "three reports")
    assert made[:3] == [0, 1, 2]
    assert [one.name for one in threading.enumerate() if one.name == "report"] == []
    assert read_jobs(output)[0].gpu_seconds == asked[-1] >= len(made)


class Looked(threading.Event):
    """Of a job that ends at the third look. waits: how long each was to take."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return len(self.waits) > 2


def test_a_writing_that_takes_long_is_made_seldom(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 180.0)
    clock = iter([0.0, 5.0, 300.0, 330.0])  # when the first began and ended, and the second
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(module, "make", lambda *_: None)
    ended = Looked()
    _write_on(output, RUN, took, pytest.fail, ended)
    assert ended.waits == [180.0, 180.0, 600.0]


def test_a_writing_that_is_under_way_is_waited_for(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would remove the files that the last report has its rows in."""
    begun, go_on, order = threading.Event(), threading.Event(), list[str]()

    def slow(*_: object) -> None:
        begun.set()
        go_on.wait(300)
        order.append("written")

    monkeypatch.setattr(module, "make", slow)
    with live_report(output, RUN, took, pytest.fail):
        assert begun.wait(300)
        threading.Timer(0.2, go_on.set).start()
    order.append("ended")
    assert order == ["written", "ended"]


def test_a_job_goes_on_without_a_report_and_says_so_once(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def fails(*_: object) -> None:
        tries.append(1)
        raise OSError("503 SlowDown")

    monkeypatch.setattr(module, "make", fails)
    said: list[str] = []
    with live_report(output, RUN, took, said.append):
        wait_for(lambda: len(tries) >= 3, "three tries")
    assert said == ["the report could not be written meanwhile: OSError: 503 SlowDown"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/o/report.html"), "make room there, or name another place"),
        (PermissionError("ClientError: AccessDenied"), "PermissionError: ClientError: AccessDenied"),
        (ValueError("I/O operation on closed file"), "ValueError: I/O operation on closed file"),
    ],
)
def test_nothing_that_a_store_or_a_disk_answers_ends_the_job_or_is_said_twice(
    output: Storage, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    """Neither while it runs nor at its end; no thread ends with a traceback, and whoever hears of it may fail too."""
    uncaught: list[object] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)
    tries: list[str] = []

    def refuses(_: Storage, path: str, __: bytes) -> None:
        tries.append(path)
        raise error

    monkeypatch.setattr(Storage, "write", refuses)
    said: list[str] = []

    def hears(line: str) -> None:
        said.append(line)
        raise BrokenPipeError

    with live_report(output, RUN, took, hears):
        wait_for(lambda: len(tries) >= 3, "three tries")
    assert len(said) == 1
    assert words in said[0]
    assert uncaught == []
    assert set(tries) == {"_cosmos_ray/jobs/00000003.json"}


def test_the_end_of_a_job_waits_for_no_more_than_the_file_that_is_being_written(
    output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, written = threading.Event(), list[int]()

    def many_files(storage: Storage, *_: object) -> None:
        for number in range(500):
            storage.write(f"report/{number}.js", b"")
            written.append(number)
            begun.set()

    monkeypatch.setattr(module, "make", many_files)
    with live_report(output, RUN, took, pytest.fail):
        assert begun.wait(300)
    assert len(written) < 500
    assert len(list(output.list("report"))) == len(written), "and nothing is written after it"


def test_what_a_job_took_may_fail_to_be_told(output: Storage) -> None:
    with live_report(output, RUN, lambda: 1 / 0, lambda _: None):  # type: ignore[arg-type, return-value]
        pass
    assert read_jobs(output) == []


def test_a_job_that_fails_is_not_held_by_a_writing(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(module, "make", lambda *_: begun.set() or go_on.wait(300))

    def job() -> None:
        with live_report(output, RUN, took, pytest.fail):
            assert begun.wait(300)
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        job()
    assert not go_on.is_set()
    assert read_jobs(output) == [took()], "what it took is told of it too"
    go_on.set()
