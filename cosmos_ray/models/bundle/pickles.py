"""What readers of pickles that nobody vouches for share. No torch."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar


class PlainUnpickler(pickle._Unpickler):
    """Makes nothing larger than the pickle says with its own bytes.

    Python's own unpickler, not the one in C: that makes a table as long as the largest number a pickle names things by,
    and nine bytes can ask for gigabytes.
    """

    read: Callable[[int], bytes]
    append: Callable[[object], None]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def load_bytearray8(self) -> None:
        """Read, then copied; the inherited one fills an array of the length that is claimed with zeros first."""
        (length,) = struct.unpack("<Q", self.read(8))
        data = self.read(length)
        if len(data) != length:
            raise pickle.UnpicklingError("pickle data was truncated")
        self.append(bytearray(data))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


class PickleFunction:
    """A function that a pickle may call but not alter (plain functions accept new attributes)."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it tries to alter a function")
