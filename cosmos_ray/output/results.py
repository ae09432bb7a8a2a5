"""What a job has made, as a table in Python: the index, and the clips that failed."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmos_ray.ledger.layout import INDEX
from cosmos_ray.ledger.ledger import LedgerState
from cosmos_ray.output.failures import failures
from cosmos_ray.output.status import read_status
from cosmos_ray.output.where import filtered
from cosmos_ray.store.storage import Storage

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


#: What is added here; a manifest's column of the same name is `manifest_<name>`, as in the index.
_OURS = ("status", "failure_class", "error")


def results(output: str | os.PathLike[str], where: str | None = None) -> pd.DataFrame:
    """The index of an output as a pandas DataFrame, a row a clip; failed ones too (`status`, `failure_class`, `error`).

    where: only rows for which this holds, in SQL's words (`"status = 'ok' and seed < 3"`). The columns of the manifest
    are those of the index, which a job writes at its end; clips that were made since have `id` and `status` alone.
    Raises UsageError if there is no job at `output`, or for a condition that cannot be read.
    """
    found, _, state = read_status(os.fspath(output))
    storage = Storage(found.output)
    table = _together(_index(storage, state), _failed(storage, state))
    return (table if where is None else filtered(table, where)).to_pandas()


def _index(storage: Storage, state: LedgerState) -> pa.Table:
    """The clips that are ok, with all that the index says of them."""
    settled = state.settled_table
    ok = settled.filter(pc.equal(settled["status"], "ok"))["id"].combine_chunks().cast(pa.string())
    try:
        index = pq.read_table(io.BytesIO(storage.read(INDEX)))
    except FileNotFoundError:
        index = pa.table({"id": pa.array([], pa.string())})
    index = index.rename_columns([f"manifest_{name}" if name in _OURS else name for name in index.column_names])
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
