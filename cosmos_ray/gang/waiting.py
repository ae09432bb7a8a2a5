"""Clips that are made and wait on their node's disk until the store has them. No Ray.

    <cache>/waiting/<output>/<id>.<generation>.<attempt>/<view>.mp4    as they will be stored, and the previews
    .../clip.json                                                      what becomes the sidecar and the record

What was denoised is not denoised again while its node lives: publishing is tried again, not the clip. Whoever gets the
clip next on this node (another gang, the next driver's) finds it there, and publishes it under its own lease, as the
attempt that made it. The ledger stays the judge: a record is created only if there is none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import posixpath
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_ray.clip.request import file_of
from cosmos_ray.gang.commit import attempt_folder, commit_made
from cosmos_ray.gang.previews import preview_path
from cosmos_ray.ledger.lease import check_epoch
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.cache import cache_folder, short_key
from cosmos_ray.store.places import place_of
from cosmos_ray.store.probe import await_answer
from cosmos_ray.store.storage import Storage

log = logging.getLogger(__name__)

#: Between two tries of what its store did not take, though it answers.
AGAIN_S = 0.5
_WRITERS = 8
_FACTS = "clip.json"
_STALE_S = 7 * 86400.0


@dataclass(frozen=True)
class Waiting:
    """A clip that is made: its videos in `folder`, what becomes its sidecar, and its record but for what comes last.

    model: fingerprint of what made and checked it. mark: of its attempt, where that has still to be marked; else "".
    """

    folder: Path
    sidecar: dict[str, Any]
    record: Record
    model: str
    mark: str = ""


class WaitingRoom:
    """Of one output on this node."""

    def __init__(self, output: str) -> None:
        self._folder = cache_folder(f"waiting/{short_key(place_of(output))}")

    def place(self, clip: Clip, attempt: int) -> Path:
        """An empty folder for one attempt's videos."""
        folder = self._folder / f"{clip.id}.{clip.generation}.{attempt}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def keep(self, waiting: Waiting) -> None:
        """From now on others find it: its files are whole."""
        facts = {
            "record": waiting.record.to_json().decode(),
            "sidecar": waiting.sidecar,
            "model": waiting.model,
            "mark": waiting.mark,
        }
        beside = waiting.folder / f"{_FACTS}.part"
        beside.write_text(json.dumps(facts))
        os.replace(beside, waiting.folder / _FACTS)

    def find(self, clip: Clip, model: str) -> Waiting | None:
        """What an earlier attempt has left of this clip, as it would be made now. Others of it are removed."""
        found: Waiting | None = None
        for folder in sorted(self._folder.glob(f"{clip.id}.*.*")):
            if folder.name.rsplit(".", 2)[0] != clip.id:
                continue
            waiting = _read(folder)
            is_asked_for = waiting is not None and (
                waiting.record.id,
                waiting.record.generation,
                waiting.record.row_hash,
                waiting.model,
            ) == (clip.id, clip.generation, clip.row_hash, model)
            if is_asked_for and _is_whole(waiting):
                found = waiting
            else:
                forget(folder)
        return found

    def sweep(self) -> None:
        """Remove what nobody has asked for in a week: its gang broke, and the clip was made elsewhere."""
        for folder in self._folder.iterdir():
            try:
                if time.time() - folder.stat().st_mtime > _STALE_S:
                    forget(folder)
            except OSError as error:
                log.warning("%s: %s", folder, error)


def forget(folder: Path) -> None:
    """A clip that is stored, or that nobody wants."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> Waiting | None:
    try:
        facts = json.loads((folder / _FACTS).read_text())
        record = Record.from_json(facts["record"])
        return Waiting(folder, facts["sidecar"], record, facts["model"], facts.get("mark", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_whole(waiting: Waiting | None) -> bool:
    """The machine may have stopped before its disk had all."""
    try:
        return waiting is not None and all(
            hashlib.sha256(_local(waiting.folder, one).read_bytes()).hexdigest() == one.sha256
            for one in _files(waiting.record)
        )
    except OSError:
        return False


def deliver(storage: Storage, waiting: Waiting, epoch: int, patience_s: float, is_new: bool = False) -> Record:
    """Store its files and commit it under the lease `epoch`, again and again while the store is out; its record.

    is_new: nobody has tried that yet. Of a try that failed nobody knows how far it came: a clip that has its record by
    now has its files too, and its sidecar as the record says, so nothing is stored again.

    Raises OSError when it has failed for `patience_s`, LeaseLost.
    """
    out_since, stored = 0.0, set[str]()
    while True:
        try:
            held = None if is_new else Ledger(storage).find(waiting.record.id, waiting.record.generation)
            return held or _deliver(storage, waiting, epoch, stored)
        except OSError as error:
            is_new = False
            out_since = out_since or time.monotonic()
            if time.monotonic() - out_since >= patience_s:
                raise
            log.warning("%s waits on this node's disk: %s", waiting.record.id, error)
        time.sleep(AGAIN_S)
        await_answer(storage.answers, out_since + patience_s - time.monotonic())


def _deliver(storage: Storage, waiting: Waiting, epoch: int, stored: set[str]) -> Record:
    """stored: paths that an earlier try has stored; those of this one are added."""
    began = time.monotonic()
    if waiting.mark:
        waiting = _marked(storage, waiting, epoch)
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(lambda one: _store(storage, waiting.folder, one, stored), _files(waiting.record)))
    seconds = {**waiting.record.seconds, "put": round(time.monotonic() - began, 6)}
    sidecar = {**waiting.sidecar, "seconds": seconds}
    record = dataclasses.replace(waiting.record, seconds=seconds, epoch=epoch)
    return commit_made(storage, record, sidecar, is_marked_late=bool(waiting.mark))


def _store(storage: Storage, folder: Path, entry: FileEntry, stored: set[str]) -> None:
    """Once, however often the clip is tried, unless somebody has taken it away meanwhile."""
    if entry.path in stored and (found := storage.stat(entry.path)) is not None and found.size == entry.size:
        return
    storage.write(entry.path, _read_local(folder, entry))
    stored.add(entry.path)


def _marked(storage: Storage, waiting: Waiting, epoch: int) -> Waiting:
    """Its attempt, which began while no mark could be made, marked now; under another number if another attempt has
    that one, so that neither writes over the other's files. Raises LeaseLost."""
    check_epoch(storage, epoch)
    record = waiting.record
    number = Ledger(storage).mark_attempt(record.id, record.attempt, waiting.mark)
    if number == record.attempt:
        return waiting
    folder = attempt_folder(record.id, number)
    files = tuple(dataclasses.replace(one, path=f"{folder}/{file_of(one.view)}") for one in record.files)
    previews = tuple(dataclasses.replace(one, path=preview_path(record.id, number, one)) for one in record.previews)
    sidecar = {**waiting.sidecar, "attempt": number, "files": [dataclasses.asdict(one) for one in files]}
    record = dataclasses.replace(record, attempt=number, files=files, previews=previews)
    return dataclasses.replace(waiting, sidecar=sidecar, record=record)


def _files(record: Record) -> tuple[FileEntry, ...]:
    return (*record.files, *record.previews)


def _local(folder: Path, entry: FileEntry) -> Path:
    """Where it lies until it is stored."""
    return folder / f"{entry.view}{posixpath.splitext(entry.path)[1]}"


def _read_local(folder: Path, entry: FileEntry) -> bytes:
    try:
        return _local(folder, entry).read_bytes()
    except OSError as error:  # no fault of the store
        raise RuntimeError(f"a video that waited on the node's disk cannot be read: {error}") from error
