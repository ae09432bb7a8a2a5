"""Places: which one a URI is, however it is written, and which do not last.

Whoever compares URIs of users, or folders with what lies in them, compares their places.
"""

from __future__ import annotations

import os
import re

from cosmos_ray.errors import UsageError
from cosmos_ray.store.accounts import AZURE, are_of_one_account, in_one_form, is_whole_account
from cosmos_ray.store.uris import normalise_uri, scheme_of

#: Schemes that are another one by another name.
_SAME = {"s3a": "s3", "gcs": "gs"}

#: Where Ray unpacks what is submitted with a job, on each node, below its own temporary folder.
_UNPACKED = re.compile(r"/runtime_resources/(?:working_dir_files|py_modules_files)(?:/|$)")


def place_of(uri: str) -> str:
    """The same text for all URIs of one place, itself one of them: links of a disk are followed, a store has one
    scheme, and of Azure's accounts the environment's is not named. Raises UsageError as `normalise_uri` does."""
    uri, scheme = normalise_uri(uri), scheme_of(uri)
    if scheme == "file":
        return os.path.realpath(uri)
    if scheme in AZURE:
        return in_one_form(uri)
    return f"{service_of(uri)}://{uri.partition('://')[2]}"


def service_of(uri: str) -> str:
    """Of whose buckets it names one: `s3`, `gs` or `az`; `file` for a disk."""
    scheme = scheme_of(uri)
    return "az" if scheme in AZURE else _SAME.get(scheme, scheme)


def is_within(uri: str, folder: str) -> bool:
    """Whether it is the folder itself, or lies in it. folder: of Azure's, also a whole account."""
    if is_whole_account(folder):
        return are_of_one_account(uri, folder)
    place, home = place_of(uri), place_of(folder)
    return place == home or place.startswith(home.rstrip("/") + "/")


def check_lasts(uri: str, what: str) -> None:
    """Raises UsageError for a place in a job's unpacked working directory, where relative paths of submitted jobs end
    up: Ray removes it with the job, and no other node sees it. uri: as `normalise_uri` gives it. what: as `the output`.
    """
    if uri.startswith("/") and _UNPACKED.search(os.path.realpath(uri)):
        raise UsageError(
            f"{what} {uri} would lie in the copy of the working directory that Ray has unpacked for this job, and be "
            "removed with it: give the URI of an object store, or the absolute path of a disk that all nodes share"
        )


def check_file_to_write(uri: str, what: str) -> None:
    """Raises UsageError for a local path that is there and no file: it would be replaced, a device for everybody.

    uri: as `normalise_uri` gives it. what: as `the manifest`.
    """
    if scheme_of(uri) == "file" and os.path.exists(uri) and not os.path.isfile(uri):
        kind = "folder" if os.path.isdir(uri) else "pipe, a device or a socket"
        raise UsageError(f"{what} {uri} is a {kind}, expected the path of a file to write")
