"""Are the folders that this node would write to, and read from, those of the driver?

A store is one for all. A folder is not, where a node has not mounted it: its clips would be committed on that node's
own disk, where neither the driver nor the next run finds them, and none of its inputs would be there.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

from cosmos_ray.gang.verdict import GangBrokenError
from cosmos_ray.ledger.lease import is_seen
from cosmos_ray.store.storage import Storage

#: Network file systems remember for up to so long that a file was not there.
_PATIENCE_S = 60.0


def await_output(storage: Storage, epoch: int) -> None:
    """Returns once the job's lease, of that epoch, is seen here. Raises GangBrokenError if it is not, in a minute."""
    deadline = time.monotonic() + _PATIENCE_S
    while storage.local and not is_seen(storage, epoch):
        if time.monotonic() >= deadline:
            raise GangBrokenError(
                "storage",
                f"the output {storage.uri} is another folder on this node ({socket.gethostname()}): found no lease of "
                f"run {epoch}, expected the one that the driver has written. Mount the same folder on every node at "
                "that path, or use a store",
            )
        time.sleep(1.0)


def check_home(folder: str) -> None:
    """folder: of the manifest, where clips that are left read files below it; "" where none does. Raises
    GangBrokenError if nothing of it is here: said once a gang, before it loads, and not of clip after clip."""
    if folder and is_missing(Path(folder)):
        raise home_is_missing(Path(folder))


def is_missing(folder: Path) -> bool:
    """Where a mount is missing, nothing is in its place; of a manifest that was removed meanwhile, other files are
    left."""
    return not folder.is_dir() or next(folder.iterdir(), None) is None


def home_is_missing(folder: Path) -> GangBrokenError:
    return GangBrokenError(
        "storage",
        f"this node ({socket.gethostname()}) lacks the folder of the manifest, {folder}: mount it there, as it is on "
        "the driver's machine, or use a store",
    )
