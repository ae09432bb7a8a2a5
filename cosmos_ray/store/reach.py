"""Where the inputs of rows may lie. Rows are written by strangers: what they name is looked at before it is opened.

Of local files: regular ones, no part of the system's own (/proc, /sys, /dev), and if they are named below the
manifest's folder, no way out of it through symbolic links. Of stores: no account that is not the job's own. `allow`
names further places, and then nothing else may be read.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from cosmos_ray.foreign import shown_uri
from cosmos_ray.store.accounts import foreign_account, wrong_form
from cosmos_ray.store.places import is_within
from cosmos_ray.store.uris import SCHEMES, normalise_uri, scheme_of

_SYSTEM = ("/proc", "/sys", "/dev")
_MEMORY_DISK = "/dev/shm"  # noqa: S108 - a disk like any other


@dataclass(frozen=True)
class Reach:
    """home: URI of the manifest's folder, "" if there is none. allow: places (files, folders, buckets, accounts) that
    rows may name besides; None: every place that the job can read, but none behind a link that leads out of `home`."""

    home: str = ""
    allow: tuple[str, ...] | None = None

    def check(self, uri: str) -> str:
        """What is to be opened for `uri`, a local path without links. Raises PlaceError for what must not be opened,
        OSError for a local file that is not there."""
        if scheme_of(uri) not in SCHEMES:
            raise PlaceError(f"a scheme of {', '.join(sorted(SCHEMES))}")
        if scheme_of(uri) == "file":
            return self._local(uri)
        if wrong := wrong_form(uri):
            raise PlaceError(f"a URI that may be read, not {wrong}")
        account = foreign_account(uri, [self.home, *(self.allow or ())])
        if account is not None:
            raise PlaceError(
                f"an account of the job's own: {account} is neither the environment's (AZURE_STORAGE_ACCOUNT_NAME or "
                "AZURE_STORAGE_CONNECTION_STRING) nor the manifest's, and credentials are sent to no other"
            )
        if self.allow is not None and not self._allowed(uri):
            raise PlaceError("a file below the manifest's folder or a place that inputs.allow names")
        return uri

    def _local(self, uri: str) -> str:
        path = normalise_uri(uri)
        mode = os.stat(path).st_mode
        real = os.path.realpath(path)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder", path)
        if not stat.S_ISREG(mode):
            raise PlaceError("a regular file: it is not a regular file but a pipe, a device or a socket")
        if any(_is_below(real, system) for system in _SYSTEM) and not _is_below(real, _MEMORY_DISK):
            raise PlaceError("a file of data: this is one of the system's own")
        home = self.home if scheme_of(self.home) == "file" else ""
        if (home and _is_below(real, os.path.realpath(home))) or self._allowed(real):
            return real
        if home and _is_below(path, home):
            raise PlaceError(
                f"a file in the manifest's folder: a symbolic link leads out of it, to {shown_uri(real)} "
                "(inputs.allow names places that links may lead to)"
            )
        if self.allow is not None:
            raise PlaceError("a file below the manifest's folder or a place that inputs.allow names")
        return real

    def _allowed(self, uri: str) -> bool:
        """uri: of a file of this machine, without links."""
        if scheme_of(uri) != "file":
            places = (self.home, *(self.allow or ()))
            return any(is_within(uri, place) for place in places if place and scheme_of(place) != "file")
        return any(_is_below(uri, os.path.realpath(place)) for place in self.allow or () if scheme_of(place) == "file")


class PlaceError(ValueError):
    """A place that must not be opened; its text completes "expected …"."""


#: Every place that the process can read.
ANYWHERE = Reach()


def _is_below(uri: str, place: str) -> bool:
    """The place itself, or something in it."""
    if not place:
        return False
    return uri == place or uri.startswith(place.rstrip("/") + "/")
