"""Every field of what an output remembers comes back as it was put down, and counts where it has to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.settings import Settings
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.history import JobTook, read_jobs, write_job
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import RECORDS, FileEntry, Record, Try, records_of, table_of
from cosmos_ray.ledger.run import Run, open_run, read_run
from cosmos_ray.output.mark import mark_of
from cosmos_ray.store.storage import Storage

SCORES = Scores(0.1, 0.2, 0.3, 4.5, 5.5, 30.25, 0.75)
SETTINGS = Settings(
    "tiny", 1.5, 9, ("rear", "front_wide"), "no", Approximations(attention="fp8").in_effect, "64x32", 29, 12, "fast",
    "float32", True, 5,
)  # fmt: skip
RECORD = Record("a", 0, "ok", None, 1, None, "row", 1)
#: Another value for every field of a record.
OF_RECORD: dict[str, Any] = {
    "id": "b", "generation": 3, "status": "failed", "failure_class": "oom", "attempt": 4, "error": "no memory",
    "row_hash": "other", "epoch": 7, "request_hash": "r", "gang": "gang-1", "node": "n",
    "started": "2030-01-01T00:00:00+00:00", "finished":
    "2031-01-01T00:00:00+00:00", "seconds": {"denoise": 1.5, "decode": 0.5}, "files": (FileEntry("rear", "p", 3, "s"),),
    "sidecar": FileEntry("", "c", 2, "t"), "warnings": ("w", "v"), "previews": (FileEntry("preview", "q", 1, "u"),),
    "seed": 0, "scores": {"rear": SCORES, "front_wide": dataclasses.replace(SCORES, agreement=None)},
    "marks": ("m", "k"), "tries": (Try(6, ("x",), {"rear": SCORES}), Try(5, (), {})), "settings": SETTINGS,
    "refined_prompts": ("one", "two"), "guardrails": ("g",), "blurred": {"rear": 2, "front_wide": 0},
}  # fmt: skip
#: What records of the first release do not have.
NEWER = set(OF_RECORD) - {
    "id", "generation", "status", "failure_class", "attempt", "error", "row_hash", "epoch", "request_hash", "gang",
    "node", "started", "finished", "seconds", "files", "sidecar",
}  # fmt: skip
RUN = Run("/d/m.parquet", "0" * 64, 3, 4, "tiny", "1" * 64, "reference", {"seed": 0})
OF_RUN: dict[str, Any] = {
    "manifest": "/e/m.parquet", "manifest_sha256": "2" * 64, "rows": 5, "clips": 6, "model": "fake",
    "model_fingerprint": "3" * 64, "numerics": "float32", "sampling": {"seed": 1}, "removed": {"ok": 1},
    "approximations": {"solver": "unipc"}, "inputs": {"rate": "as_is"}, "manifest_version": "v",
    "refiner": {"captions": "one"}, "guardrails": {"face_blur": "1"},
}  # fmt: skip


def test_every_field_has_another_value_here() -> None:
    for kind, one, others in ((Record, RECORD, OF_RECORD), (Run, RUN, OF_RUN)):
        assert {field.name for field in dataclasses.fields(kind)} == set(others)
        assert all(getattr(one, name) != value for name, value in others.items())
    assert [name for name in RECORDS.names if name not in OF_RECORD] == ["class"]


@pytest.mark.parametrize("name", OF_RECORD)
def test_each_field_of_a_record_comes_back_from_json_and_from_a_table(name: str) -> None:
    record = dataclasses.replace(RECORD, **{name: OF_RECORD[name]})
    assert Record.from_json(record.to_json()) == record
    assert records_of(table_of([RECORD, record])) == [RECORD, record]
    if name in NEWER:
        facts = json.loads(record.to_json())
        del facts[name]
        assert Record.from_json(json.dumps(facts).encode()) == RECORD
        assert records_of(table_of([record]).drop_columns([name])) == [RECORD]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Settings)])
def test_each_setting_comes_back_from_json_and_from_a_table(name: str) -> None:
    """Also where nothing else is known."""
    usual = dataclasses.replace(SETTINGS, preset=None, numerics=None, camera_prefix=None, num_conditional_frames=None)
    record = dataclasses.replace(RECORD, settings=dataclasses.replace(usual, **{name: getattr(SETTINGS, name)}))
    for found in (Record.from_json(record.to_json()), *records_of(table_of([record]))):
        assert found == record


@pytest.mark.parametrize("name", OF_RUN)
def test_each_field_of_a_run_comes_back_and_counts(name: str, tmp_path: Path) -> None:
    """In the mark of what is made from it, but for when its manifest was written."""
    storage, other = Storage(str(tmp_path / "out")), dataclasses.replace(RUN, **{name: OF_RUN[name]})
    open_run(Storage(str(tmp_path / "other")), other)
    assert read_run(Storage(str(tmp_path / "other"))) == other
    state = Ledger(storage).state()
    assert (mark_of(other, state) == mark_of(RUN, state)) is (name == "manifest_version")
    open_run(storage, RUN)
    may_change = {"manifest", "manifest_sha256", "rows", "clips", "removed", "manifest_version"}
    if name in may_change:
        open_run(storage, other)
        assert read_run(storage) == other
    else:
        with pytest.raises(UsageError, match=f"{name}: it has .*, this job "):
            open_run(storage, other)
        assert read_run(storage) == RUN


def test_a_manifest_is_another_one_only_where_place_and_rows_differ(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    open_run(storage, RUN)
    with pytest.raises(UsageError, match=r"manifest: it has '/d/m.parquet', this job '/e/m.parquet'"):
        open_run(storage, dataclasses.replace(RUN, manifest="/e/m.parquet", manifest_sha256="2" * 64))


def test_each_field_of_what_a_job_took_comes_back(tmp_path: Path) -> None:
    job = JobTook(1, "2030-01-01T00:00:00+00:00", "2031-01-01T00:00:00+00:00", 2, 3, "cpu", 4.5, 6.5)
    write_job(Storage(str(tmp_path)), job)
    assert read_jobs(Storage(str(tmp_path))) == [job]
    assert (tmp_path / "_cosmos_ray" / "jobs" / "00000001.json").exists()


@pytest.mark.parametrize("change", [{"generation": 1}, {"attempt": 2}, {"status": "failed"}, {"id": "b"}])
def test_a_mark_changes_with_each_thing_that_is_settled(change: dict[str, Any], tmp_path: Path) -> None:
    marks = set()
    for place, record in (("one", RECORD), ("other", dataclasses.replace(RECORD, **change))):
        storage = Storage(str(tmp_path / place))
        Ledger(storage).commit(record)
        marks.add(mark_of(RUN, Ledger(storage).state()))
    assert len(marks) == 2
