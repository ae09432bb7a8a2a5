"""What the faults of a gang's ranks mean: the fault of a row, or the end of the gang."""

from __future__ import annotations

import socket
import tempfile

from cosmos_ray.errors import FailureClass, Fault, RowError, first_line
from cosmos_ray.store.faults import NO_ROOM


class GangBrokenError(Exception):
    """The ranks can no longer be trusted to be in step."""

    def __init__(self, failure_class: FailureClass, message: str) -> None:
        super().__init__(message)
        self.failure_class: FailureClass = failure_class

    def __reduce__(self) -> tuple[type[GangBrokenError], tuple[FailureClass, str]]:
        # The leader's reach the driver: what cannot be unpickled there has lost its reason.
        return type(self), (self.failure_class, str(self))


def verdict(method: str, faults: list[BaseException | None], ranks: int) -> BaseException:
    """What a call's faults mean: the row's own if every rank reports the same one, else the end of the gang."""
    first = next((fault for fault in faults if isinstance(fault, GangBrokenError)), faults[0])
    assert first is not None
    if isinstance(first, GangBrokenError):
        return first
    same = len(faults) == ranks and len({(type(fault), str(fault)) for fault in faults}) == 1
    if isinstance(first, RowError) and same:
        return first
    if method in ("check_captions", "embed", "publish", "refine") and not _is_out_of_memory(first):
        return first  # ranks do not meet there: nobody is out of step
    failure_class: FailureClass = "oom" if _is_out_of_memory(first) else "internal"
    if isinstance(first, RowError):
        failure_class = first.failure_class
    return GangBrokenError(failure_class, f"{method}: {type(first).__name__}: {first_line(first)}")


def storage_fault(error: OSError) -> Fault:
    """What a store or a disk has said; where there is no room, on which node: Python says neither that nor the disk."""
    said = f"{type(error).__name__}: {error}"
    if error.errno in NO_ROOM:
        said += (
            f"; a disk of this node ({socket.gethostname()}) is full: that of {tempfile.gettempdir()} (TMPDIR names "
            "another), of the caches (COSMOS_RAY_CACHE), or of an output that is a folder"
        )
    return Fault("storage", said)


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
