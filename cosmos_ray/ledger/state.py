"""The ledger as read at one moment, as columns: a million clips are read in a second and take no Python object each."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.errors import FailureClass
from cosmos_ray.ledger.parts import Part
from cosmos_ray.ledger.record import RECORDS

#: What is read of every record. `compacted_by` is 0 for a record that is still an object.
OUTCOMES = pa.schema(
    [
        *(RECORDS.field(name) for name in ("id", "generation", "status", "class", "attempt", "row_hash", "finished")),
        ("compacted_by", pa.int64()),
    ]
)


class Settled(NamedTuple):
    """What is kept in memory of a record: a few words a clip, however many files it has. finished: ISO 8601, UTC."""

    generation: int
    ok: bool
    failure_class: FailureClass | None
    attempt: int
    row_hash: str
    finished: str


@dataclass(frozen=True)
class Contents:
    """Where every record was found. Rows are numbered over all parts, in this order, and then the tail.

    parts: live ones. tail: records that are objects, whole (schema RECORDS). outcomes: OUTCOMES of every row.
    valid: numbers of the rows that hold, one a clip and generation; newest: of those of each clip's last generation.
    damaged: (id, generation) of objects that are no records.
    """

    parts: tuple[Part, ...]
    tail: pa.Table
    outcomes: pa.Table
    valid: np.ndarray
    newest: np.ndarray
    damaged: tuple[tuple[str, int], ...] = ()

    @property
    def tail_start(self) -> int:
        """Number of the first row that is an object."""
        return self.outcomes.num_rows - self.tail.num_rows


def contents_of(
    parts: Sequence[Part], columns: Sequence[pa.Table], tail: pa.Table, damaged: Sequence[tuple[str, int]]
) -> Contents:
    """columns: OUTCOMES of each part. Where several rows speak of one outcome, a part's holds over an object's, and a
    later owner's part over an earlier's: whoever wrote the other one had slept through the loss of the output."""
    objects = tail.select(OUTCOMES.names[:-1]).append_column(
        "compacted_by", pa.array(np.zeros(tail.num_rows, np.int64))
    )
    outcomes = pa.concat_tables([*columns, objects])
    valid, newest = _resolve(outcomes)
    known = _outcomes_of([clip_id for clip_id, _ in damaged], outcomes) if damaged else set()
    return Contents(tuple(parts), tail, outcomes, valid, newest, tuple(one for one in damaged if one not in known))


def _outcomes_of(clip_ids: list[str], outcomes: pa.Table) -> set[tuple[str, int]]:
    """(id, generation) of these clips' rows."""
    found = outcomes.filter(pc.is_in(outcomes["id"], pa.array(clip_ids, pa.string())))
    return set(zip(found["id"].to_pylist(), found["generation"].to_pylist(), strict=True))


def _resolve(outcomes: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(valid, newest), see Contents."""
    rows = outcomes.num_rows
    everything = np.arange(rows)
    if pc.count_distinct(outcomes["id"]).as_py() == rows:  # no clip was retried, none was seen at two places
        return everything, everything
    codes = outcomes["id"].combine_chunks().dictionary_encode().indices.to_numpy()
    generation, owner = outcomes["generation"].to_numpy(), outcomes["compacted_by"].to_numpy()
    order = np.lexsort((owner, generation, codes))
    clip, generation = codes[order], generation[order]
    last_of_clip = np.append(clip[1:] != clip[:-1], True)
    last_of_generation = last_of_clip | np.append(generation[1:] != generation[:-1], True)
    return np.sort(order[last_of_generation]), np.sort(order[last_of_clip])


class Outcomes(Mapping[str, Settled]):
    """How each clip ended last, by id. rows: numbers of those rows of `table`."""

    def __init__(self, table: pa.Table, rows: np.ndarray) -> None:
        self.rows = rows
        self.table = table if len(rows) == table.num_rows else table.take(rows)

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return dict(zip(self.table["id"].to_pylist(), range(self.table.num_rows), strict=True))

    def places(self, clip_ids: Sequence[str]) -> np.ndarray:
        """Row of `table` of each clip, -1 for one without a record."""
        places = self._places
        return np.fromiter((places.get(clip_id, -1) for clip_id in clip_ids), np.int64, len(clip_ids))

    @functools.cached_property
    def _row_hashes(self) -> pa.StringArray:
        return self.table["row_hash"].combine_chunks()

    def row_hashes(self, places: np.ndarray) -> list[str]:
        """Of what the manifest's row said that the clip in this row of `table` was made from."""
        found: list[str] = self._row_hashes.take(pa.array(places)).to_pylist()
        return found

    def __getitem__(self, clip_id: str) -> Settled:
        row = self.table.slice(self._places[clip_id], 1).to_pylist()[0]
        return _settled(row)

    def __iter__(self) -> Iterator[str]:
        return iter(self.table["id"].to_pylist())

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self._places


def _settled(row: dict) -> Settled:
    return Settled(
        row["generation"], row["status"] == "ok", row["class"], row["attempt"], row["row_hash"], row["finished"] or ""
    )


@dataclass(frozen=True)
class LedgerState:
    """How each clip ended last, and the generations that were opened again (`retry`, damaged records)."""

    contents: Contents
    reopened: dict[str, int]

    @staticmethod
    def empty() -> LedgerState:
        """Of an output without records."""
        return LedgerState(contents_of((), (), RECORDS.empty_table(), ()), {})

    @functools.cached_property
    def records(self) -> Outcomes:
        return Outcomes(self.contents.outcomes, self.contents.newest)

    @functools.cached_property
    def settled_rows(self) -> np.ndarray:
        """bool, a row of `records.table`: the clip needs nothing more."""
        table = self.records.table
        settled = np.ones(table.num_rows, bool)
        if self.reopened:
            opened = pc.index_in(table["id"], pa.array(list(self.reopened), pa.string()))
            places = opened.to_numpy() if opened.null_count == 0 else pc.fill_null(opened, -1).to_numpy()
            generations = np.array([*self.reopened.values(), 0])[places]  # -1: not opened, 0
            settled = generations <= table["generation"].to_numpy()
        return settled

    @functools.cached_property
    def made_rows(self) -> np.ndarray:
        """bool, a row of `records.table`: the clip needs nothing more, and is ok."""
        is_ok: np.ndarray = pc.equal(self.records.table["status"], "ok").to_numpy()
        return self.settled_rows & is_ok

    @functools.cached_property
    def settled_table(self) -> pa.Table:
        """The rows of `records.table` of clips that need nothing more."""
        table, settled = self.records.table, self.settled_rows
        return table if settled.all() else table.filter(pa.array(settled))

    def is_settled(self, clip_id: str) -> bool:
        record = self.records.get(clip_id)
        return record is not None and self.reopened.get(clip_id, 0) <= record.generation

    def settled(self) -> Iterator[tuple[str, Settled]]:
        """Every clip that needs nothing more, in no order, an object each: not for a million."""
        for batch in self.settled_table.to_batches(max_chunksize=4096):
            yield from ((row["id"], _settled(row)) for row in batch.to_pylist())

    def generation(self, clip_id: str) -> int:
        """The generation that the clip's next attempt belongs to."""
        return self.reopened.get(clip_id, 0)

    def past_attempts(self, clip_id: str) -> int:
        """The last attempt number of earlier generations."""
        record = self.records.get(clip_id)
        return record.attempt if record else 0


def counts_by_outcome(table: pa.Table) -> dict[str, int]:
    """Clips by how they ended: `ok`, or the class of their failure."""
    how = pc.if_else(pc.equal(table["status"], "ok"), "ok", pc.fill_null(table["class"], "internal"))
    found = {one["values"]: one["counts"] for one in pc.value_counts(how).to_pylist()}
    return dict(sorted(found.items()))
