"""`index.parquet`: one row a finished clip, the manifest's own columns first. Rebuilt from the ledger at any time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmos_ray.ledger.layout import INDEX
from cosmos_ray.ledger.ledger import LedgerState
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.manifest.files import Manifest, row_group_batches
from cosmos_ray.manifest.rows import RowDefaults, clips_of_row, rows_of, sample_seed
from cosmos_ray.manifest.table import FanOut, check_batch, fan_out
from cosmos_ray.store.storage import Storage

_ROWS_A_BATCH = 4096
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
        ("warnings", pa.list_(pa.string())),
    ]
)


def write_index(storage: Storage, manifest: Manifest, defaults: RowDefaults, state: LedgerState) -> int:
    """Write `index.parquet`; the number of its rows. A few thousand rows are in memory at a time.

    In the manifest's order. Clips whose rows the manifest no longer has are not in it.
    """
    kept = [name for name in manifest.schema.names if name not in ("id", "seed")]
    fields = [manifest.schema.field(name) for name in kept]
    renamed = [field.with_name(f"manifest_{field.name}") if field.name in ADDED.names else field for field in fields]
    schema = pa.schema([*ADDED, *renamed])
    reader = RecordReader(storage, state)
    rows = 0
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
        path = Path(folder) / INDEX
        with pq.ParquetWriter(path, schema) as writer:
            for batch, base in _batches(manifest):
                sources, added = _finished(storage, reader, batch, defaults, base, state)
                columns = [batch.column(name).take(sources) for name in kept]
                writer.write_table(pa.Table.from_arrays([*added, *columns], schema=schema))
                rows += len(sources)
        storage.write_file(INDEX, path)
    return rows


def _batches(manifest: Manifest) -> Iterator[tuple[pa.RecordBatch, str]]:
    for file in manifest.files:
        for number in range(len(file.rows)):
            for batch in row_group_batches(file, number, manifest.schema, _ROWS_A_BATCH):
                yield batch, file.base


def _finished(
    storage: Storage,
    reader: RecordReader,
    batch: pa.RecordBatch,
    defaults: RowDefaults,
    base: str,
    state: LedgerState,
) -> tuple[pa.Array, list[pa.Array]]:
    """Numbers of the batch's rows that finished clips come from, and the columns that the index adds for them."""
    fan = fan_out(batch)
    places = state.records.places(fan.ids.to_pylist())
    is_ok = pc.equal(state.records.table["status"], "ok").to_numpy()
    ok = np.flatnonzero((places >= 0) & np.append(is_ok, False)[places])
    ids, sources = fan.ids.take(pa.array(ok)), pa.array(fan.rows[ok])
    records = reader.table(places[ok]).combine_chunks()
    files = records["files"].combine_chunks()
    offsets = pa.array(np.append(0, np.cumsum(pc.list_value_length(files).to_numpy())), pa.int32())
    entries = files.flatten()
    uris = pc.binary_join_element_wise(storage.uri_of(""), entries.field("path"), "")

    def by_view(values: pa.Array) -> pa.MapArray:
        return pa.MapArray.from_arrays(offsets, entries.field("view"), values)

    sidecar = pc.struct_field(records["sidecar"].combine_chunks(), "path")
    return sources, [
        ids,
        batch.column("id").cast(pa.string()).take(sources),
        by_view(uris),
        by_view(entries.field("sha256")),
        pc.binary_join_element_wise(storage.uri_of(""), sidecar, ""),
        pa.array(list(_seeds(batch, fan, ok, defaults, base)), pa.int64()),
        records["generation"],
        records["attempt"],
        pc.map_lookup(records["seconds"], pa.scalar("denoise"), "first"),
        records["warnings"],
    ]


def _seeds(batch: pa.RecordBatch, fan: FanOut, clips: np.ndarray, defaults: RowDefaults, base: str) -> Iterator[int]:
    """Of these clips of the batch."""
    checked = check_batch(batch, defaults, base)
    for row, sample in zip(fan.rows[clips].tolist(), fan.samples[clips].tolist(), strict=True):
        if checked.right[row]:
            yield sample_seed(int(checked.seeds[row]), sample)
        else:
            yield clips_of_row(rows_of(batch.slice(row, 1))[0], defaults, base)[sample].seed
