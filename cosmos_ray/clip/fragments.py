"""Where each sample of a track lies in a fragmented mp4: its fragments' headers (ISO 14496-12, 8.8), as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from cosmos_ray.clip.boxes import boxes, first_box

#: Most samples of a track that are looked at.
MOST = 1_000_000
#: Marks of a fragment's header for a track (`tfhd`): what it has, and what its places count from.
_BASE, _DESCRIPTION, _DURATION, _SIZE, _FLAGS, _FROM_HERE = 1, 2, 8, 16, 32, 0x20000
#: Marks of a run of samples (`trun`): what it says of all, and of each.
_OFFSET, _FIRST, _EACH, _EACH_SIZE, _EACH_FLAGS = 1, 4, (0x100, 0x200, 0x400, 0x800), 0x200, 0x400
#: Of a sample: it is no key frame.
_NO_SYNC = 0x10000


@dataclass(frozen=True)
class _Defaults:
    size: int
    flags: int


def samples_of_fragments(
    index: bytes, track_id: int, headers: Iterable[tuple[int, bytes]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(offsets, sizes, are key frames) of a track's samples, in the order of decoding.

    index: body of the box `moov`. headers: (where the box begins in the file, its body) of each `moof`.
    Raises ValueError for a header that ends before it says so, and for more than MOST samples.
    """
    of_all, found, count = _of_all(index), [], 0
    for start, header in headers:
        for run in _runs(header, start, track_id, of_all):
            found.append(run)
            count += len(run[0])
            if count > MOST:
                raise ValueError(f"more than {MOST} samples")
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool)
    offsets, sizes, syncs = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return offsets, sizes, syncs


def _of_all(index: bytes) -> dict[int, _Defaults]:
    """What the index says of all fragments' samples (`trex`), by track."""
    place = first_box(index, slice(0, len(index)), (b"mvex",))
    bodies = [index[inner] for kind, inner in boxes(index, place) if kind == b"trex"] if place else []
    return {_number(body, 4): _Defaults(_number(body, 16), _number(body, 20)) for body in bodies}


def _runs(
    header: bytes, start: int, track_id: int, of_all: dict[int, _Defaults]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A fragment's runs of samples of that track."""
    end = start  # of the data of the track before
    for kind, place in boxes(header, slice(0, len(header))):
        if kind != b"traf":
            continue
        parts = [(inner_kind, header[inner]) for inner_kind, inner in boxes(header, place)]
        told = next((body for inner_kind, body in parts if inner_kind == b"tfhd"), b"")
        track, base, defaults = _told(told, start, end, of_all)
        end = base
        for body in (body for inner_kind, body in parts if inner_kind == b"trun"):
            offsets, sizes, syncs = _run(body, base, end, defaults)
            end = int(offsets[-1] + sizes[-1]) if len(offsets) else end
            if track == track_id:
                yield offsets, sizes, syncs


def _told(body: bytes, start: int, before: int, of_all: dict[int, _Defaults]) -> tuple[int, int, _Defaults]:
    """(track, what its runs' places count from, what holds of their samples) of a `tfhd`."""
    marks, track, at = _number(body, 0) & 0xFFFFFF, _number(body, 4), 8
    base = start if marks & _FROM_HERE else before
    if marks & _BASE:
        base, at = _number(body, at, 8), at + 8
    defaults = of_all.get(track, _Defaults(0, 0))
    size, flags = defaults.size, defaults.flags
    at += 4 * bool(marks & _DESCRIPTION) + 4 * bool(marks & _DURATION)
    if marks & _SIZE:
        size, at = _number(body, at), at + 4
    if marks & _FLAGS:
        flags = _number(body, at)
    return track, base, _Defaults(size, flags)


def _run(body: bytes, base: int, end: int, defaults: _Defaults) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    marks, count, at = _number(body, 0) & 0xFFFFFF, _number(body, 4), 8
    if count > MOST:
        raise ValueError(f"more than {MOST} samples")
    first = end
    if marks & _OFFSET:
        first, at = base + int.from_bytes(body[at : at + 4], "big", signed=True), at + 4
    first_flags = _number(body, at) if marks & _FIRST else None
    at += 4 * (first_flags is not None)
    given = [mark for mark in _EACH if marks & mark]
    each = np.frombuffer(body, ">u4", count * len(given), at).reshape(count, len(given)).astype(np.int64)
    sizes = each[:, given.index(_EACH_SIZE)] if _EACH_SIZE in given else np.full(count, defaults.size, np.int64)
    flags = each[:, given.index(_EACH_FLAGS)] if _EACH_FLAGS in given else np.full(count, defaults.flags, np.int64)
    if first_flags is not None and count:
        flags = np.append(first_flags, flags[1:])
    return first + np.cumsum(sizes) - sizes, sizes, (flags & _NO_SYNC) == 0


def _number(body: bytes, at: int, width: int = 4) -> int:
    """Raises ValueError if it is not there."""
    if len(body) < at + width:
        raise ValueError("a box that ends before it says so")
    return int.from_bytes(body[at : at + width], "big")
