"""Words that were found once, and hold for good: a clip that is made again, by whomever, has the same ones.

    <folder>/<first two digits>/<key>.json

Created only if absent: of two gangs that ask at the same time, both take what the first one kept.
"""

from __future__ import annotations

import json
import uuid

from cosmos_ray.store.storage import Storage

#: Largest file that is one of ours.
_MOST_BYTES = 2**20


class KeptWords:
    """Of one output, or of one manifest that is refined ahead. Every method asks the store, and raises its OSError."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder

    def find(self, key: str) -> str | None:
        """None if nobody has kept any, or what is there cannot be read."""
        try:
            return _words(self._storage.read(self._path(key)))
        except FileNotFoundError:
            return None

    def keep(self, key: str, words: str, model: str) -> str:
        """The words that hold: these, or those that were kept before."""
        facts = {"words": words, "model": model, "by": uuid.uuid4().hex}  # `by`: no two writers write the same bytes
        data = json.dumps(facts, sort_keys=True).encode()
        if self._storage.write_if_absent(self._path(key), data):
            return words
        if (found := self.find(key)) is not None:
            return found
        self._storage.write(self._path(key), data)  # what is there is cut off or no one's
        return words

    def _path(self, key: str) -> str:
        return f"{self._folder}/{key[:2]}/{key}.json"


def _words(data: bytes) -> str | None:
    try:
        found = json.loads(data[:_MOST_BYTES])["words"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) and found.strip() else None
