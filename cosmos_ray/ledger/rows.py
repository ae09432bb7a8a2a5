"""Whole records by their row numbers (`state.Contents`), wherever they lie."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.ledger.parts import damage_named, open_part
from cosmos_ray.ledger.record import RECORDS, FileEntry, Record, records_of, with_all_columns
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.store.storage import Storage

#: Row groups in memory, about 10 MB each: gangs commit nearly in the order of the manifest, so few are enough.
_CACHED = 12


class RecordReader:
    """Of one state of the ledger. Parts that are replaced are kept for an hour, so it may be used for that long."""

    def __init__(self, storage: Storage, state: LedgerState) -> None:
        self._storage, self._state = storage, state
        contents = state.contents
        self._groups = [(part, number) for part in contents.parts for number in range(len(part.rows))]
        sizes = [part.rows[number] for part, number in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(np.array([*sizes, contents.tail.num_rows], np.int64))])
        self._cache: collections.OrderedDict[int, pa.Table] = collections.OrderedDict()

    def newest(self, clip_ids: Sequence[str]) -> list[Record]:
        """The last record of each of these clips, which must have one."""
        return records_of(self.table(self._state.records.places(clip_ids)))

    def table(self, places: np.ndarray) -> pa.Table:
        """Schema RECORDS; places: rows of `state.records.table`."""
        rows = self._state.records.rows[places]
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        pieces = []
        order = np.argsort(groups, kind="stable")
        for group in np.unique(groups):
            wanted = rows[groups == group] - self._starts[group]
            pieces.append(self._group(int(group)).take(pa.array(wanted)))
        if not pieces:
            return RECORDS.empty_table()
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_tables(pieces).take(pa.array(back))

    def _group(self, number: int) -> pa.Table:
        if number == len(self._groups):
            return self._state.contents.tail
        if number in self._cache:
            self._cache.move_to_end(number)
        else:
            part, inside = self._groups[number]
            file = open_part(self._storage, part.path)
            with damage_named(self._storage, part.path):
                group = file.read_row_group(inside, columns=RECORDS.names)
            self._cache[number] = with_all_columns(group, RECORDS)
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return self._cache[number]


def read_committed(storage: Storage, entry: FileEntry) -> bytes:
    """A file of a record. ValueError if it is missing, or not as it was committed."""
    try:
        data = storage.read(entry.path)
    except FileNotFoundError:
        raise ValueError(f"{entry.path} is missing") from None
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise ValueError(
            f"{entry.path}: found {len(data)} bytes of another sha256, expected {entry.size} bytes as recorded"
        )
    return data


def bytes_a_clip(storage: Storage, state: LedgerState, clips: int = 1000) -> int | None:
    """What a clip's files take on average, sidecar included, over so many clips that are ok. None if none is."""
    ok = np.flatnonzero(pc.equal(state.records.table["status"], "ok").to_numpy())
    records = records_of(RecordReader(storage, state).table(ok[-clips:]))
    sizes = [entry.size for record in records for entry in (*record.files, *record.previews, record.sidecar) if entry]
    return round(sum(sizes) / len(records)) if records else None
