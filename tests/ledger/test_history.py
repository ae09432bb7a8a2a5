"""What jobs took is told in their order, and never a reason for anything else to fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cosmos_ray.ledger.history import JobTook, read_jobs, write_job
from cosmos_ray.store.storage import Storage

JOB = JobTook(1, "2030-01-01T00:00:00.000+00:00", "2030-01-01T01:00:00.000+00:00", 2, 4, "cuda", 7200.0, None)


def test_jobs_come_back_in_their_order_each_as_it_was_written_last(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert read_jobs(storage) == []
    tenth = replace(JOB, epoch=10, planned_gpu_seconds=1.5)
    for job in (tenth, JOB, replace(tenth, gpu_seconds=9000.0)):
        write_job(storage, job)
    assert read_jobs(storage) == [JOB, replace(tenth, gpu_seconds=9000.0)]


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    write_job(storage, JOB)
    for name, data in (("00000002.json", b"{"), ("00000003.json", b"[]"), ("00000004.json", b'{"epoch": 4}')):
        storage.write(f"_cosmos_ray/jobs/{name}", data)
    assert read_jobs(storage) == [JOB]
