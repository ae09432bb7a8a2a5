"""What an output has taken, in figures that can be added up by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from support.job_runs import write_manifest
from support.outcomes import clips, settle

from cosmos_ray.ledger.history import JobTook
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.output.report.summary import Throughput, facts, throughput
from cosmos_ray.store.storage import Storage

#: An hour of two gangs of four.
JOB = JobTook(1, "2030-01-01T00:00:00.000+00:00", "2030-01-01T01:00:00.000+00:00", 4, 2, "cuda", 28_800.0, 14_400.0)
INDEX = pa.table({"id": ["a", "b", "c", "d"], "seconds": [1500.0, 1500.0, 1500.0, None]})


def state_of(tmp_path: Path, finished: list[str], attempts: list[int] | None = None) -> LedgerState:
    output = Storage(str(tmp_path / "out"))
    rows = [{"id": f"c{number}", "prompt": "p"} for number in range(len(finished))]
    known = clips(write_manifest(tmp_path / "m.parquet", rows)) if rows else {}
    for clip, at, attempt in zip(known.values(), finished, attempts or [1] * len(finished), strict=True):
        record = settle(output, clip, attempt=attempt)
        Ledger(output).storage.write(
            f"_cosmos_ray/ledger/{_shard(clip.id)}/{clip.id}.0.json", replace(record, finished=at).to_json()
        )
    return Ledger(output).state()


def _shard(clip_id: str) -> str:
    from cosmos_ray.ledger.record import record_path

    return record_path(clip_id, 0).split("/")[2]


def at(minute: int) -> str:
    return f"2030-01-01T00:{minute:02d}:00.000+00:00"


def test_time_gpus_cost_and_retries(tmp_path: Path) -> None:
    state = state_of(tmp_path, [at(10), at(20), at(30), at(40)], [1, 2, 3, 1])
    assert facts(state, [JOB], INDEX, price=2.5) == [
        ("time", "1h00m; planned at the beginning: 30m00s with 2 gangs (1 job)"),
        ("GPU-hours", "8.00; planned: 4.00"),
        ("a clip", "2.000 GPU-hours"),
        ("cost", "20.00 USD at 2.5 USD a GPU-hour"),
        ("gangs were busy", "62.5 % of their time, denoising clips that were made"),
        ("tried again", "3 attempts of 2 clips"),
    ]
    assert dict(facts(state, [JOB], INDEX, price=0.0))["cost"] == "0.00 USD at 0 USD a GPU-hour", "GPUs of one's own"


def test_of_several_jobs_the_first_has_planned_it_all(tmp_path: Path) -> None:
    state = state_of(tmp_path, [at(10)])
    found = dict(facts(state, [JOB, replace(JOB, epoch=2, planned_gpu_seconds=60.0)], INDEX))
    assert found["time"] == "2h00m; planned at the beginning: 30m00s with 2 gangs (2 jobs)"
    assert found["GPU-hours"] == "16.00; planned: 4.00"
    assert found["gangs were busy"].startswith("31.2 %")
    assert found["tried again"] == "nothing"
    assert "cost" not in found
    unplanned = dict(facts(state, [replace(JOB, planned_gpu_seconds=None), JOB], INDEX))
    assert unplanned["time"] == "2h00m; not planned: times of this model were not measured (2 jobs)"
    assert unplanned["GPU-hours"] == "16.00"


def test_a_clip_that_no_gang_ever_tried_was_not_tried_less_than_once(tmp_path: Path) -> None:
    """A row's own fault needs no attempt."""
    state = state_of(tmp_path, [at(10), at(20), at(30)], [0, 3, 0])
    assert dict(facts(state, [JOB], INDEX))["tried again"] == "2 attempts of 1 clip"


def test_a_job_of_days_took_them_all(tmp_path: Path) -> None:
    days = replace(JOB, seen="2030-01-03T01:30:00.000+00:00")
    assert dict(facts(state_of(tmp_path, [at(10)]), [days], INDEX))["time"].startswith("49h30m; ")


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    state = state_of(tmp_path, [at(10)])
    assert dict(facts(state, [], INDEX))["time and GPUs"] == "not known: it was made by an older release"
    unplanned = dict(facts(state, [replace(JOB, planned_gpu_seconds=None, device="cpu")], INDEX))
    assert unplanned["time"] == "1h00m; not planned: times of this model were not measured (1 job)"
    assert unplanned["rank-hours (no GPUs)"] == "8.00"
    assert unplanned["a clip"] == "2.000 rank-hours"
    (tmp_path / "two").mkdir()
    early = dict(facts(state_of(tmp_path / "two", [at(10), at(20)]), [replace(JOB, began=at(15))], INDEX))
    assert "gangs were busy" not in early, "its first clip is of a job before"
    assert "gangs were busy" not in dict(facts(state, [JOB, replace(JOB, gang_size=2)], INDEX))


@pytest.mark.parametrize("minutes", [[], [10], [10, 10]])
def test_there_is_no_chart_of_one_moment(tmp_path: Path, minutes: list[int]) -> None:
    assert throughput(state_of(tmp_path, [at(minute) for minute in minutes])) is None


def test_every_clip_is_in_one_bar_of_the_chart(tmp_path: Path) -> None:
    found = throughput(state_of(tmp_path, [at(0), at(24), at(24), at(48)]))
    assert found is not None
    assert [(number, count) for number, count in enumerate(found.bars) if count] == [(0, 1), (24, 2), (47, 1)]
    assert found.in_words() == "2030-01-01T00:00:00 to 2030-01-01T00:48:00, 1m00s a bar, at most 2 clips"


@pytest.mark.parametrize(("bar_s", "said"), [(0.04, "0.04 s"), (0.5, "0.5 s"), (1, "1s"), (61, "1m01s")])
def test_bars_of_a_short_job_are_not_without_time(bar_s: float, said: str) -> None:
    assert Throughput((1,), "a", "b", bar_s).in_words() == f"a to b, {said} a bar, at most 1 clip"
