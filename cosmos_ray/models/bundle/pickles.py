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
    stack: list[object]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def load_bytearray8(self) -> None:
        """Read, then copied; the inherited one fills an array of the length that is claimed with zeros first."""
        (length,) = struct.unpack("<Q", self.read(8))
        data = self.read(length)
        if len(data) != length:
            raise pickle.UnpicklingError("pickle data was truncated")
        self.append(bytearray(data))

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        _check_keys(self.stack[0::2])
        super().load_setitems()  # type: ignore[misc]

    def load_dict(self) -> None:
        _check_keys(self.stack[0::2])
        super().load_dict()  # type: ignore[misc]

    def load_set(self) -> None:
        raise pickle.UnpicklingError("it has a set")

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    for _code in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET):
        dispatch[_code[0]] = load_set


def _check_keys(keys: list[object]) -> None:
    """A tuple of tuples of tuples, each named twice, takes for ever to be made a key."""
    if not all(type(key) in (str, int, bytes) for key in keys):
        raise pickle.UnpicklingError("a key that is neither text nor a number")


class PickleFunction:
    """A function that a pickle may call but not alter (plain functions accept new attributes)."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it tries to alter a function")
