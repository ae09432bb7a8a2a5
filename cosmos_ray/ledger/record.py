"""The commit record: how one clip ended, as a small JSON object and as a row of a Parquet file."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.clip.checks import MEASURES, Scores
from cosmos_ray.clip.settings import Settings
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
class Try:
    """A clip as it was made first, before checks had it made again with the next seed. scores: by view."""

    seed: int
    marks: tuple[str, ...]
    scores: dict[str, Scores]


@dataclass(frozen=True)
class Record:
    """How one clip ended. row_hash: of what the manifest's row says; request_hash: with the inputs' versions too.

    warnings: what was doubtful in the clip's row and inputs, and what was converted. seed: of the clip as it is; None
    in failures and in records of 0.1.0. scores: what its videos look like, by view; marks: those beyond their limits,
    in words; tries: as which it was made before that.
    previews: small ones of all views together, for people; a clip is whole without them. settings: what the clip was
    made with; None in failures and in records of earlier releases. refined_prompts: captions that it was made of
    instead of its row's; () if of those.
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
    seed: int | None = None
    scores: dict[str, Scores] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    tries: tuple[Try, ...] = ()
    settings: Settings | None = None
    refined_prompts: tuple[str, ...] = ()
    guardrails: tuple[str, ...] = ()
    blurred: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> bytes:
        fields = asdict(self)
        fields["class"] = fields.pop("failure_class")
        return json.dumps(fields, sort_keys=True).encode()

    @staticmethod
    def from_json(data: bytes) -> Record:
        fields: dict[str, Any] = json.loads(data)
        if fields["status"] not in ("ok", "failed"):
            raise ValueError(f"found the status {fields['status']!r}, expected ok or failed")
        for moment in filter(None, (fields.get("started"), fields.get("finished"))):
            datetime.datetime.fromisoformat(moment)
        return _built(fields, lambda scores: _scores((scores or {}).items()))


def _built(fields: dict[str, Any], scores_of: Callable[[Any], dict[str, Scores]]) -> Record:
    """Of JSON or of a row; what an earlier release did not know is missing, or null. scores_of: how they are written
    there."""
    fields["failure_class"] = fields.pop("class")
    fields["sidecar"] = FileEntry(**fields["sidecar"]) if fields["sidecar"] else None
    fields["files"] = tuple(FileEntry(**entry) for entry in fields["files"])
    fields["previews"] = tuple(FileEntry(**entry) for entry in fields.get("previews") or ())
    for name in ("warnings", "marks", "refined_prompts", "guardrails"):
        fields[name] = tuple(fields.get(name) or ())
    for name in ("seconds", "blurred"):
        fields[name] = dict(fields.get(name) or ())
    fields["scores"] = scores_of(fields.get("scores"))
    fields["tries"] = tuple(
        Try(one["seed"], tuple(one["marks"]), scores_of(one["scores"])) for one in fields.get("tries") or ()
    )
    fields["settings"] = Settings.from_json(fields.get("settings"))
    return Record(**fields)


def _scores(views: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Scores]:
    return {view: Scores(**{name: of[name] for name in MEASURES}) for view, of in views}


def record_path(clip_id: str, generation: int) -> str:
    """256 shards keep any one folder small."""
    shard = hashlib.sha256(clip_id.encode()).hexdigest()[:2]
    return f"{LEDGER}/{shard}/{clip_id}.{generation}.json"


_FILE = pa.struct([("view", pa.string()), ("path", pa.string()), ("size", pa.int64()), ("sha256", pa.string())])
_SCORES = pa.list_(pa.struct([("view", pa.string()), *((name, pa.float64()) for name in MEASURES)]))
_TRY = pa.struct([("seed", pa.int64()), ("marks", pa.list_(pa.string())), ("scores", _SCORES)])
_INTERVAL = pa.list_(pa.float64())
#: As `Approximations.in_effect` has them.
APPROXIMATIONS = pa.struct(
    [
        ("solver", pa.string()),
        ("schedule", pa.string()),
        ("guidance_interval", _INTERVAL),
        ("attention", pa.string()),
        ("fp8_interval", _INTERVAL),
        ("fp8_exact_blocks", pa.list_(pa.int64())),
    ]
)
#: As `Settings` has them.
SETTINGS = pa.struct(
    [
        ("model", pa.string()),
        ("guidance", pa.float64()),
        ("num_steps", pa.int64()),
        ("views", pa.list_(pa.string())),
        ("negative_prompt", pa.string()),
        ("approximations", APPROXIMATIONS),
        ("size", pa.string()),
        ("frames", pa.int64()),
        ("fps", pa.int64()),
        ("preset", pa.string()),
        ("numerics", pa.string()),
        ("camera_prefix", pa.bool_()),
        ("num_conditional_frames", pa.int64()),
    ]
)
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
        ("seed", pa.int64()),
        ("scores", _SCORES),
        ("marks", pa.list_(pa.string())),
        ("tries", pa.list_(_TRY)),
        ("settings", SETTINGS),
        ("refined_prompts", pa.list_(pa.string())),
        ("guardrails", pa.list_(pa.string())),
        ("blurred", pa.map_(pa.string(), pa.int64())),
    ]
)


#: What comes of a record in which a value is of another type.
NO_ROW = (pa.ArrowException, AttributeError, KeyError, OverflowError, TypeError, ValueError)


def table_of(records: Iterable[Record]) -> pa.Table:
    """Of schema RECORDS, in the order given."""
    rows = []
    for record in records:
        fields = asdict(record)
        fields["class"] = fields.pop("failure_class")
        fields["seconds"] = list(record.seconds.items())
        fields["scores"] = _score_rows(record.scores)
        fields["blurred"] = list(record.blurred.items())
        fields["tries"] = [asdict(one) | {"scores": _score_rows(one.scores)} for one in record.tries]
        rows.append(fields)
    return pa.Table.from_pylist(rows, schema=RECORDS)


def is_row(record: Record) -> bool:
    """Whether it can be one: JSON that is whole may say what no record of ours does."""
    try:
        table_of([record])
    except NO_ROW:
        return False
    return True


def _score_rows(scores: dict[str, Scores]) -> list[dict[str, Any]]:
    return [{"view": view, **asdict(of)} for view, of in scores.items()]


def with_all_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of `schema` in its order; those that an older release did not write are null, and so
    are fields of a column that it did not know."""
    columns = [
        _widened(table[field.name], field.type)
        if field.name in table.schema.names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _widened(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not pa.types.is_struct(kind) or column.type == kind:
        return column.cast(kind)
    whole = column.combine_chunks()
    there = {field.name for field in column.type}
    parts = [
        pc.struct_field(whole, field.name).cast(field.type) if field.name in there else pa.nulls(len(whole), field.type)
        for field in kind
    ]
    return pa.chunked_array([pa.StructArray.from_arrays(parts, fields=list(kind), mask=whole.is_null())])


def records_of(table: pa.Table | pa.RecordBatch) -> list[Record]:
    """The inverse of `table_of`; columns beyond RECORDS are left out."""
    names = [name for name in RECORDS.names if name in table.schema.names]
    return [_built(row, _scores_of_rows) for row in table.select(names).to_pylist()]


def _scores_of_rows(rows: list[dict[str, Any]] | None) -> dict[str, Scores]:
    return _scores((row["view"], row) for row in rows or ())


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
