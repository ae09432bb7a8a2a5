"""What a store is told of an object, so that a browser shows it: a page without a type is saved to the disk instead."""

from __future__ import annotations

import posixpath
from typing import Any

#: Of all files that a page, or whoever opens a clip, is led to.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".mp4": "video/mp4",
}


def typed(scheme: str, path: str) -> dict[str, Any]:
    """Keywords for the `pipe_file` and `put_file` of the scheme's library; {} for other files, and on a disk."""
    kind = _TYPES.get(posixpath.splitext(path)[1])
    if kind is None or scheme == "file":
        return {}
    if scheme in ("s3", "s3a"):
        return {"ContentType": kind}
    if scheme in ("gs", "gcs"):
        return {"content_type": kind}
    from azure.storage.blob import ContentSettings

    return {"content_settings": ContentSettings(content_type=kind)}
