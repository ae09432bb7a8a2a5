"""What is done, and how it ended. A clip exists exactly when its commit record does.

    _cosmos_ray/ledger/<shard>/ID.<generation>.json   the commit record, created only if absent
    _cosmos_ray/attempts/ID.N                         written before attempt N starts
    _cosmos_ray/retries/<n>.json                      ids made eligible again, each with its new generation

A row's state is its record of the highest generation. `retry` opens the next generation of failed rows.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import uuid
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from cosmos_ray.errors import FailureClass
from cosmos_ray.storage import Storage

log = logging.getLogger(__name__)

LEDGER = "_cosmos_ray/ledger"
ATTEMPTS = "_cosmos_ray/attempts"
RETRIES = "_cosmos_ray/retries"
_READ_BATCH = 512
#: Ids a retry file: it must stay small enough to be created in one request.
_RETRY_BATCH = 100_000


@dataclass(frozen=True)
class FileEntry:
    """One file of a clip; `path` relative to the output, `sha256` of its bytes."""

    view: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """How one clip ended. row_hash: of what the manifest's row says; request_hash: with the inputs' versions too."""

    id: str
    generation: int
    status: Literal["ok", "failed"]
    failure_class: FailureClass | None
    attempt: int
    error: str | None
    row_hash: str
    epoch: int
    request_hash: str | None = None
    gang: str | None = None
    node: str | None = None
    started: str | None = None
    finished: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()
    sidecar: FileEntry | None = None

    def to_json(self) -> bytes:
        fields = asdict(self)
        fields["class"] = fields.pop("failure_class")
        return json.dumps(fields, sort_keys=True).encode()

    @staticmethod
    def from_json(data: bytes) -> Record:
        fields: dict[str, Any] = json.loads(data)
        fields["failure_class"] = fields.pop("class")
        fields["files"] = tuple(FileEntry(**entry) for entry in fields["files"])
        fields["sidecar"] = FileEntry(**fields["sidecar"]) if fields["sidecar"] else None
        return Record(**fields)


def record_path(clip_id: str, generation: int) -> str:
    """256 shards keep any one folder small."""
    shard = hashlib.sha256(clip_id.encode()).hexdigest()[:2]
    return f"{LEDGER}/{shard}/{clip_id}.{generation}.json"


class Settled(NamedTuple):
    """What is kept in memory of a record: a few words a clip, however many files it has. finished: ISO 8601, UTC."""

    generation: int
    ok: bool
    failure_class: FailureClass | None
    attempt: int
    row_hash: str
    finished: str


@dataclass(frozen=True)
class LedgerState:
    """The ledger as read at one moment: how each clip ended last, and the generations that `retry` opened."""

    records: dict[str, Settled]
    reopened: dict[str, int]

    def is_settled(self, clip_id: str) -> bool:
        record = self.records.get(clip_id)
        return record is not None and self.reopened.get(clip_id, 0) <= record.generation

    def settled(self) -> Iterator[tuple[str, Settled]]:
        """Every clip that needs nothing more, in no order."""
        return ((clip_id, record) for clip_id, record in self.records.items() if self.is_settled(clip_id))

    def generation(self, clip_id: str) -> int:
        """The generation that the clip's next attempt belongs to."""
        return self.reopened.get(clip_id, 0)

    def past_attempts(self, clip_id: str) -> int:
        """The last attempt number of earlier generations."""
        record = self.records.get(clip_id)
        return record.attempt if record else 0


class Ledger:
    """Commit records of one output."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def commit(self, record: Record) -> Record:
        """Make `record` the clip's outcome and return it; or, if the clip has one already, return that one."""
        path = record_path(record.id, record.generation)
        if self.storage.write_if_absent(path, record.to_json()):
            return record
        return Record.from_json(self.storage.read(path))

    def find(self, clip_id: str, generation: int) -> Record | None:
        try:
            return Record.from_json(self.storage.read(record_path(clip_id, generation)))
        except FileNotFoundError:
            return None

    def begin_attempt(self, clip_id: str, past: int, owner: str) -> int:
        """Number of the attempt that may start now, marked before it starts so that what it kills cannot uncount it.

        past: an attempt number known to be used up. owner: whose attempt it is, for people who look into the file.
        No two calls share a number.
        """
        number = past + 1
        mark = f"{owner}/{uuid.uuid4().hex}".encode()  # equal contents would count as one creator's
        while not self.storage.write_if_absent(f"{ATTEMPTS}/{clip_id}.{number}", mark):
            number += 1
        return number

    def records(self) -> Iterator[Record]:
        """Every record there is, all generations, in no order. Lists the ledger: not for a clip's path."""
        return (record for _, record in self._entries() if record is not None)

    def _entries(self) -> Iterator[tuple[str, Record | None]]:
        """(path, record), None for one that is damaged. That takes somebody else: records are created whole."""
        paths = (path for path in self.storage.list(LEDGER) if path.endswith(".json"))
        while batch := list(itertools.islice(paths, _READ_BATCH)):
            for path, data in self.storage.read_many(batch).items():
                try:
                    yield path, Record.from_json(data)
                except (ValueError, KeyError, TypeError) as error:
                    log.warning("%s is no commit record (%s): its clip is made again", path, error)
                    yield path, None

    def state(self) -> LedgerState:
        newest: dict[str, Settled] = {}
        reopened: dict[str, int] = {}
        for path, record in self._entries():
            if record is None:
                clip_id, _, generation = path.rsplit("/", 1)[1].removesuffix(".json").rpartition(".")
                reopened[clip_id] = max(int(generation) + 1, reopened.get(clip_id, 0))
                continue
            known = newest.get(record.id)
            if known is None or record.generation > known.generation:
                newest[record.id] = Settled(
                    record.generation,
                    record.status == "ok",
                    record.failure_class,
                    record.attempt,
                    record.row_hash,
                    record.finished or "",
                )
        retries = self.storage.read_many(self.storage.list(RETRIES))
        for data in retries.values():
            for clip_id, generation in json.loads(data)["generations"].items():
                reopened[clip_id] = max(generation, reopened.get(clip_id, 0))
        return LedgerState(newest, reopened)

    def retry(self, classes: Collection[FailureClass] | None = None) -> list[str]:
        """Open a new generation of every failed clip (of these classes); their ids."""
        state = self.state()
        generations = {
            clip_id: record.generation + 1
            for clip_id, record in state.settled()
            if not record.ok and (not classes or record.failure_class in classes)
        }
        if generations:
            self._reopen(generations)
        return sorted(generations)

    def redo(self, clip_ids: Collection[str]) -> None:
        """Open a new generation of these settled clips, whatever their outcome was."""
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
