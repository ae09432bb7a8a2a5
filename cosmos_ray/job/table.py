"""A manifest that is a table of the caller's: kept in the output as Parquet, so that any later job finds it there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cosmos_ray.job.say import Say
from cosmos_ray.ledger.layout import TABLE
from cosmos_ray.ledger.lease import LeaseTimes, check_no_living_owner
from cosmos_ray.manifest.builders.frame import source_of_frame
from cosmos_ray.manifest.builders.notes import Notes
from cosmos_ray.manifest.builders.rig import rig_of
from cosmos_ray.manifest.builders.table import manifest_of
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri


def keep(table: Any, storage: Storage, times: LeaseTimes, say: Say) -> str:
    """URI of the manifest that a pandas DataFrame makes, written to `storage` unless it is there already.

    Relative paths in it start from the current folder. times: of an owner's life: another job that is at
    work reads the manifest that is there. say: hears what is doubtful in the table, as of any other one.
    Raises ManifestError, LeaseHeld.
    """
    if table.index.name == "id" and "id" not in table.columns:
        table = table.reset_index()
    with scratch() as folder:
        built, notes = Path(folder, "manifest.parquet"), Notes()
        done = manifest_of(source_of_frame(table, notes), str(built), rig_of(), notes, normalise_uri(os.getcwd()))
        data = built.read_bytes()
    for words in done.warnings:
        say(f"warning: {words}")
    if storage.exists(TABLE) and storage.read(TABLE) == data:
        return storage.uri_of(TABLE)
    # Its beats are watched: their age is by the clock of its machine, which may be another's.
    check_no_living_owner(storage, times, say)
    storage.write(TABLE, data)
    return storage.uri_of(TABLE)
