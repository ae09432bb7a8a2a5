"""The commit record: what is put down comes back, from an object and from a part, also from those of older releases."""

from __future__ import annotations

import datetime
import json
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from cosmos_ray.clip.checks import Scores
from cosmos_ray.ledger import compaction, parts
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import RECORDS, FileEntry, Record, Try, now, records_of, table_of, with_all_columns
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.store.storage import Storage

SCORES = {"rear": Scores(0.1, 0.2, 0.3, 4.0, 5.0, None, 0.6), "front_wide": Scores(0, 0, 0, 0, 1, 30.5)}
RECORD = Record(
    id="a",
    generation=0,
    status="ok",
    failure_class=None,
    attempt=1,
    error=None,
    row_hash="row",
    epoch=1,
    seconds={"denoise": 1.5},
    files=(FileEntry("rear", "clips/a/1/rear.mp4", 3, "sha"),),
    sidecar=FileEntry("", "clips/a/1/clip.json", 2, "sha of it"),
    warnings=("rear: cropped by 24 % of its rows", "negative prompt: caption cut"),
    previews=(FileEntry("preview", "previews/a/1.mp4", 4, "sha of the preview"),),
    seed=8,
    scores=SCORES,
    marks=("frozen: rear: 60 % (limit 50 %)",),
    tries=(Try(7, ("black: rear: 100 % (limit 50 %)",), SCORES), Try(6, (), {})),
)
#: What records of 0.1.0 do not have.
_NEWER = {"warnings": (), "previews": (), "seed": None, "scores": {}, "marks": (), "tries": ()}
#: What a part of 0.1.0 has, but for `compacted_by`.
OLD = pa.schema([field for field in RECORDS if field.name not in _NEWER])


@pytest.mark.parametrize("record", [RECORD, replace(RECORD, **_NEWER, files=(), sidecar=None)])
def test_a_record_comes_back_from_json_and_from_a_table(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record
    assert records_of(table_of([record, RECORD])) == [record, RECORD]


def test_a_record_of_an_older_release_has_fewer_fields() -> None:
    fields = json.loads(RECORD.to_json())
    for name in _NEWER:
        del fields[name]
    assert Record.from_json(json.dumps(fields).encode()) == replace(RECORD, **_NEWER)


@pytest.mark.parametrize("name", ["started", "finished"])
def test_a_moment_that_is_none_makes_no_record(name: str) -> None:
    """Rates are told by them: a status would end with a traceback, long after."""
    fields = json.loads(RECORD.to_json()) | {name: "yesterday"}
    with pytest.raises(ValueError, match="yesterday"):
        Record.from_json(json.dumps(fields).encode())


def test_fields_that_an_older_release_did_not_know_are_null_and_what_was_null_stays_so() -> None:
    kind = RECORDS.field("settings").type
    older = pa.struct([field for field in kind if field.name not in ("camera_prefix", "preset")])
    told = pa.array([None, {"model": "tiny", "num_steps": 4}], older)
    settings = with_all_columns(pa.table({"settings": told}), pa.schema([("settings", kind)]))["settings"]
    assert settings[0].as_py() is None
    assert {name: value for name, value in settings[1].as_py().items() if value is not None} == {
        "model": "tiny",
        "num_steps": 4,
    }


def old_part(storage: Storage, records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(records).select(OLD.names).append_column("compacted_by", pa.array([1] * len(records), pa.int64()))
    with monkeypatch.context() as patch:
        patch.setattr(parts, "PART_SCHEMA", table.schema)
        parts.write_part(storage, 1, [table])


def test_parts_of_older_releases_are_read_and_merged_with_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(str(tmp_path))
    old, new = (replace(RECORD, id=name) for name in ("old", "new"))
    old_part(storage, [old], monkeypatch)
    compaction.move_records(storage, 1, table_of([new]))
    expected = {"old": replace(old, **_NEWER), "new": new}

    def all_ways() -> list[dict[str, Record]]:
        ledger = Ledger(storage)
        by_reader = RecordReader(storage, ledger.state()).newest(["old", "new"])
        return [{record.id: record for record in found} for found in (ledger.records(), by_reader)]

    assert all_ways() == [expected, expected]
    monkeypatch.setattr(compaction, "MERGE", 2)
    compaction.merge(storage, 1)
    assert len(parts.live_parts(parts.list_parts(storage))) == 1
    assert all_ways() == [expected, expected]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_moments_are_those_of_one_clock_wherever_a_machine_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gangs and drivers of one job may be in several zones, and their moments are compared as texts."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        before, found, after = time.time(), now(), time.time()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found.endswith("+00:00")
    assert len(found) == len("2026-01-01T00:00:00.000+00:00")
    assert before - 0.001 <= datetime.datetime.fromisoformat(found).timestamp() <= after
