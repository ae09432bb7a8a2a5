"""Objects of an output that nothing refers to any more, and files that are not what their records say.

An attempt that was cut off leaves files in a folder of its own; a clip that was made again leaves the old ones. Both
are removed when the clip is settled. What is left then (of drivers and nodes that died) is found by listing the output:
`cosmos-ray status OUTPUT --clean`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cosmos_ray.ledger.layout import ATTEMPTS, CLIPS, KEPT, PREVIEWS, REPRODUCED, STEPS, kept_path
from cosmos_ray.ledger.lease import check_epoch
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record, record_path, records_of
from cosmos_ray.ledger.rows import RecordReader, read_committed
from cosmos_ray.ledger.run import read_run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.store.storage import PROBES, Storage
from cosmos_ray.store.uploads import Removed

log = logging.getLogger(__name__)

_READERS = 16
_BATCH = 512


def files_of(record: Record) -> set[str]:
    """Paths that a record refers to."""
    return {entry.path for entry in (*record.files, *record.previews, *([record.sidecar] if record.sidecar else ()))}


def remove_other_attempts(storage: Storage, record: Record, epoch: int) -> None:
    """Of a clip just settled, what other attempts than the recorded one have left. Only its own folders are listed.

    Raises LeaseLost if the owner of `epoch` is no longer the owner: another's attempt may be the one that counts.
    """
    kept = files_of(record)
    try:
        check_epoch(storage, epoch)
        for path in _files_of_attempts(storage, record):
            if path not in kept:
                storage.delete(path)
    except OSError as error:
        log.warning("%s: files of other attempts are left: %s", record.id, error)


def _files_of_attempts(storage: Storage, record: Record) -> Iterator[str]:
    """Of all attempts at the clip, the recorded one's among them; who reads on may delete what it was given."""
    # Previews are stored with the rest of an attempt that is about to be committed: the first one has no rest.
    for folder in (CLIPS, PREVIEWS) if record.attempt > 1 else (CLIPS,):
        yield from list(storage.list(f"{folder}/{record.id}"))


def clean(storage: Storage) -> Removed:
    """Remove whatever no newest record refers to. Only for the owner of the output: others may be writing it.

    What waits on a node's disk for its store is none of it: whoever delivers it stores all of its files again.
    """
    state = Ledger(storage).state()
    objects = size = 0
    with ThreadPoolExecutor(_READERS) as pool:
        for removed in pool.map(lambda path: _remove(storage, path), _unreferenced(storage, state)):
            objects += 1
            size += removed
    if storage.local:
        storage.delete_folder(REPRODUCED)  # which is empty by now, but for its folders
    unfinished = storage.remove_unfinished()
    return Removed(objects + unfinished.objects, size + unfinished.size)


def _remove(storage: Storage, path: str) -> int:
    """Its size in bytes."""
    found = storage.stat(path)
    storage.delete(path)
    return found.size if found else 0


def _unreferenced(storage: Storage, state: LedgerState) -> Iterator[str]:
    newest = state.records
    clip_id = kept = ""
    for path in storage.list(CLIPS):
        if path.split("/")[1] != clip_id:  # listings are in order
            clip_id = path.split("/")[1]
            kept = _kept(storage, state, clip_id)
        if not kept or not path.startswith(kept):
            yield path
    for path in storage.list(PREVIEWS):
        _, clip_id, name = path.split("/")
        record = newest.get(clip_id)
        if record is None or not record.ok or name.split(".")[0] != str(record.attempt):
            yield path
    for path in storage.list(ATTEMPTS):
        if path.rsplit("/", 1)[1].rpartition(".")[0] in newest:
            yield path
    for path in storage.list(STEPS):
        if path.rsplit("/", 1)[1].rsplit(".", 2)[0] in newest:
            yield path
    copies = list(storage.list(KEPT))
    if copies and (run := read_run(storage)) is not None:
        yield from (path for path in copies if path != kept_path(run.manifest_sha256))
    yield from storage.list(PROBES)
    yield from storage.list(REPRODUCED)  # of a `reproduce` that was killed; one that runs fails, and can be run again


def _kept(storage: Storage, state: LedgerState, clip_id: str) -> str:
    """The folder of a clip that a record refers to, also one that was created since the ledger was read: by a gang of
    the owner before, which had looked at the lease in the moment before it was taken over."""
    newest = state.records.get(clip_id)
    attempt = newest.attempt if newest is not None and newest.ok else None
    if not state.is_settled(clip_id):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            since = Record.from_json(storage.read(record_path(clip_id, state.generation(clip_id))))
            attempt = since.attempt if since.status == "ok" else None
    return f"{CLIPS}/{clip_id}/{attempt}/" if attempt is not None else ""


def damaged(storage: Storage) -> Iterator[tuple[str, str]]:
    """(id, what is wrong) of every ok clip whose files are not what its record says. Reads all of them."""
    state = Ledger(storage).state()
    reader = RecordReader(storage, state)
    ok = np.flatnonzero(state.made_rows)
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(ok), _BATCH):
            records = records_of(reader.table(ok[start : start + _BATCH]))
            for record, fault in zip(records, pool.map(lambda one: _fault_of(storage, one), records), strict=True):
                if fault is not None:
                    yield record.id, fault


def _fault_of(storage: Storage, record: Record) -> str | None:
    for entry in (*record.files, *([record.sidecar] if record.sidecar else ())):
        try:
            read_committed(storage, entry)
        except ValueError as error:
            return str(error)
    return None
