"""Outputs of older releases (tests/golden-output) are read, gone on with, compacted and exported by today's code.

What they hold is in literals here, not in what today's code makes of it: names of objects, hashes of rows and requests,
keys and columns. None of it may change for a row that uses nothing new.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.attempts import begin_attempt
from support.compaction_scenes import compaction_of, make_small
from support.paths import ROOT

from cosmos_ray.config import GangConfig
from cosmos_ray.gang.prepare import InputFile, Prepared
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.job.plan import make_plan, manifest_clips
from cosmos_ray.ledger import layout
from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.ledger.ledger import Ledger, attempt_path
from cosmos_ray.ledger.parts import PART_SCHEMA, list_parts
from cosmos_ray.ledger.record import RECORDS, record_path
from cosmos_ray.ledger.rows import read_committed
from cosmos_ray.ledger.run import open_run, read_run, row_defaults_of
from cosmos_ray.ledger.tidy import clean, damaged
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.output.export import export
from cosmos_ray.output.index import write_index
from cosmos_ray.output.status import read_status
from cosmos_ray.store.storage import Storage

RELEASE = ROOT / "tests" / "golden-output" / "0.1.0"
#: (id, generation): status, class, attempt, hash of the row, hash of the request; of hashes the first 16 digits.
RECORDED = {
    ("again", 0): ("failed", "oom", 1, "ea211f1dc32c10e9", None),
    ("again", 1): (
        "ok",
        None,
        2,
        "ea211f1dc32c10e9",
        "a30e8aecb08831a3",
    ),
    ("faulty", 0): ("failed", "input", 0, "8ae3464a876fbba8", None),
    ("text", 0): (
        "ok",
        None,
        1,
        "16a3d558d52023ee",
        "1982cd636ca83530",
    ),
    ("two.s000", 0): (
        "ok",
        None,
        1,
        "725958706d71c2b9",
        "a9c1023aa9a6d890",
    ),
    ("two.s001", 0): (
        "ok",
        None,
        1,
        "9f0a0ce0ee4da64d",
        "a6ce416fcf2dcc30",
    ),
    ("video", 0): (
        "ok",
        None,
        1,
        "45844263b4b6078c",
        "f7fb5dc99757a673",
    ),
}
OBJECTS = {
    "_cosmos_ray/ledger/0c/video.0.json": ("video", 0),
    "_cosmos_ray/ledger/b4/again.1.json": ("again", 1),
    "_cosmos_ray/ledger/b7/two.s001.0.json": ("two.s001", 0),
}
#: Names and types of a part's columns, as that release wrote them.
PART_COLUMNS = {
    "id": "string",
    "generation": "int64",
    "status": "string",
    "class": "string",
    "attempt": "int64",
    "row_hash": "string",
    "finished": "string",
    "error": "string",
    "epoch": "int64",
    "request_hash": "string",
    "gang": "string",
    "node": "string",
    "started": "string",
    "seconds": "map<string, double>",
    "files": "list<struct<view: string, path: string, size: int64, sha256: string>>",
    "sidecar": "struct<view: string, path: string, size: int64, sha256: string>",
    "compacted_by": "int64",
}


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    shutil.copytree(RELEASE, tmp_path / "0.1.0")
    return str(tmp_path / "0.1.0" / "manifest.parquet")


@pytest.fixture
def output(manifest: str) -> Storage:
    """A copy, to go on with."""
    return Storage(str(Path(manifest).parent / "output"))


# --- names -----------------------------------------------------------------------------------------------------------


def test_everything_of_an_output_has_the_name_that_it_had(output: Storage) -> None:
    for path, key in OBJECTS.items():
        assert record_path(*key) == path
        assert output.exists(path)
    assert attempt_path("two.s001", 1) == "_cosmos_ray/attempts/two.s001.1"
    names = ("clips", "clip.json", "_cosmos_ray/run.json", "_cosmos_ray/lease", "_cosmos_ray/attempts")
    assert names == (layout.CLIPS, layout.SIDECAR, layout.RUN, layout.LEASE, layout.ATTEMPTS)
    names = ("_cosmos_ray/steps", "_cosmos_ray/ledger", "_cosmos_ray/retries", "index.parquet", "report.html")
    assert names == (layout.STEPS, layout.LEDGER, layout.RETRIES, layout.INDEX, layout.REPORT)


def test_columns_of_parts_are_what_they_were() -> None:
    """More may come; a reader of an older release finds the ones that it knows."""
    (path,) = (RELEASE / "output" / layout.LEDGER).glob("*.parquet")
    assert columns_of(pq.read_schema(path)) == PART_COLUMNS
    today = columns_of(PART_SCHEMA)
    assert {name: today.get(name) for name in PART_COLUMNS} == PART_COLUMNS
    assert set(PART_COLUMNS) - {"compacted_by"} <= set(RECORDS.names)


def columns_of(schema: pa.Schema) -> dict[str, str]:
    """Types by name; what the items of a list or map are called differs between versions of pyarrow."""
    return {one.name: re.sub(r" \('\w+'\)|(?<=list<)(item|element): ", "", str(one.type)) for one in schema}


# --- reading ---------------------------------------------------------------------------------------------------------


def test_every_record_is_read_as_it_was_written(output: Storage) -> None:
    found = {
        (one.id, one.generation): (
            one.status,
            one.failure_class,
            one.attempt,
            one.row_hash[:16],
            one.request_hash and one.request_hash[:16],
        )
        for one in Ledger(output).records()
    }
    assert found == RECORDED
    for clip_id, generation in RECORDED:
        record = Ledger(output).find(clip_id, generation)
        assert record is not None
        assert (record.epoch, record.gang if record.status == "ok" else None) in ((1, "gang-0001"), (1, None))
        assert record.seconds == ({"denoise": 1.25} if record.status == "ok" else {})
        assert len(record.files) == (0 if record.status != "ok" else 2 if clip_id.startswith("two") else 1)
    assert list(damaged(output)) == []


def test_the_status_counts_what_it_counted(output: Storage) -> None:
    status, run, state = read_status(output.uri)
    assert (status.clips, status.ok, status.failed_by_class, status.left) == (7, 5, {"input": 1}, 1)
    assert (run.model, run.numerics, run.rows, len(state.records)) == ("fake", "float32", 6, 6)
    assert status.owner is None


def test_a_run_goes_on_with_the_settings_it_began_with(output: Storage) -> None:
    """Its file's keys, and the fingerprint of a model that has not changed."""
    written = json.loads(output.read("_cosmos_ray/run.json"))
    assert sorted(written) == [
        *("approximations", "clips", "manifest", "manifest_sha256", "model", "model_fingerprint", "numerics"),
        *("removed", "rows", "sampling"),
    ]
    run = read_run(output)
    assert run is not None
    assert {name: getattr(run, name) for name in written} == written
    assert (
        load_bundle("fake").fingerprint
        == run.model_fingerprint
        == ("82b3920a0c7f9a2a85866093b23ff402d6846072810e32a2becf07e32384eab3")
    )
    open_run(output, run)


def test_the_plan_finds_all_done_that_was_and_no_row_edited(output: Storage, manifest: str) -> None:
    run = read_run(output)
    assert run is not None
    assert open_manifest(manifest).sha256() == run.manifest_sha256
    plan = make_plan(manifest, row_defaults_of(run), Ledger(output).state())
    assert (plan.rows, plan.clips, plan.invalid) == (6, 7, 1)
    assert (plan.done, plan.failed, plan.left, plan.changed, plan.removed) == (5, 1, 1, (), {})


def test_rows_and_requests_have_the_hashes_that_they_had(output: Storage, manifest: str) -> None:
    """From the sidecars: what a clip was, what its inputs were, and the model."""
    run = read_run(output)
    assert run is not None
    today = {clip.id: clip.row_hash for clip in manifest_clips(manifest, row_defaults_of(run))}
    spec = GangSpec(load_bundle("fake"), 1, "cpu", "float32", output.uri, epoch=1, settings=GangConfig())
    for (clip_id, generation), (status, _, _, row_hash, request_hash) in RECORDED.items():
        assert today[clip_id][:16] == row_hash
        record = Ledger(output).find(clip_id, generation)
        assert record is not None
        if status == "ok":
            assert record.sidecar is not None
            sidecar = json.loads(read_committed(output, record.sidecar))
            clip = Clip.from_json(json.dumps(sidecar["clip"]))
            prepared = Prepared(None, tuple(InputFile(**one) for one in sidecar["inputs"]))  # type: ignore[arg-type]
            assert prepared.request_hash(clip, spec.fingerprint) == sidecar["request_hash"] == record.request_hash
            assert sidecar["request_hash"][:16] == request_hash


def test_the_index_has_the_same_clips_with_the_same_facts(output: Storage, manifest: str) -> None:
    kept = ["id", "seed", "generation", "attempt", "seconds", "prompt", "place"]
    before = pq.read_table(output.uri_of("index.parquet")).select(kept)
    run = read_run(output)
    assert run is not None
    assert write_index(output, open_manifest(manifest), row_defaults_of(run), Ledger(output).state()) == 5
    today = pq.read_table(output.uri_of("index.parquet"))
    assert today.select(kept).to_pylist() == before.to_pylist()
    assert before["id"].to_pylist() == ["text", "two.s000", "two.s001", "again", "video"]


# --- going on --------------------------------------------------------------------------------------------------------


def test_its_next_owner_need_not_wait(output: Storage) -> None:
    lease = acquire(output, LeaseTimes(beat_s=60, life_s=300))
    assert lease.epoch == 2
    lease.release()


def test_what_failed_can_be_retried_and_settled(output: Storage) -> None:
    ledger = Ledger(output)
    assert ledger.retry() == ["faulty"]
    state = ledger.state()
    assert (state.generation("faulty"), state.generation("again"), state.past_attempts("again")) == (1, 1, 2)
    record = ledger.find("faulty", 0)
    assert record is not None
    assert ledger.commit(record) == record, "what it had stays what it was"
    assert begin_attempt(ledger, "left", state.past_attempts("left"), "gang-0002") == 2, "its first was cut off"


def test_its_records_move_and_merge_with_todays(output: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    expected = sorted(Ledger(output).records(), key=lambda one: (one.id, one.generation))
    for epoch in (2, 3, 4):
        compaction_of(output, epoch, now=1e12)
    assert sorted(Ledger(output).records(), key=lambda one: (one.id, one.generation)) == expected
    assert not any(output.exists(path) for path in OBJECTS)
    assert sum(part.num_rows for part in list_parts(output)) >= 7


def test_cleaning_removes_nothing_that_counts(output: Storage) -> None:
    before = set(output.list("clips"))
    removed = clean(output)
    assert set(output.list("clips")) == before
    assert removed.objects == 3, "marks of attempts at what is settled"
    assert output.exists(attempt_path("left", 1))
    assert list(damaged(output)) == []


def test_its_clips_can_be_exported(output: Storage, tmp_path: Path) -> None:
    done = export(output.uri, "rds-hq", str(tmp_path / "to"), print)
    assert (done.clips, done.uncaptioned, done.left_out) == (5, 0, ())
