"""What a job has made, as a table in Python: the index, and the clips that failed."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosmos_ray.errors import argument_error
from cosmos_ray.ledger.layout import FAILURES, INDEX
from cosmos_ray.ledger.run import Run, row_defaults_of
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.output.column_names import beside
from cosmos_ray.output.derived import stale
from cosmos_ray.output.failures import failures
from cosmos_ray.output.index import ADDED_NAMES, ADDED_TO_FAILURES, IN_EFFECT, write_tables
from cosmos_ray.output.kept import kept
from cosmos_ray.output.status import read_status
from cosmos_ray.output.where import filtered
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import parent_uri, path_text

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
    of its manifest, clips that were made since have `id` and `status` alone, and failed ones no columns of it.

    Raises UsageError if there is no job at `output`, or for a condition that cannot be read.
    """
    if where is not None and not isinstance(where, str):
        raise argument_error("where", where, "a condition as a text, or None")
    found, run, state = read_status(path_text("output", output))
    storage = Storage(found.output)
    index, failed = _tables(storage, run, state)
    table = _together(_made(index, state), _failed(failed, index, storage, state))
    return (table if where is None else filtered(table, where)).to_pandas()


def _tables(storage: Storage, run: Run, state: LedgerState) -> tuple[pa.Table, pa.Table]:
    """Index and failures: those that are there, or what they would be now."""
    rows = kept(storage, run) if {INDEX, FAILURES} & {*stale(storage, run, state)} else None
    if rows is None:
        return _read(storage, INDEX), _read(storage, FAILURES)
    with scratch() as folder:
        write_tables(folder, storage, rows, row_defaults_of(run), state, home=parent_uri(run.manifest))
        return tuple(pq.read_table(Path(folder, name), partitioning=None) for name in (INDEX, FAILURES))


def _read(storage: Storage, name: str) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(storage.read(name)))
    except FileNotFoundError:
        return pa.table({"id": pa.array([], pa.string())})


def _made(index: pa.Table, state: LedgerState) -> pa.Table:
    """The clips that are ok, with all that the index says of them."""
    settled = state.settled_table
    ok = settled.filter(pc.equal(settled["status"], "ok"))["id"].combine_chunks().cast(pa.string())
    index = index.rename_columns(beside(index.column_names, _OURS))
    index = index.filter(pc.is_in(index["id"], ok))
    newer = ok.filter(pc.invert(pc.is_in(ok, index["id"].combine_chunks())))
    together = pa.concat_tables([index, pa.table({"id": newer})], promote_options="default")
    return together.append_column("status", pa.array(["ok"] * len(together), pa.string()))


def _failed(known: pa.Table, index: pa.Table, storage: Storage, state: LedgerState) -> pa.Table:
    """The clips that failed, as the ledger has them, with their rows' columns under the names that these have in the
    index. known: the failures as a table."""
    records = [
        {
            "id": one.id,
            "status": "failed",
            "failure_class": one.failure_class,
            "error": one.error,
            "attempt": one.attempt,
        }
        for one in failures(storage, state)
    ]
    table = pa.Table.from_pylist(records, _FAILED)
    places = pc.index_in(table["id"].combine_chunks(), value_set=known["id"].combine_chunks().cast(pa.string()))
    of_rows = [name for name in known.column_names if name not in (*ADDED_TO_FAILURES.names, *IN_EFFECT)]
    names = zip(index.column_names, beside(index.column_names, _OURS), strict=True)
    in_index = [new for old, new in names if old not in ADDED_NAMES]  # the same columns, in the same order
    for old, new in zip(of_rows, in_index, strict=False):  # of neither, where a release knew no failures
        table = table.append_column(new, known[old].take(places))
    for name in IN_EFFECT:  # what the row says of it, where it says something of that kind
        if name in known.column_names and name in index.column_names:
            with contextlib.suppress(pa.ArrowException):
                table = table.append_column(name, known[name].take(places).cast(index.schema.field(name).type))
    return table


def _together(made: pa.Table, failed: pa.Table) -> pa.Table:
    """id and status first."""
    table = pa.concat_tables([made, failed], promote_options="permissive")
    first = ["id", "status"]
    return table.select([*first, *(name for name in table.column_names if name not in first)])
