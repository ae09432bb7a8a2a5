"""Is the output that this node would write to the one that the driver reads?

A store is one for all. A folder is not, where a node has not mounted it: its clips would be committed on that node's
own disk, where neither the driver nor the next run finds them.
"""

from __future__ import annotations

import socket
import time

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
