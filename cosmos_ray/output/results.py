"""What a job has made, as a table in Python: the index, and the clips that failed."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmos_ray.ledger.layout import INDEX
from cosmos_ray.ledger.ledger import LedgerState
from cosmos_ray.ledger.run import Run, row_defaults_of
from cosmos_ray.output.derived import stale
from cosmos_ray.output.failures import failures
from cosmos_ray.output.index import write_tables
from cosmos_ray.output.kept import kept
from cosmos_ray.output.names import beside
from cosmos_ray.output.status import read_status
from cosmos_ray.output.where import filtered
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import parent_uri

if TYPE_CHECKING:
    import pandas as pd

_FAILED = pa.schema(
    [
        ("id", pa.string()),
        ("status", pa.string()),
        ("failure_class", pa.string()),
        ("error", pa.string()),
        ("attempt", pa.int64()),
    ]
)


#: What is added here; a manifest's column of the same name gets another, as in the index.
_OURS = ("status", "failure_class", "error")


def results(output: str | os.PathLike[str], where: str | None = None) -> pd.DataFrame:
    """The index of an output as a pandas DataFrame, a row a clip; failed ones too (`status`, `failure_class`, `error`).

    where: only rows for which this holds, in SQL's words (`"status = 'ok' and seed < 3"`). Paths are relative to the
    output. It is what the ledger says now, whatever `index.parquet` is of; in an output of a release that kept no rows
    of its manifest, clips that were made since have `id` and `status` alone.

    Raises UsageError if there is no job at `output`, or for a condition that cannot be read.
    """
    found, run, state = read_status(os.fspath(output))
    storage = Storage(found.output)
    table = _together(_made(storage, run, state), _failed(storage, state))
    return (table if where is None else filtered(table, where)).to_pandas()


def _index(storage: Storage, run: Run, state: LedgerState) -> pa.Table:
    """The one that is there, or what it would be now."""
    rows = kept(storage, run) if INDEX in stale(storage, run, state) else None
    if rows is not None:
        with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
            write_tables(Path(folder), storage, rows, row_defaults_of(run), state, home=parent_uri(run.manifest))
            return pq.read_table(Path(folder, INDEX), partitioning=None)
    try:
        return pq.read_table(io.BytesIO(storage.read(INDEX)))
    except FileNotFoundError:
        return pa.table({"id": pa.array([], pa.string())})


def _made(storage: Storage, run: Run, state: LedgerState) -> pa.Table:
    """The clips that are ok, with all that the index says of them."""
    settled = state.settled_table
    ok = settled.filter(pc.equal(settled["status"], "ok"))["id"].combine_chunks().cast(pa.string())
    index = _index(storage, run, state)
    index = index.rename_columns(beside(index.column_names, _OURS))
    index = index.filter(pc.is_in(index["id"], ok))
    newer = ok.filter(pc.invert(pc.is_in(ok, index["id"].combine_chunks())))
    together = pa.concat_tables([index, pa.table({"id": newer})], promote_options="default")
    return together.append_column("status", pa.array(["ok"] * len(together), pa.string()))


def _failed(storage: Storage, state: LedgerState) -> pa.Table:
    rows = [
        {
            "id": one.id,
            "status": "failed",
            "failure_class": one.failure_class,
            "error": one.error,
            "attempt": one.attempt,
        }
        for one in failures(storage, state)
    ]
    return pa.Table.from_pylist(rows, _FAILED)


def _together(made: pa.Table, failed: pa.Table) -> pa.Table:
    """id and status first."""
    table = pa.concat_tables([made, failed], promote_options="permissive")
    first = ["id", "status"]
    return table.select([*first, *(name for name in table.column_names if name not in first)])
