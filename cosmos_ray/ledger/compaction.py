"""The ledger grows by one small object a clip; the owner of the output moves them into Parquet parts as they come.

The driver is told of every record, so nothing is listed for this while a job runs; what an earlier job has left is
moved when the next one begins. Why no order of crashes can lose a record is said in `parts.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from cosmos_ray.errors import CosmosRayError
from cosmos_ray.ledger.lease import check_epoch
from cosmos_ray.ledger.ledger import attempt_path
from cosmos_ray.ledger.parts import Part, list_parts, live_parts, replaced_paths, row_groups, write_part
from cosmos_ray.ledger.record import Record, record_path, table_of
from cosmos_ray.ledger.state import Contents
from cosmos_ray.store.storage import Storage

log = logging.getLogger(__name__)

#: Records that are moved together: about so many stay objects, and `status` reads that many one by one.
BATCH = 1000
#: Parts below FULL rows are merged once there are MERGE of them, so that there are few however many records there are.
FULL = 100_000
MERGE = 16
#: How long readers may take between listing the parts and reading them.
KEPT_S = 3600.0
_DELETERS = 16


class Compactor:
    """Moves the records of a running job, in a thread of its own. A batch that cannot be moved stays as it is."""

    def __init__(self, storage: Storage, epoch: int) -> None:
        self._storage, self._epoch = storage, epoch
        self._waiting: list[Record] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compaction")
        self._moving: Future[None] | None = None

    def add(self, record: Record) -> None:
        """Of a settled clip, as the ledger has it: what another attempt could commit must not be moved."""
        self._waiting.append(record)
        if len(self._waiting) >= BATCH and (self._moving is None or self._moving.done()):
            batch, self._waiting = self._waiting, []
            self._moving = self._thread.submit(self._move, batch)

    def close(self) -> None:
        """Wait for the batch that is being moved; the last records stay objects."""
        self._thread.shutdown()

    def _move(self, records: list[Record]) -> None:
        try:
            check_epoch(self._storage, self._epoch)
            move_records(self._storage, self._epoch, table_of(records))
            merge(self._storage, self._epoch)
        except (OSError, CosmosRayError) as error:
            log.warning("%d records stay objects: %s", len(records), error)


def compact(storage: Storage, epoch: int, contents: Contents) -> int:
    """Move all records that are objects, if there are many; how many. Only for the owner of the output, before its
    gangs begin: `contents` is what it has just read."""
    if contents.tail.num_rows < BATCH:
        return 0
    valid = contents.valid[contents.valid >= contents.tail_start] - contents.tail_start
    held = contents.tail.take(pa.array(valid))
    for start in range(0, held.num_rows, FULL):
        move_records(storage, epoch, held.slice(start, FULL))
    # Objects of outcomes that a part has: of somebody who slept, or of a removal that was cut off.
    void = np.setdiff1d(np.arange(contents.tail.num_rows), valid)
    _remove_objects(storage, contents.tail.take(pa.array(void)))
    merge(storage, epoch)
    return held.num_rows


def move_records(storage: Storage, epoch: int, records: pa.Table) -> None:
    """Write records (schema RECORDS) into a new part, then remove their objects."""
    owner = pa.array(np.full(records.num_rows, epoch, np.int64))
    write_part(storage, epoch, [records.append_column("compacted_by", owner)])
    _remove_objects(storage, records)


def _remove_objects(storage: Storage, records: pa.Table) -> None:
    """And before them the marks of first attempts: who finds his own still there knows that no record was moved
    (`Ledger.commit`). Numbers go on from the record's, so none is used twice."""
    ids = records["id"].to_pylist()
    _delete(storage, [attempt_path(clip_id, 1) for clip_id in ids])
    _delete(storage, [record_path(*key) for key in zip(ids, records["generation"].to_pylist(), strict=True)])


def merge(storage: Storage, epoch: int, now: float | None = None) -> None:
    """Make one part of many small ones, and remove those that were replaced long ago. now: seconds since 1970."""
    parts = list_parts(storage)
    small = [part for part in live_parts(parts) if part.num_rows < FULL]
    if len(small) >= MERGE:
        groups = (group for part in small for group in row_groups(storage, part))
        write_part(storage, epoch, groups, replaces=[part.path for part in small])
    _remove_replaced(storage, parts, time.time() if now is None else now)


def _remove_replaced(storage: Storage, parts: list[Part], now: float) -> None:
    old = replaced_paths(part for part in parts if part.written < now - KEPT_S)
    _delete(storage, (part.path for part in parts if part.path in old))


def _delete(storage: Storage, paths: Iterable[str]) -> None:
    with ThreadPoolExecutor(_DELETERS) as pool:
        for _ in pool.map(storage.delete, paths):
            pass
