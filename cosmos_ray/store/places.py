"""Places that do not last: nothing that a job makes may lie where it goes with the job."""

from __future__ import annotations

import os
import re

from cosmos_ray.errors import UsageError

#: Where Ray unpacks what is submitted with a job, on each node, below its own temporary folder.
_UNPACKED = re.compile(r"/runtime_resources/(?:working_dir_files|py_modules_files)(?:/|$)")


def check_lasts(uri: str, what: str) -> None:
    """Raises UsageError for a place in a job's unpacked working directory, where relative paths of submitted jobs end
    up: Ray removes it with the job, and no other node sees it. uri: as `normalise_uri` gives it. what: as `the output`.
    """
    if uri.startswith("/") and _UNPACKED.search(os.path.realpath(uri)):
        raise UsageError(
            f"{what} {uri} would lie in the copy of the working directory that Ray has unpacked for this job, and be "
            "removed with it: give the URI of an object store, or the absolute path of a disk that all nodes share"
        )
