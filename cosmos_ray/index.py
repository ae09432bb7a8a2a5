"""`index.parquet`: one row a finished clip, the manifest's own columns first. Rebuilt from the ledger at any time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.ledger import LedgerState, Record, record_path
from cosmos_ray.manifest import Clip, RowDefaults, clips_of_row, open_manifest, rows_of
from cosmos_ray.storage import Storage, parent_uri

INDEX = "index.parquet"
_ROWS_A_BATCH = 512
_TEXT_MAP = pa.map_(pa.string(), pa.string())
#: Columns the index adds; a manifest column of the same name is kept as `manifest_<name>`.
ADDED = pa.schema(
    [
        ("id", pa.string()),
        ("row_id", pa.string()),
        ("videos", _TEXT_MAP),
        ("sha256", _TEXT_MAP),
        ("sidecar", pa.string()),
        ("seed", pa.int64()),
        ("generation", pa.int64()),
        ("attempt", pa.int64()),
        ("seconds", pa.float64()),
    ]
)


def write_index(storage: Storage, manifest: str, defaults: RowDefaults, state: LedgerState) -> int:
    """Write `index.parquet`; the number of its rows. One batch of the manifest is in memory at a time."""
    file = open_manifest(manifest)
    kept = [name for name in file.schema_arrow.names if name not in ("id", "seed")]
    fields = [file.schema_arrow.field(name) for name in kept]
    renamed = [field.with_name(f"manifest_{field.name}") if field.name in ADDED.names else field for field in fields]
    schema = pa.schema([*ADDED, *renamed])
    rows = 0
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
        path = Path(folder) / INDEX
        with pq.ParquetWriter(path, schema) as writer:
            for batch in file.iter_batches(batch_size=_ROWS_A_BATCH):
                sources, added = _finished(storage, batch, defaults, parent_uri(manifest), state)
                columns = [batch.column(name).take(pa.array(sources, pa.int64())) for name in kept]
                writer.write_table(pa.Table.from_arrays([*added.columns, *columns], schema=schema))
                rows += len(sources)
        storage.write(INDEX, path.read_bytes())
    return rows


def _finished(
    storage: Storage, batch: pa.RecordBatch, defaults: RowDefaults, base: str, state: LedgerState
) -> tuple[list[int], pa.Table]:
    """Numbers of the batch's rows that finished clips come from, and the columns that the index adds for them."""
    found: list[tuple[int, Clip]] = []
    for number, row in enumerate(rows_of(batch)):
        for clip in clips_of_row(row, defaults, base):
            record = state.records.get(clip.id)
            if record is not None and record.ok:
                found.append((number, clip))
    records = _records(storage, [clip for _, clip in found], state)
    rows = [_row(storage, clip, record) for (_, clip), record in zip(found, records, strict=True)]
    return [number for number, _ in found], pa.Table.from_pylist(rows, schema=ADDED)


def _records(storage: Storage, clips: list[Clip], state: LedgerState) -> Iterator[Record]:
    paths = [record_path(clip.id, state.records[clip.id].generation) for clip in clips]
    data = storage.read_many(paths)
    return (Record.from_json(data[path]) for path in paths)


def _row(storage: Storage, clip: Clip, record: Record) -> dict[str, object]:
    return {
        "id": clip.id,
        "row_id": clip.row_id,
        "videos": {entry.view: storage.uri_of(entry.path) for entry in record.files},
        "sha256": {entry.view: entry.sha256 for entry in record.files},
        "sidecar": storage.uri_of(record.sidecar.path) if record.sidecar else None,
        "seed": clip.seed,
        "generation": record.generation,
        "attempt": record.attempt,
        "seconds": record.seconds.get("denoise"),
    }
