"""What stores answer when something is wrong, as one vocabulary, and which of it is worth another try.

The libraries of object stores have errors of their own for the same things. Here they become Python's: PermissionError,
FileNotFoundError, or another OSError for what may pass (no connection, 429, 5xx). Nothing outside this module and
`storage` knows which library a fault came from.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from cosmos_ray.foreign import shown
from cosmos_ray.limits import TimeIsUp
from cosmos_ray.store import traffic

log = logging.getLogger(__name__)
T = TypeVar("T")


class BucketMissingError(OSError):
    """The whole bucket of an object is not there: the store's fault or the job's, not that of the row that names it."""


#: Where a person finds what each store reads from the environment.
STORE_VARIABLES = "docs/jobs.md has the variables that stores read"
#: None so long that, jitter included, a store's return would go unnoticed for two seconds.
_RETRY_DELAYS_S = (0.2, 0.6, 1.2, 1.2)
#: Where nobody answers, and the store's client has tried for so long itself (Google's: half a minute, Azure's: a
#: minute), it is tried once more, not four times.
_LONG_TRY_S = 25.0
#: Faults that another try cannot mend.
_FINAL = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    BucketMissingError,
    TimeIsUp,
)
_FINAL_ERRNO = frozenset({errno.EINVAL, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENAMETOOLONG, errno.EFBIG})
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_WAYS_OUT = {
    **dict.fromkeys(NO_ROOM, "make room there, or name another place"),
    errno.EROFS: "name another place",
    errno.ENOTDIR: "a part of this path is a file, expected a folder",
}
_OF_A_DISK = frozenset({errno.EFBIG, errno.EIO, errno.ESTALE})
#: Libraries of object stores: their own errors (no connection, no credentials) are not OSErrors.
_CLIENTS = frozenset(
    {
        "botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "requests", "adlfs", "azure",
        *("httpx", "httpx2", "httpcore", "urllib3", "huggingface_hub"),  # of bundles on the hub
    }
)  # fmt: skip
#: Time-out, a conflict with another writer of this moment, too many requests.
_PASSING_4XX = frozenset({408, 409, 429})
#: A client's own refusals: what was asked for cannot be asked of any store.
_UNASKABLE = frozenset({"ParamValidationError"})
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"})


def retrying(operation: Callable[[], T], what: str) -> T:
    """Run `operation`; repeat it after faults that pass (network, 5xx), with backoff and jitter: four times, once where
    nobody answered for long.

    Every fault of the store is an OSError to the caller, whatever the store's own library makes of it.
    """
    was_long = False
    for delay in _RETRY_DELAYS_S:
        began = monotonic()
        try:
            return with_os_errors(operation)
        except _FINAL:
            raise
        except OSError as error:
            if error.errno in _FINAL_ERRNO or was_long:
                raise
            was_long = _nobody_answers(error) and monotonic() - began >= _LONG_TRY_S
            log.warning("%s: %s; again in about %.1f s", shown(what), shown(error), delay)
            traffic.count(retries=1)
            time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
    return with_os_errors(operation)


def _nobody_answers(error: OSError) -> bool:
    """Of aiohttp's errors, those of no connection: what is cut off half way is none."""
    return isinstance(error, TimeoutError | ConnectionRefusedError) or type(error).__name__.startswith(
        "ClientConnector"
    )


def explain(error: BaseException) -> str:
    """One line that says what a store answered: some answers have no text but that of the error beneath."""
    said = f"{type(error).__name__}: {_first_line(error)}"
    beneath = _first_line(error.__cause__) if error.__cause__ is not None else ""
    return shown(said if beneath in said else f"{said} ({beneath})")


def explain_store(error: BaseException) -> str:
    """As `explain`, with the way out: room, where a disk is full; another place, where it is no folder or may not be
    written; where a store refused or was not reached, its variables."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _WAYS_OUT:
        return f"{explain(error)}; {_WAYS_OUT[number]}"
    missing = isinstance(error, FileNotFoundError | FileExistsError)
    # A disk's errors name the file, and those that do not are its own.
    of_a_store = isinstance(error, OSError) and error.filename is None and not missing and number not in _OF_A_DISK
    hint = f"; {STORE_VARIABLES}" if of_a_store or isinstance(error, ValueError) else ""
    return explain(error) + hint


def with_os_errors(operation: Callable[[], T]) -> T:
    """What it gives; whatever a store's library raises becomes an OSError."""
    try:
        return operation()
    except Exception as error:
        translated = _as_os_error(error)
        if translated is error:
            raise
        raise translated from error


def _as_os_error(error: Exception) -> Exception:
    """`error` itself if it says what it is, or is no store's."""
    if isinstance(error, OSError):
        if isinstance(error, TimeoutError) and not str(error):
            return TimeoutError("the store gave no answer in time")
        # gcsfs has no other name for a 403.
        forbidden = type(error) is OSError and error.errno is None and str(error).startswith("Forbidden: ")
        return PermissionError(_first_line(error)) if forbidden else error
    if type(error).__module__.partition(".")[0] not in _CLIENTS:
        return error
    name, status = type(error).__name__, _http_status(error)
    said = f"{name}: {_first_line(error)}"
    if name in _NO_CREDENTIALS or status in (401, 403):
        return PermissionError(said)
    if status == 404:
        return FileNotFoundError(said)
    if name in _UNASKABLE:
        return OSError(errno.EINVAL, " ".join(str(error).split()))
    if status is not None and 400 <= status < 500 and status not in _PASSING_4XX:
        return OSError(errno.EINVAL, said)
    return OSError(said)


def _http_status(error: Exception) -> int | None:
    """Azure's errors have `status_code`, gcsfs' `code` (a number or its digits), aiohttp's `status`."""
    for name in ("status_code", "code", "status"):
        value = getattr(error, name, None)
        if isinstance(value, int | str) and str(value).isdigit():
            return int(value)
    return None


def _first_line(error: BaseException) -> str:
    """Azure's messages go on with request ids and the answer's XML."""
    return str(error).strip().partition("\n")[0]
