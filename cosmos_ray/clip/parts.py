"""A large video of which only what matters is fetched: its index, its beginning, and the packets of the frames wanted.
A fragmented one has many indices, a header a fragment: each is found where the fragment before it ends.

A local file of the same size stands for it, with holes where nothing was fetched, which take no room on the disk.
ffmpeg reads it as any file; what it makes of a hole is never believed (`frames`): whatever goes wrong, the whole is
fetched and everything begins again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosmos_ray.clip.packets import Packets
from cosmos_ray.clip.samples import samples_in

#: Bytes that are fetched of a file's beginning, and from each place where a box of its top level is looked for; from
#: those where a fragment's header is.
_HEAD, _HOP = 256 * 2**10, 16 * 2**10
#: Boxes of which nothing is read: the data, of which parts are fetched later, and empty ones.
_UNREAD = frozenset({b"mdat", b"free", b"skip", b"wide"})
#: Largest index, or other box, that is fetched apart, and most boxes that are looked for; of a file of fragments.
_MAX_INDEX, _MAX_BOXES, _MAX_FRAGMENTED = 16 * 2**20, 32, 1024
#: Where so many fragments are no larger than so many bytes each, going from one to the next takes too long.
_SMALL_FRAGMENTS, _SMALL = 16, 128 * 2**10
#: Most bytes that are in memory at a time, of the packets.
_PIECE = 16 * 2**20
#: Packets after those wanted: a decoder reads ahead, by a frame a thread and those that it puts in order.
_AHEAD = 64
#: Where more than this share of a file is needed, all of it comes in one go.
_MOST_OF_IT = 0.6


@dataclass(frozen=True, eq=False)
class PartFile:
    """path: the local file. size: of the whole, bytes. read: bytes from the first number on, up to before the second.
    fetch: write the whole into `path`."""

    path: Path
    size: int
    read: Callable[[int, int], bytes]
    fetch: Callable[[], object]

    def whole(self) -> Path:
        """The local file, complete from here on."""
        self.fetch()
        return self.path

    def lay(self) -> bool:
        """Make the local file, with its indices and its beginning. False for one that is neither an index and one piece
        of data nor fragments of some size."""
        self.path.unlink(missing_ok=True)
        with self.path.open("xb") as file:
            file.truncate(self.size)
        there, at = (0, self._fill(0, min(_HEAD, self.size))), 0
        kinds: list[bytes] = []
        while at < self.size and len(kinds) < (_MAX_FRAGMENTED if b"moof" in kinds else _MAX_BOXES):
            if at + 16 > there[0] + len(there[1]):
                reach = _HOP if b"moof" in kinds else _HEAD
                there = at, self._fill(at, min(at + reach, self.size))
            found = there[1][at - there[0] :][:16]
            size, kind = int.from_bytes(found[:4], "big"), found[4:8]
            if size == 1:
                size = int.from_bytes(found[8:16], "big")
            if size < 8 or at + size > self.size or (kind not in _UNREAD and size > _MAX_INDEX):
                return False
            if kind not in _UNREAD and at + size > there[0] + len(there[1]):
                there = at, self._fill(at, at + size)
            kinds.append(kind)
            at += size
            if kinds.count(b"moof") == _SMALL_FRAGMENTS and at < _SMALL_FRAGMENTS * _SMALL:
                return False
        if at != self.size or kinds.count(b"moov") != 1:
            return False
        return b"moof" in kinds or kinds.count(b"mdat") == 1

    def bring(self, packets: Packets, track: int, first: int, last: int) -> int | None:
        """Fetch what frames `first` to `last` (as they are shown) are decoded from: from which packet on.

        None if that is most of the file, or it cannot be said where it lies.
        """
        samples = samples_in(self.path, track)
        if samples is None or len(samples.offsets) != len(packets.decoded):
            return None
        begins, ends = packets.times[first], packets.times[last]
        wanted = np.flatnonzero((packets.decoded >= begins) & (packets.decoded <= ends))
        syncs = samples.syncs[(samples.syncs <= wanted[0]) & (packets.decoded[samples.syncs] <= begins)]
        begun = int(syncs[-1]) if len(syncs) else 0
        span = slice(begun, int(wanted[-1]) + 1 + _AHEAD)
        start = int(samples.offsets[span].min())
        stop = min(int((samples.offsets + samples.sizes)[span].max()), self.size)
        if stop - start > _MOST_OF_IT * self.size:
            return None
        for piece in range(start, stop, _PIECE):
            self._fill(piece, min(piece + _PIECE, stop))
        return begun

    def _fill(self, start: int, stop: int) -> bytes:
        data = self.read(start, stop)
        if self.path.is_symlink():  # the whole is here already, under a second name, and nobody's to write to
            return data
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(data)
        return data
