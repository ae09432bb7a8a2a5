"""The end of a clip, as the driver sees to it: failures are committed, and what other attempts left is removed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from support.waiting import PATIENCE_S

from cosmos_ray.errors import Fault, LeaseLost
from cosmos_ray.ledger.layout import LEASE
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record, Try
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import health as health_module
from cosmos_ray.pool import settlement as settlement_module
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.settlement import Settlement
from cosmos_ray.pool.workload import Work, Workload
from cosmos_ray.store.storage import Storage

CLIP = Clip("a", "a", row_hash="hash of the row", generation=2)


class Job:
    """One clip's way through a settlement on a real ledger; what it said and recorded."""

    def __init__(
        self,
        folder: Path,
        clips: tuple[Clip, ...] = (CLIP,),
        storage: Storage | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.storage = storage or Storage(str(folder))
        self.ledger, self.load = Ledger(self.storage), Workload(max_attempts=2)
        self.said: list[str] = []
        self.recorded: list[Record] = []
        for clip in clips:
            self.load.add(Work(clip, past_attempt=0))
        self.load.exhausted = True
        self.settlement = Settlement(self.ledger, 1, self.load, self.recorded.append, self.said.append, patience_s)

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
    assert listed == ["clips/a", "previews/a"]
    assert list(Storage(str(tmp_path)).list("clips")) == ["clips/b/1/rear.mp4"]
    assert [one.attempt for one in job.recorded] == [1, 2]


def test_an_owner_that_lost_the_output_commits_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path)
    job.storage.write(f"{LEASE}/00000002.json", b"the next owner")
    with pytest.raises(LeaseLost):
        asyncio.run(job.settlement.failed(job.take(), Fault("input", "no such file")))
    assert (list(job.ledger.records()), job.recorded) == ([], [])


class Out(Storage):
    """Takes no record while it is out."""

    is_out = True

    def write_if_absent(self, path: str, data: bytes) -> bool:
        if self.is_out:
            raise OSError("503 SlowDown")
        return super().write_if_absent(path, data)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlement_module, "_WAITS_S", 0.01)
    monkeypatch.setattr(health_module, "PROBE_S", 0.01)


@pytest.mark.usefixtures("soon")
def test_while_the_store_is_out_failures_wait_and_the_job_goes_on(tmp_path: Path) -> None:
    other = replace(CLIP, id="b", row_id="b")
    storage = Out(str(tmp_path))
    job = Job(tmp_path, (CLIP, other), storage)

    async def goes_on() -> None:
        await job.settlement.failed(job.take(), Fault("input", "no such file"))
        await job.settlement.after_fault(job.take(), Fault("input", "no such file"))
        assert len(job.settlement.storing) == 2
        assert job.recorded == []
        storage.is_out = False
        await asyncio.wait(job.settlement.storing)
        job.settlement.check()

    asyncio.run(goes_on())
    assert not job.settlement.storing
    assert {one.id for one in job.ledger.records()} == {one.id for one in job.recorded} == {"a", "b"}


@pytest.mark.usefixtures("soon")
def test_only_so_many_failures_wait_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of rows with faults does not outrun a store that is out."""
    monkeypatch.setattr(settlement_module, "_MOST", 2)
    storage = Out(str(tmp_path))
    job = Job(tmp_path, tuple(replace(CLIP, id=f"c{n}") for n in range(4)), storage)

    async def goes_on() -> None:
        for _ in range(2):
            await job.settlement.failed(job.take(), Fault("input", "no such file"))
        third = asyncio.create_task(job.settlement.failed(job.take(), Fault("input", "no such file")))
        done, _ = await asyncio.wait({third}, timeout=0.1)
        assert not done
        storage.is_out = False
        await third

    asyncio.run(goes_on())
    assert job.recorded


@pytest.mark.usefixtures("soon")
def test_an_outcome_that_cannot_be_stored_for_long_stops_the_job(tmp_path: Path) -> None:
    job = Job(tmp_path, storage=Out(str(tmp_path)), patience_s=0.05)

    async def goes_on() -> None:
        await job.settlement.failed(job.take(), Fault("input", "no such file"))
        await asyncio.wait(job.settlement.storing)
        job.settlement.check()

    with pytest.raises(JobFailedError, match=r"cannot be stored, the last: storage: OSError: 503.*goes on from here"):
        asyncio.run(goes_on())
    assert job.recorded == []


def test_a_failure_keeps_as_which_it_was_tried_and_leaves_nothing_of_other_attempts(tmp_path: Path) -> None:
    """Those of checks: what each was made of. A first attempt has left nothing that is another's."""
    tries = (Try(7, ("dark",), {}), Try(8, ("dark", "frozen"), {}))
    for attempt, left in ((1, ["clips/a/1/rear.mp4"]), (2, [])):
        job = Job(tmp_path / str(attempt))
        job.storage.write("clips/a/1/rear.mp4", b"cut off")
        work = job.take()
        work.past_attempt = attempt
        asyncio.run(job.settlement.after_fault(work, Fault("input", "dark"), tries))
        (found,) = job.ledger.records()
        assert (found.tries, found.attempt, list(job.storage.list("clips"))) == (tries, attempt, left)
