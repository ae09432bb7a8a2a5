"""Further pictures in a JPEG's file: a stereo camera's, or a burst's, as CIPA DC-007 (MPO) lists them or one after the
other. Thumbnails of the first, and what phones keep to brighten it with (gain maps), are none.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

#: How a JPEG begins, and ends.
_BEGIN, _END = b"\xff\xd8\xff", b"\xff\xd9"
#: Most pictures and segments of one that are looked at.
_MOST, _MAX_SEGMENTS = 64, 1000
#: Tag of the list of pictures, bytes of one in it, and class of a picture that is a smaller one of the first.
_ENTRIES, _ENTRY_BYTES, _THUMBNAIL = 0xB002, 16, 0x01
#: Ultra HDR's word for what a gain map does, in the first picture's XMP.
_GAIN_MAP = b"hdrgm:Version"


def pictures_in(data: mmap.mmap, header_end: int, index: int | None, size_hw: tuple[int, int]) -> int:
    """How many pictures of this size there are, the first one included.

    header_end: of the first one's frame header. index: where its list of pictures begins (behind `MPF`), if it has one.
    """
    if data.find(_GAIN_MAP, 0, header_end) >= 0:
        return 1
    starts = _listed(data, index) if index is not None else _following(data, header_end)
    return 1 + sum(_size_of(data, start) == size_hw for start in starts)


def _listed(data: mmap.mmap, index: int) -> Iterator[int]:
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(bytes(data[index : index + 4]))
    if order is None:
        return

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[index + at : index + at + size], order)  # type: ignore[arg-type]

    first = number(4, 4)
    for field in range(first + 2, first + 2 + 12 * min(number(first, 2), _MOST), 12):
        if number(field, 2) != _ENTRIES:
            continue
        count, at = number(field + 4, 4) // _ENTRY_BYTES, number(field + 8, 4)
        for entry in range(at, at + _ENTRY_BYTES * min(count, _MOST), _ENTRY_BYTES):
            is_thumbnail = number(entry, 4) >> 16 & 0xFF == _THUMBNAIL
            if (place := number(entry + 8, 4)) and not is_thumbnail:
                yield index + place


def _following(data: mmap.mmap, at: int) -> Iterator[int]:
    """In what is compressed, 0xff is never followed by an end."""
    for _ in range(_MOST):
        at = data.find(_END, at) + len(_END)
        if at < len(_END) or data[at : at + 3] != _BEGIN:
            return
        yield at
        at = _frame(data, at) or len(data)


def _size_of(data: mmap.mmap, start: int) -> tuple[int, int] | None:
    at = _frame(data, start)
    return None if at is None else (_number(data, at + 5), _number(data, at + 7))


def _frame(data: mmap.mmap, start: int) -> int | None:
    """Where the frame header of the JPEG that begins here begins."""
    at = start + 2
    if data[start : start + 3] != _BEGIN:
        return None
    for _ in range(_MAX_SEGMENTS):
        if at + 9 > len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return at
        at += 1 if marker == 0xFF else 2 + _number(data, at + 2)
    return None


def _number(data: mmap.mmap, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")
