"""The headers of a Parquet column's pages (Thrift's compact form), which say what each makes its reader hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

#: Kinds of pages, and the encoding in which a value takes the beginning of the one before it.
DATA, DICTIONARY, DATA_V2 = 0, 2, 3
PREFIXES = 7
#: Kinds of Thrift's compact form, and how deep they may be within each other.
_TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, 9, 10, 12
_MAX_DEPTH = 8


class Page(NamedTuple):
    """unpacked: bytes. values: in lists too, nulls included. begins, packed: where its content is, and its bytes."""

    kind: int
    unpacked: int
    values: int
    encoding: int
    begins: int = 0
    packed: int = 0


def pages_of(data: bytes, values: int, most: int) -> Iterator[Page]:
    """Pages of one column, until there are `values` values, or `most` pages. Raises ValueError for no page."""
    at = found = 0
    for _ in range(most):
        if found >= values or at >= len(data):
            return
        try:
            header, at = _struct(data, at, 0)
        except IndexError:
            raise ValueError("the header of a page ends too early") from None
        kind, unpacked, packed = (header.get(number) for number in (1, 2, 3))
        if not isinstance(kind, int) or not isinstance(unpacked, int) or not isinstance(packed, int):
            raise ValueError("the header of a page is damaged")
        if unpacked < 0 or packed < 0:
            raise ValueError("a page of a negative size")
        of_kind = header.get({DATA: 5, DICTIONARY: 7, DATA_V2: 8}.get(kind, 6), {})
        number = of_kind.get(1, 0) if isinstance(of_kind, dict) else 0
        encoding = of_kind.get(4 if kind == DATA_V2 else 2, 0) if isinstance(of_kind, dict) else 0
        if number < 0:
            raise ValueError("a page of a negative number of values")
        if kind in (DATA, DATA_V2):
            found += number
        yield Page(kind, unpacked, number, encoding, at, packed)
        at += packed


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """The numbers and structs in a struct of Thrift's compact form, by field; where it ends. Raises IndexError."""
    if depth > _MAX_DEPTH:
        raise ValueError("the header of a page nests too deep")
    fields: dict[int, Any] = {}
    field = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = _signed(data, at)
        fields[field], at = _value(data, at, head & 15, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int, in_list: bool = False) -> tuple[Any, int]:
    """None for what is passed over."""
    if kind in (_TRUE, _FALSE):
        return None, at + in_list
    if kind == _BYTE:
        return None, at + 1
    if kind in _INTEGERS:
        return _signed(data, at)
    if kind == _DOUBLE:
        return None, at + 8
    if kind == _BINARY:
        length, at = _unsigned(data, at)
        return None, at + length
    if kind in (_LIST, _SET):
        head, at = data[at], at + 1
        length = head >> 4
        if length == 15:
            length, at = _unsigned(data, at)
        for _ in range(length):
            _, at = _value(data, at, head & 15, depth + 1, in_list=True)
            data[at - 1]  # no further than there is something: a list of a million million booleans is none
        return None, at
    if kind == _STRUCT:
        return _struct(data, at, depth + 1)
    raise ValueError("the header of a page is damaged")


def _signed(data: bytes, at: int) -> tuple[int, int]:
    found, at = _unsigned(data, at)
    return (found >> 1) ^ -(found & 1), at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    found = 0
    for shift in range(0, 70, 7):
        found |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return found, at
    raise ValueError("a number without an end")
