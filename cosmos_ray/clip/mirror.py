"""Is a track shown mirrored? ffmpeg obeys the matrix that says so, but tells of its rotation alone."""

from __future__ import annotations

from pathlib import Path

from cosmos_ray.clip.boxes import first_box, index_of, tracks_of

#: Bytes of a track's header (`tkhd`) and of the film's (`mvhd`) before its matrix, by the box's version (8.2.2, 8.3.2).
_TRACK, _FILM = {0: 40, 1: 52}, {0: 36, 1: 48}


def is_mirrored(path: Path, track: int) -> bool:
    """track: its number among all of the file, from 0."""
    index = index_of(path)
    tracks = tracks_of(index)
    if track >= len(tracks):
        return False
    film = _turns_over(index, first_box(index, slice(0, len(index)), (b"mvhd",)), _FILM)
    return film != _turns_over(index, first_box(index, tracks[track], (b"tkhd",)), _TRACK)


def _turns_over(index: bytes, header: slice | None, places: dict[int, int]) -> bool:
    """Whether the matrix in that header has a negative determinant."""
    if header is None:
        return False
    body = index[header]
    at = places.get(body[0] if body else -1)
    if at is None or len(body) < at + 36:
        return False
    a, b, _, c, d = (int.from_bytes(body[at + 4 * k : at + 4 * k + 4], "big", signed=True) for k in range(5))
    return a * d - b * c < 0
