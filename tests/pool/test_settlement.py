"""The end of a clip, as the driver sees to it: failures are committed, and what other attempts left is removed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from cosmos_ray.errors import Fault, LeaseLost
from cosmos_ray.ledger.layout import LEASE
from cosmos_ray.ledger.ledger import Ledger, Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.settlement import Settlement
from cosmos_ray.pool.workload import Work, Workload
from cosmos_ray.store.storage import Storage

CLIP = Clip("a", "a", row_hash="hash of the row", generation=2)


class Job:
    """One clip's way through a settlement on a real ledger; what it said and recorded."""

    def __init__(self, folder: Path, clips: tuple[Clip, ...] = (CLIP,), storage: Storage | None = None) -> None:
        self.storage = storage or Storage(str(folder))
        self.ledger, self.load = Ledger(self.storage), Workload(max_attempts=2)
        self.said: list[str] = []
        self.recorded: list[Record] = []
        for clip in clips:
            self.load.add(Work(clip, past_attempt=0))
        self.load.exhausted = True
        self.settlement = Settlement(self.ledger, 1, self.load, self.recorded.append, self.said.append)

    def take(self) -> Work:
        work = self.load.take(())
        assert work is not None
        work.past_attempt += 1
        return work


def made(clip: Clip, attempt: int) -> Record:
    return Record(clip.id, clip.generation, "ok", None, attempt, None, clip.row_hash, 1)


def test_a_failure_is_recorded_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    job = Job(tmp_path)
    asyncio.run(job.settlement.after_fault(job.take(), Fault("input", "no such file")))
    (found,) = job.ledger.records()
    assert found.finished is not None
    assert replace(found, finished=None) == Record(
        "a", 2, "failed", "input", 1, "no such file", row_hash="hash of the row", epoch=1
    )
    assert job.recorded == [found]
    assert job.said == []
    assert job.load.is_done


def test_an_attempt_that_is_not_the_last_is_said_and_not_recorded(tmp_path: Path) -> None:
    job = Job(tmp_path)
    asyncio.run(job.settlement.after_fault(job.take(), Fault("gang", "a rank died")))
    assert job.said == ["a: attempt 1 failed (gang): a rank died"]
    assert (list(job.ledger.records()), job.recorded, job.load.queued) == ([], [], 1)


def test_a_clip_that_was_made_after_all_stays_made(tmp_path: Path) -> None:
    """Its gang was given up in the moment of its commit: the ledger's word is what the job hears."""
    job = Job(tmp_path)
    there = job.ledger.commit(made(CLIP, attempt=1))
    asyncio.run(job.settlement.failed(job.take(), Fault("timeout", "late")))
    assert job.recorded == list(job.ledger.records()) == [there]


def test_a_finished_clip_fails_those_that_were_parked(tmp_path: Path) -> None:
    other = replace(CLIP, id="b", row_id="b")
    job = Job(tmp_path, (CLIP, other))
    for _ in range(2):
        asyncio.run(job.settlement.after_fault(job.take(), Fault("gang", "a rank died")))
    assert job.load.parked == 1
    job.take()
    record = job.ledger.commit(made(other, attempt=1))
    asyncio.run(job.settlement.finished(record))
    assert [(one.id, one.status, one.failure_class, one.attempt) for one in job.recorded] == [
        ("b", "ok", None, 1),
        ("a", "failed", "gang", 2),
    ]
    assert job.load.is_done


def test_after_a_first_attempt_nothing_is_listed_and_after_another_its_folder_alone(tmp_path: Path) -> None:
    listed: list[str] = []

    class Watched(Storage):
        def list(self, prefix: str):  # type: ignore[no-untyped-def]
            listed.append(prefix)
            return super().list(prefix)

    job = Job(tmp_path, storage=Watched(str(tmp_path)))
    job.storage.write("clips/a/1/rear.mp4", b"cut off")
    job.storage.write("clips/b/1/rear.mp4", b"another's")
    asyncio.run(job.settlement.finished(made(CLIP, attempt=1)))
    assert listed == []
    asyncio.run(job.settlement.finished(made(CLIP, attempt=2)))
    assert listed == ["clips/a"]
    assert list(Storage(str(tmp_path)).list("clips")) == ["clips/b/1/rear.mp4"]
    assert [one.attempt for one in job.recorded] == [1, 2]


def test_an_owner_that_lost_the_output_commits_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.storage.write(f"{LEASE}/00000002.json", b"the next owner")
    with pytest.raises(LeaseLost):
        asyncio.run(job.settlement.failed(job.take(), Fault("input", "no such file")))
    assert (list(job.ledger.records()), job.recorded) == ([], [])


def test_an_outcome_that_cannot_be_stored_stops_the_job(tmp_path: Path) -> None:
    class Full(Storage):
        def write_if_absent(self, path: str, data: bytes) -> bool:
            raise OSError("no space left")

    job = Job(tmp_path, storage=Full(str(tmp_path)))
    with pytest.raises(JobFailedError, match="the outcome of a cannot be stored: no space left"):
        asyncio.run(job.settlement.failed(job.take(), Fault("input", "no such file")))
    assert job.recorded == []
