"""The commit record: how one clip ended, as a small JSON object and as a row of a Parquet file."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pyarrow as pa

from cosmos_ray.errors import FailureClass
from cosmos_ray.ledger.layout import LEDGER


@dataclass(frozen=True)
class FileEntry:
    """One file of a clip; `path` relative to the output, `sha256` of its bytes."""

    view: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """How one clip ended. row_hash: of what the manifest's row says; request_hash: with the inputs' versions too.

    warnings: what was doubtful in the clip's row and inputs, and what was converted.
    previews: small ones of all views together, for people; a clip is whole without them.
    """

    id: str
    generation: int
    status: Literal["ok", "failed"]
    failure_class: FailureClass | None
    attempt: int
    error: str | None
    row_hash: str
    epoch: int
    request_hash: str | None = None
    gang: str | None = None
    node: str | None = None
    started: str | None = None
    finished: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()
    sidecar: FileEntry | None = None
    warnings: tuple[str, ...] = ()
    previews: tuple[FileEntry, ...] = ()

    def to_json(self) -> bytes:
        fields = asdict(self)
        fields["class"] = fields.pop("failure_class")
        return json.dumps(fields, sort_keys=True).encode()

    @staticmethod
    def from_json(data: bytes) -> Record:
        fields: dict[str, Any] = json.loads(data)
        fields["failure_class"] = fields.pop("class")
        fields["files"] = tuple(FileEntry(**entry) for entry in fields["files"])
        fields["sidecar"] = FileEntry(**fields["sidecar"]) if fields["sidecar"] else None
        fields["warnings"] = tuple(fields.get("warnings", ()))  # records of 0.1.0 have none, and no previews
        fields["previews"] = tuple(FileEntry(**entry) for entry in fields.get("previews", ()))
        return Record(**fields)


def record_path(clip_id: str, generation: int) -> str:
    """256 shards keep any one folder small."""
    shard = hashlib.sha256(clip_id.encode()).hexdigest()[:2]
    return f"{LEDGER}/{shard}/{clip_id}.{generation}.json"


_FILE = pa.struct([("view", pa.string()), ("path", pa.string()), ("size", pa.int64()), ("sha256", pa.string())])
#: A record as a row. What every reader wants comes first, so that it lies together in a file.
RECORDS = pa.schema(
    [
        ("id", pa.string()),
        ("generation", pa.int64()),
        ("status", pa.string()),
        ("class", pa.string()),
        ("attempt", pa.int64()),
        ("row_hash", pa.string()),
        ("finished", pa.string()),
        ("error", pa.string()),
        ("epoch", pa.int64()),
        ("request_hash", pa.string()),
        ("gang", pa.string()),
        ("node", pa.string()),
        ("started", pa.string()),
        ("seconds", pa.map_(pa.string(), pa.float64())),
        ("files", pa.list_(_FILE)),
        ("sidecar", _FILE),
        ("warnings", pa.list_(pa.string())),
        ("previews", pa.list_(_FILE)),
    ]
)


def table_of(records: Iterable[Record]) -> pa.Table:
    """Of schema RECORDS, in the order given."""
    rows = []
    for record in records:
        fields = asdict(record)
        fields["class"] = fields.pop("failure_class")
        fields["seconds"] = list(record.seconds.items())
        rows.append(fields)
    return pa.Table.from_pylist(rows, schema=RECORDS)


def with_all_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of `schema` in its order; those that an older release did not write are null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.schema.names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def records_of(table: pa.Table | pa.RecordBatch) -> list[Record]:
    """The inverse of `table_of`; columns beyond RECORDS are left out."""
    names = [name for name in RECORDS.names if name in table.schema.names]
    return [_record({"warnings": None, "previews": None, **row}) for row in table.select(names).to_pylist()]


def _record(fields: dict[str, Any]) -> Record:
    fields["failure_class"] = fields.pop("class")
    fields["seconds"] = dict(fields["seconds"])
    fields["files"] = tuple(FileEntry(**entry) for entry in fields["files"])
    fields["sidecar"] = FileEntry(**fields["sidecar"]) if fields["sidecar"] else None
    fields["warnings"] = tuple(fields["warnings"] or ())
    fields["previews"] = tuple(FileEntry(**entry) for entry in fields["previews"] or ())
    return Record(**fields)


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
