"""Where each sample of a track lies in an mp4: its own tables (ISO 14496-12, 8.6.2 and 8.7) and those of its fragments.

They say which bytes to fetch and nothing else: times, order and what can be decoded are ffmpeg's to say. A file whose
tables are odd in any way has None here, and is fetched whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmos_ray.clip.boxes import bodies_of, boxes, first_box, index_of, tracks_of
from cosmos_ray.clip.fragments import MOST, samples_of_fragments

#: Where a track's header (`tkhd`) has its id, by the box's version.
_ID = {0: 12, 1: 20}


@dataclass(frozen=True, eq=False)
class Samples:
    """offsets, sizes: int64 [samples], bytes, in the order of decoding. syncs: int64, numbers of the key frames."""

    offsets: np.ndarray
    sizes: np.ndarray
    syncs: np.ndarray


def samples_in(path: Path, track: int) -> Samples | None:
    """Of a file of which at least index and fragments' headers are there. track: its number among all, from 0."""
    index = index_of(path)
    samples = samples_of(index, track)
    if samples is None or first_box(index, slice(0, len(index)), (b"mvex",)) is None:
        return samples
    try:
        fragments = samples_of_fragments(index, _id_of(index, track), bodies_of(path, b"moof"))
    except ValueError:  # a header that ends before it says so
        return None
    offsets, sizes, are_syncs = fragments
    syncs = np.append(samples.syncs, len(samples.offsets) + np.flatnonzero(are_syncs))
    return Samples(np.append(samples.offsets, offsets), np.append(samples.sizes, sizes), syncs)


def _id_of(index: bytes, track: int) -> int:
    """What fragments call the track. Raises ValueError if the index does not say so."""
    place = first_box(index, tracks_of(index)[track], (b"tkhd",))
    body = b"" if place is None else index[place]
    at = _ID.get(body[0] if body else -1, len(body))
    if len(body) < at + 4:
        raise ValueError("a track without an id")
    return int.from_bytes(body[at : at + 4], "big")


def samples_of(index: bytes, track: int) -> Samples | None:
    """index: the body of the box `moov`. track: its number among all, from 0. None where it has no such tables."""
    tracks = tracks_of(index)
    place = first_box(index, tracks[track], (b"mdia", b"minf", b"stbl")) if track < len(tracks) else None
    if place is None:
        return None
    tables = {kind: index[inner] for kind, inner in boxes(index, place)}
    if not {b"stsz", b"stsc"} <= tables.keys() or not {b"stco", b"co64"} & tables.keys():
        return None
    try:
        return _samples(tables)
    except ValueError:  # a table that ends before it says so
        return None


def _samples(tables: dict[bytes, bytes]) -> Samples | None:
    fixed, count = _numbers(tables[b"stsz"], 4, 2)
    if not count:
        return Samples(*(np.empty(0, np.int64) for _ in range(3)))
    if count > MOST:
        return None
    sizes = np.full(count, fixed, np.int64) if fixed else _numbers(tables[b"stsz"], 12, count)
    wide = b"co64" in tables
    chunks = _counted(tables[b"co64" if wide else b"stco"], 8 if wide else 4)
    runs = _counted(tables[b"stsc"], 4, columns=3).reshape(-1, 3)
    lengths = np.diff(np.append(runs[:, 0], len(chunks) + 1))
    if not len(runs) or runs[0, 0] != 1 or (lengths < 0).any() or int((lengths * runs[:, 1]).sum()) != count:
        return None
    in_chunk = np.repeat(runs[:, 1], lengths)
    chunk = np.repeat(np.arange(len(chunks)), in_chunk)
    before = np.cumsum(sizes) - sizes
    first = np.cumsum(in_chunk) - in_chunk
    offsets = chunks[chunk] + before - before[first[chunk]]
    syncs = _counted(tables[b"stss"], 4) - 1 if b"stss" in tables else np.arange(count)
    return Samples(offsets, sizes, np.sort(syncs))


def _counted(table: bytes, width: int, columns: int = 1) -> np.ndarray:
    """Entries of a table: version and flags, their number, and they."""
    (count,) = _numbers(table, 4, 1)
    return _numbers(table, 8, int(count) * columns, width)


def _numbers(table: bytes, at: int, count: int, width: int = 4) -> np.ndarray:
    """int64 [count]. Raises ValueError if there are not so many."""
    return np.frombuffer(table, f">u{width}", count, at).astype(np.int64)
