"""Embeddings by text, the newest of them kept. No torch."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np


class TextCache:
    """What was made of the texts that were asked for last, each once. Safe to call from several threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, text: str, make: Callable[[str], np.ndarray]) -> np.ndarray:
        with self._lock:
            if text not in self._kept:
                # One text a forward: what a caption becomes must not depend on what it is encoded with.
                found = make(text)
                found.flags.writeable = False
                self._kept[text] = found
                if len(self._kept) > self.most:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(text)
            return self._kept[text]
