"""What the index says of clips, for those who copy them: the manifest's columns, scores, marks, guardrails."""

from __future__ import annotations

import base64
import datetime
import io
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.layout import INDEX
from cosmos_ray.manifest.python_values import rows_in
from cosmos_ray.output.index import ADDED_NAMES, IN_EFFECT
from cosmos_ray.output.where import filtered
from cosmos_ray.store.storage import Storage

#: Of the index's own columns, those that are of use without the output.
_LOOKS = ("warnings", "scores", "marks", "refined_prompts", "guardrails", "blurred")


class Columns:
    """Rows of an output's index, by clip. Empty where there is none."""

    def __init__(self, source: Storage) -> None:
        self._uri = source.uri_of(INDEX)
        try:
            self._table = pq.read_table(io.BytesIO(source.read(INDEX)))
        except FileNotFoundError:
            self._table = pa.table({"id": pa.array([], pa.string())})
        self._rows = {clip_id: row for row, clip_id in enumerate(self._table["id"].to_pylist())}
        self.names = [name for name in self._table.column_names if name not in ADDED_NAMES or name in IN_EFFECT]

    def missing(self, ids: Sequence[str]) -> int:
        """How many of these clips the index does not have: they were made since it was written."""
        return sum(clip_id not in self._rows for clip_id in ids)

    def ids(self, where: str) -> set[str]:
        """Clips for which the condition holds. Raises UsageError for one that cannot be read, and without an index."""
        if not self._rows:
            raise UsageError(f"where {where!r}: there are no rows in {self._uri}: `cosmos-ray report` writes it")
        return set(filtered(self._table, where)["id"].to_pylist())

    def facts(self, clip_id: str) -> dict[str, Any]:
        """As JSON has them: `columns` are the manifest's; {} for a clip that the index does not have."""
        row = self._rows.get(clip_id)
        if row is None:
            return {}
        (found,) = rows_in(self._table.slice(row, 1))
        looks = {name: plain(found[name]) for name in _LOOKS if name in found}
        return {**looks, "columns": {name: plain(found[name]) for name in self.names}}

    def table(self, ids: Sequence[str]) -> pa.Table:
        """The manifest's columns of these clips, a row each; null for one that the index does not have."""
        rows = pa.array([self._rows.get(clip_id) for clip_id in ids], pa.int64())
        return self._table.select(self.names).take(rows)


def plain(value: Any) -> Any:
    """What Parquet holds, as JSON can: times in ISO 8601, bytes in base64, numbers that are none as null."""
    if isinstance(value, dict):
        return {str(name): plain(of) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [plain(of) for of in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)
