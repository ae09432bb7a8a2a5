"""What nobody finished: temporary files of a disk, and uploads to S3."""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass
from typing import Any

from cosmos_ray.store.faults import retrying


@dataclass(frozen=True)
class Removed:
    """size: in bytes, of all that was removed."""

    objects: int
    size: int


def abort_uploads(fs: Any, below: str, before: float = math.inf) -> Removed:
    """S3 keeps (and charges for) the parts of uploads that were neither completed nor aborted.

    before: seconds since 1970; those that were begun later stay.
    """
    bucket, _, prefix = below.removesuffix("any").partition("/")
    objects = size = 0
    marker: dict[str, str] = {}
    while True:
        page = retrying(
            functools.partial(fs.call_s3, "list_multipart_uploads", Bucket=bucket, Prefix=prefix, **marker),
            "listing unfinished uploads",
        )
        for upload in page.get("Uploads", ()):
            began = upload.get("Initiated")
            if before < math.inf and (began is None or began.timestamp() > before):
                continue
            which = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            parts = retrying(functools.partial(fs.call_s3, "list_parts", **which), "listing parts").get("Parts", ())
            retrying(functools.partial(fs.call_s3, "abort_multipart_upload", **which), "aborting an upload")
            size += sum(part["Size"] for part in parts)
            objects += 1
        if not page.get("IsTruncated"):
            return Removed(objects, size)
        marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def remove_temporary_files(root: str, prefix: str, before: float) -> Removed:
    """Files below `root` whose names begin so, last written until `before`, seconds since 1970."""
    objects = size = 0
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith(prefix) and os.path.getmtime(path) <= before:
                size += os.path.getsize(path)
                os.unlink(path)
                objects += 1
    return Removed(objects, size)
