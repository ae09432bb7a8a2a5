"""The boxes of an mp4 (ISO 14496-12, 4.2): where each begins, and what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def boxes(data: bytes, place: slice) -> Iterator[tuple[bytes, slice]]:
    """(kind, where its body is) of each box there."""
    at = place.start
    while at + 8 <= place.stop:
        size, header = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if size < header or at + size > place.stop:
            return
        yield data[at + 4 : at + 8], slice(at + header, at + size)
        at += size


def first_box(data: bytes, place: slice, path: tuple[bytes, ...]) -> slice | None:
    """Where the body of a box is that lies in others, the outermost named first; None if it is not there."""
    for name in path:
        found = next((inner for kind, inner in boxes(data, place) if kind == name), None)
        if found is None:
            return None
        place = found
    return place


def tracks_of(index: bytes) -> list[slice]:
    """Where the body of each `trak` is in the body of the box `moov`, in the order that ffmpeg numbers them."""
    return [place for kind, place in boxes(index, slice(0, len(index))) if kind == b"trak"]


def index_of(path: Path) -> bytes:
    """The body of a file's box `moov`; nothing if it is not there."""
    return next((body for _, body in bodies_of(path, b"moov")), b"")


def bodies_of(path: Path, kind: bytes) -> Iterator[tuple[int, bytes]]:
    """(where the box begins, its body) of each box of that kind at a file's top level."""
    at = 0
    with path.open("rb") as file:
        while True:
            file.seek(at)
            found = file.read(16)
            size, header = int.from_bytes(found[:4], "big"), 8
            if size == 1:
                size, header = int.from_bytes(found[8:16], "big"), 16
            if size < header:
                return
            if found[4:8] == kind:
                file.seek(at + header)
                yield at, file.read(size - header)
            at += size
