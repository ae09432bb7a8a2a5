"""What readers of pickles that nobody vouches for share. No torch."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

#: Python's own unpickler, not the one in C: that makes a table as long as the largest number a pickle names things by,
#: and nine bytes can ask for gigabytes.
PlainUnpickler = pickle._Unpickler


class PickleFunction:
    """A function that a pickle may call but not alter (plain functions accept new attributes)."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it tries to alter a function")
