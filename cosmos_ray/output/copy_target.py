"""The folder that a copy goes into.

At any moment it holds whole files of the copy before or of this one, and of no clip those of both.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cosmos_ray.store.storage import Storage

#: A file that an earlier copy has left in its place, or none.
Earlier = Literal["right", "wrong", "none"]

#: Half-written files older than so many seconds are nobody's: their writer was killed.
_ABANDONED_S = 3600.0
#: What is said of a file that is wrong.
OTHER = "other than it should be"


@dataclass
class CopyTarget:
    """checks: nothing is written, what would be is in `faults`. seal: the file without which readers take the copy for
    none: it goes before anything else changes, and comes last."""

    storage: Storage
    checks: bool = False
    seal: str | None = None
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(
        self, files: Mapping[str, bytes], known: Mapping[str, Earlier], beside: Iterable[str] = (), sign: str = ""
    ) -> bool:
        """Have these files there; whether anything was to do.

        known: what lies in the places of some; the others are read. beside: places of other files of the same clip,
        which go where anything of it is wrong. Whatever is wrong goes before anything is written, but the file `sign`,
        which says whose the others are: it is written over, before they are there.
        """
        found = self.storage.read_many(path for path in files if path not in known)
        states = {**_states(files, found), **known}
        wanted = [path for path in files if states[path] != "right"]
        wrong = [path for path in wanted if states[path] == "wrong"]
        if not wanted:
            return False
        self.find(*(f"{path}: {OTHER if path in wrong else 'missing'}" for path in wanted))
        if not self.checks:
            self._unseal()
            for path in [*beside, *wrong] if wrong else ():
                if path != sign:
                    self.storage.delete(path)
            for path in sorted(wanted, key=lambda path: path != sign):
                self.storage.write(path, files[path])
        return True

    def drop(self, paths: Sequence[str], why: str = "of another copy") -> None:
        """Files that are there and should not be, or not so."""
        self.find(*(f"{path}: {why}" for path in paths))
        if not self.checks and paths:
            self._unseal()
            for path in paths:
                self.storage.delete(path)

    def find(self, *faults: str) -> None:
        """Where nothing is written it is said."""
        with self._lock:
            self.faults += faults if self.checks else ()

    def tidy(self) -> None:
        """Remove what writers that were killed have left half done, where these credentials may look for it: nobody
        reads it, and an export needs no right beyond its own files (docs/jobs.md)."""
        if not self.checks:
            with contextlib.suppress(PermissionError):
                self.storage.remove_unfinished(_ABANDONED_S)

    def _unseal(self) -> None:
        with self._lock:
            if self.seal is not None:
                self.storage.delete(self.seal)
            self.seal = None


def _states(files: Mapping[str, bytes], found: Mapping[str, bytes]) -> dict[str, Earlier]:
    return {path: "right" if found.get(path) == files[path] else "wrong" if path in found else "none" for path in files}
