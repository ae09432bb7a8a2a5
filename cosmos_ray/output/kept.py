"""The manifest's rows, kept in the output: what an output is needs nothing that lies elsewhere.

A copy is named by the manifest's hash and never changes. It is written before `run.json` names that hash, so a run that
is known has its copy; outputs of 0.1.0 have none until a job or a report finds their manifest. Secrets in references,
for which a job refuses their rows, are not in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.layout import KEPT, kept_path
from cosmos_ray.ledger.run import Run, open_run, read_run
from cosmos_ray.manifest.files import Manifest, open_manifest, version_of
from cosmos_ray.output.references import without_secrets
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage

#: `gone`: not there, or not to be read from here.
Now = Literal["as it was", "changed", "gone"]


def keep(storage: Storage, manifest: Manifest, run: Run) -> None:
    """Copy the rows of all files of the run's manifest, unless they are there already, and whole."""
    path = kept_path(run.manifest_sha256)
    if storage.exists(path) and _is_whole(storage, path):
        return
    with scratch() as folder:
        copy = Path(folder, "kept.parquet")
        with pq.ParquetWriter(copy, manifest.schema, compression="zstd") as writer:
            for _, batch in manifest.batches():
                writer.write_batch(without_secrets(batch))
        storage.write_file(path, copy)


def _is_whole(storage: Storage, path: str) -> bool:
    """Of an output that was copied half, its end is missing, without which nothing of it can be read."""
    try:
        open_manifest(storage.uri_of(path))
    except UsageError:
        return False
    return True


def kept(storage: Storage, run: Run) -> Manifest | None:
    """The manifest's rows, with its own columns; None in an output of a release that kept none.

    Relative references in them start from where the manifest was, not from here.
    """
    path = kept_path(run.manifest_sha256)
    return open_manifest(storage.uri_of(path)) if storage.exists(path) else None


def take_up(storage: Storage, manifest: Manifest, run: Run) -> None:
    """Make `run` what the output says of itself, with the rows of its manifest. Only for the owner of the output.

    Of what the manifest was before, only the last copy stays: somebody may be reading it. Raises UsageError for a run
    that may not go on with this output.
    """
    known = read_run(storage)
    keep(storage, manifest, run)
    open_run(storage, run)
    used = {kept_path(one.manifest_sha256) for one in (run, known) if one is not None}
    for path in list(storage.list(KEPT)):
        if path not in used:
            storage.delete(path)


def manifest_now(run: Run, uri: str) -> Now:
    """How the manifest at `uri` is, beside the one that the last job read. Read only if it was written since."""
    try:
        if (version := version_of(uri)) and version == run.manifest_version:
            return "as it was"
        return "as it was" if open_manifest(uri).sha256() == run.manifest_sha256 else "changed"
    except (OSError, UsageError):
        return "gone"
