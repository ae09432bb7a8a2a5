"""Clips that failed, with their words: the first ones or all."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.ledger.record import Record
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.store.storage import Storage

_AT_ONCE = 1000


def failures(storage: Storage, state: LedgerState, at_most: int | None = None) -> Iterator[Record]:
    """The newest record of each clip that has failed, by name; the first `at_most`, if there are more."""
    failed = state.settled_table.filter(pc.not_equal(state.settled_table["status"], "ok"))["id"]
    ids = sorted(failed.to_pylist()) if at_most is None else first_by_name(failed, at_most)
    reader = RecordReader(storage, state)
    for start in range(0, len(ids), _AT_ONCE):
        yield from reader.newest(ids[start : start + _AT_ONCE])


def first_by_name(clip_ids: pa.ChunkedArray, count: int) -> list[str]:
    """The first ones, in their order."""
    if not len(clip_ids):  # not every pyarrow selects from a column of no chunks
        return []
    found: list[str] = clip_ids.take(pc.bottom_k_unstable(clip_ids, count)).to_pylist()
    return found


def in_words(record: Record) -> str:
    return f"failed ({record.failure_class}) {record.id}: {record.error}"


def first_lines(storage: Storage, state: LedgerState, failed: int, at_most: int) -> Iterator[str]:
    """The first ones of so many that failed, where the others are told, and what is to be done."""
    for record in failures(storage, state, at_most):
        yield f"  {in_words(record)}"
    if failed > at_most:
        yield f"  and {failed - at_most} more: `cosmos-ray status {shlex.quote(storage.uri)} --failed`"
    if failed:
        yield f"  {way_out(storage.uri)}"


def way_out(output: str) -> str:
    """What is to be done about clips that failed, as a shell takes it."""
    retry = f"cosmos-ray retry {shlex.quote(output)}"
    return f"`{retry}` has them made again by the next `generate`; --class or --id, some of them"
