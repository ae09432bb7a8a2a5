"""Is only an object missing, or the whole bucket?"""

from __future__ import annotations

import errno
from typing import Any

from cosmos_ray.store.faults import BucketMissingError, with_os_errors
from cosmos_ray.store.places import service_of


def check_bucket(fs: Any, path: str, uri: str) -> None:
    """Raises BucketMissingError if a store says that it has no such bucket; OSError if it says nothing now.

    path: of the object that is missing, as `fs` has it. uri: the same, for the message.
    """
    service, bucket = service_of(uri), path.strip("/").partition("/")[0]
    if service != "file" and not (_is_there_on_s3(fs, bucket) if service == "s3" else fs.exists(bucket)):
        raise BucketMissingError(f"the bucket {bucket!r} of {uri} is not there")


def _is_there_on_s3(fs: Any, bucket: str) -> bool:
    """s3fs itself takes every fault for a no, also a store's that went out just now."""
    try:
        with_os_errors(lambda: fs.call_s3("head_bucket", Bucket=bucket))
    except FileNotFoundError:
        return False
    except OSError as error:
        if not isinstance(error, PermissionError) and error.errno != errno.EINVAL:
            raise
    return True
