"""A manifest that is a table of the caller's: kept in the output as Parquet, so that any later job finds it there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from cosmos_ray.errors import LeaseHeld, ManifestError
from cosmos_ray.ledger.layout import TABLE
from cosmos_ray.ledger.lease import read_owner
from cosmos_ray.manifest.builders.table import from_table
from cosmos_ray.store.storage import Storage


def keep(table: Any, storage: Storage, life_s: float) -> str:
    """URI of the manifest that a pandas DataFrame makes, written to `storage` unless it is there already.

    Relative paths in it start from the current folder. life_s: how long a silent owner counts as alive: another job
    that is at work reads the manifest that is there. Raises ManifestError, LeaseHeld.
    """
    if table.index.name == "id" and "id" not in table.columns:
        table = table.reset_index()
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
        given, built = Path(folder, "table.parquet"), Path(folder, "manifest.parquet")
        try:
            table.to_parquet(given, index=False)
        except Exception as error:  # of pandas or its engine, whatever a cell may hold
            raise ManifestError(f"the DataFrame cannot be written as Parquet: {error}") from error
        from_table(str(given), str(built), base=os.getcwd())
        data = built.read_bytes()
    if storage.exists(TABLE) and storage.read(TABLE) == data:
        return storage.uri_of(TABLE)
    owner = read_owner(storage)
    if owner is not None and not owner.released and owner.age_s < life_s:
        raise LeaseHeld(f"{storage.uri} is owned by a living job ({owner.name}), which reads another table")
    storage.write(TABLE, data)
    return storage.uri_of(TABLE)
