"""What is done, and how it ended. A clip exists exactly when its commit record does.

    _cosmos_ray/ledger/<shard>/ID.<generation>.json   the commit record, created only if absent
    _cosmos_ray/ledger/*.parquet                      records that were moved together (parts.py)
    _cosmos_ray/attempts/ID.N                         written before attempt N starts
    _cosmos_ray/retries/<n>.json                      ids to be made again, each with its new generation

A row's state is its record of the highest generation. `retry` opens the next generation of failed rows.
"""

from __future__ import annotations

import itertools
import json
import logging
import operator
import re
from collections.abc import Collection, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.errors import FailureClass, UsageError
from cosmos_ray.foreign import shown
from cosmos_ray.ledger.layout import ATTEMPTS, LEDGER, RETRIES
from cosmos_ray.ledger.newer import names_in_object, refuse_newer
from cosmos_ray.ledger.parts import list_parts, live_parts, read_columns, row_groups
from cosmos_ray.ledger.record import NO_ROW, Record, is_row, record_path, records_of, table_of
from cosmos_ray.ledger.state import OUTCOMES, Contents, LedgerState, contents_of
from cosmos_ray.store.storage import Storage

log = logging.getLogger(__name__)

_READ_BATCH = 512
_OBJECT = re.compile(r".+\.\d+\.json")
#: Ids a retry file: it must stay small enough to be created in one request.
_RETRY_BATCH = 100_000
#: Parts are replaced no more than once in some minutes: who meets this many replacements in a row reads something else.
_TRIES = 5


class Ledger:
    """Commit records of one output."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def commit(self, record: Record, is_marked_late: bool = False) -> Record:
        """Make `record` the clip's outcome and return it; or, if the clip has one already, return that one.

        Once an outcome was moved into a part its path is free again. An attempt that was given up may get here then:
        it looks into the parts and takes its own record back. A first attempt whose mark is still there need not look:
        marks of first attempts are removed before records are, unless it was made only now (is_marked_late). Nor does
        a row's own fault, which needed no attempt.
        """
        path = record_path(record.id, record.generation)
        created = self.storage.write_if_absent(path, record.to_json())
        may_be_sure = record.attempt == 1 and not is_marked_late
        is_marked = may_be_sure and self.storage.exists(attempt_path(record.id, 1))
        if created and (is_marked or record.attempt == 0):
            return record
        moved = self._find_moved(record.id, record.generation)
        if created:
            if moved is not None:
                self.storage.delete(path)
            return moved or record
        held = moved or self.find(record.id, record.generation)
        if held is None:
            raise OSError(f"{path} was there and is gone: somebody has removed it")
        return held

    def find(self, clip_id: str, generation: int) -> Record | None:
        """One outcome; reads all parts' ids if it was moved. Raises UsageError for one that a newer release wrote."""
        moved = self._find_moved(clip_id, generation)
        if moved is not None:
            return moved
        path = record_path(clip_id, generation)
        try:
            data = self.storage.read(path)
        except FileNotFoundError:
            return self._find_moved(clip_id, generation)  # at this moment
        refuse_newer(self.storage.uri_of(path), names_in_object(path, data))
        return Record.from_json(data)

    def _find_moved(self, clip_id: str, generation: int) -> Record | None:
        for _ in range(_TRIES):
            try:
                return self._find_in_parts(clip_id, generation)
            except FileNotFoundError:
                continue
        raise OSError(f"the parts of {self.storage.uri_of(LEDGER)} change faster than they can be read")

    def _find_in_parts(self, clip_id: str, generation: int) -> Record | None:
        found: list[tuple[int, Record]] = []
        parts = live_parts(list_parts(self.storage))
        for part, keys in zip(parts, read_columns(self.storage, parts, ["id", "generation"]), strict=True):
            if not pc.any(_is_outcome(keys, clip_id, generation)).as_py():
                continue
            for group in row_groups(self.storage, part):
                hits = group.filter(_is_outcome(group, clip_id, generation))
                found += zip(hits["compacted_by"].to_pylist(), records_of(hits), strict=True)
        return max(found, key=lambda one: one[0])[1] if found else None

    def mark_attempt(self, clip_id: str, first: int, mark: str) -> int:
        """Number of the attempt that `mark` stands for: `first` or the next that is free. Asked again, the same.

        An attempt is marked before it starts, so that what it kills cannot uncount it. mark: which no other attempt
        has, so that no two share a number; it says whose attempt it is, to people who look into the file.
        """
        number = first
        while not self.storage.write_if_absent(attempt_path(clip_id, number), mark.encode()):
            number += 1
        return number

    def records(self) -> Iterator[Record]:
        """Every record that holds, all generations, in no order. Lists the ledger: not for a clip's path."""
        contents = self._contents()
        holds = np.zeros(contents.outcomes.num_rows, bool)
        holds[contents.valid] = True
        start = 0
        groups = itertools.chain.from_iterable(row_groups(self.storage, part) for part in contents.parts)
        for group in itertools.chain(groups, [contents.tail]):
            held = group.filter(pa.array(holds[start : start + group.num_rows]))
            start += group.num_rows
            for batch in held.to_batches(max_chunksize=_READ_BATCH):
                yield from records_of(batch)

    def _contents(self) -> Contents:
        """Objects first, then parts: a record that moves meanwhile is seen at one of its places."""
        found = dict(self._objects())
        damaged = [_outcome_of(path) for path, record in found.items() if record is None]
        tail = table_of(record for record in found.values() if record is not None)
        for _ in range(_TRIES):
            try:
                parts = live_parts(list_parts(self.storage))
                columns = read_columns(self.storage, parts, OUTCOMES.names)
            except FileNotFoundError:  # replaced and removed since they were listed
                continue
            return contents_of(parts, columns, tail, damaged)
        raise OSError(f"the parts of {self.storage.uri_of(LEDGER)} change faster than they can be read")

    def _objects(self) -> Iterator[tuple[str, Record | None]]:
        """(path, record), None for one that is damaged. That takes somebody else: records are created whole.

        Raises UsageError for one that a newer release wrote.
        """
        paths = (path for path in self.storage.list(LEDGER) if _OBJECT.fullmatch(path))
        while batch := list(itertools.islice(paths, _READ_BATCH)):
            read = self.storage.read_many(batch)
            for path, data in read.items():
                refuse_newer(self.storage.uri_of(path), names_in_object(path, data))
            found = {path: _record_in(path, data) for path, data in read.items()}
            try:
                table_of(record for record in found.values() if record is not None)
            except NO_ROW:
                found = {path: record if record and is_row(record) else None for path, record in found.items()}
            for path, record in found.items():
                if record is None:
                    log.warning("%s is no commit record: its clip is made again", shown(path))
                yield path, record

    def state(self) -> LedgerState:
        """How each clip ended, as of now."""
        contents = self._contents()
        reopened: dict[str, int] = {}
        for clip_id, generation in contents.damaged:
            reopened[clip_id] = max(generation + 1, reopened.get(clip_id, 0))
        retries = self.storage.read_many(self.storage.list(RETRIES))
        for path, data in retries.items():
            for clip_id, generation in self._generations(path, data):
                reopened[clip_id] = max(generation, reopened.get(clip_id, 0))
        return LedgerState(contents, reopened)

    def _generations(self, path: str, data: bytes) -> Iterator[tuple[str, int]]:
        """Raises UsageError for a file that is not ours: nobody knows what was to be made again."""
        try:
            for clip_id, generation in json.loads(data)["generations"].items():
                yield clip_id, operator.index(generation)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UsageError(
                f"{self.storage.uri_of(path)} does not say which clips were to be made again: remove it, and have them "
                "made again by `cosmos-ray retry`"
            ) from None

    def retry(self, classes: Collection[FailureClass] | None = None) -> list[str]:
        """Open a new generation of every failed clip (of these classes); their ids."""
        settled = self.state().settled_table
        failed = settled.filter(pc.not_equal(settled["status"], "ok"))
        if classes:
            failed = failed.filter(pc.is_in(failed["class"], pa.array(list(classes), pa.string())))
        ids = failed["id"].to_pylist()
        generations = dict(zip(ids, pc.add(failed["generation"], 1).to_pylist(), strict=True))
        if generations:
            self._reopen(generations)
        return sorted(generations)

    def redo(self, clip_ids: Collection[str]) -> None:
        """Open a new generation of these settled clips, whatever their outcome was."""
        if not clip_ids:
            return
        state = self.state()
        self._reopen({clip_id: state.records[clip_id].generation + 1 for clip_id in clip_ids})

    def _reopen(self, generations: dict[str, int]) -> None:
        number = sum(1 for _ in self.storage.list(RETRIES))
        ids = iter(sorted(generations))
        while batch := list(itertools.islice(ids, _RETRY_BATCH)):
            data = json.dumps({"generations": {clip_id: generations[clip_id] for clip_id in batch}}).encode()
            # Another retry may write at this moment: take the next free number. An equal one needs no second copy.
            while not self.storage.write_if_absent(f"{RETRIES}/{number:06d}.json", data):
                number += 1


def _record_in(path: str, data: bytes) -> Record | None:
    """None for one that is damaged, or of another clip than its name says."""
    try:
        record = Record.from_json(data)
        return record if record_path(record.id, record.generation) == path else None
    except (*NO_ROW, RecursionError):
        return None


def _outcome_of(path: str) -> tuple[str, int]:
    clip_id, _, generation = path.rsplit("/", 1)[1].removesuffix(".json").rpartition(".")
    return clip_id, int(generation)


def attempt_path(clip_id: str, number: int) -> str:
    """The mark of an attempt."""
    return f"{ATTEMPTS}/{clip_id}.{number}"


def _is_outcome(table: pa.Table, clip_id: str, generation: int) -> pa.ChunkedArray:
    return pc.and_(pc.equal(table["id"], clip_id), pc.equal(table["generation"], generation))
