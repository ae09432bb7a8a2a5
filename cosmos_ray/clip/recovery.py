"""Key frames of H.264 that are no full stop, but from which on every frame shown is exact: those of open groups.

Such a picture says so in a message before it (recovery point, ITU-T H.264, D.2.8): how many frames later what is shown
is right again, and whether exactly. Intra refresh sends the same message with a number.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cosmos_ray.clip.boxes import index_of, tracks_of
from cosmos_ray.clip.samples import samples_in

#: Bytes of a packet that are looked at: its messages stand before the picture.
_LOOKED = 4096
_MESSAGES, _PICTURES = 6, range(1, 6)
_RECOVERY_POINT = 6


def recovery_points(path: Path, track: int, keys: np.ndarray, total: int) -> np.ndarray:
    """Those of a track's packets (numbers in the order of decoding, of `total`) at which exact decoding can begin."""
    samples, width = samples_in(path, track), _length_of_sizes(path, track)
    if samples is None or len(samples.offsets) != total or not width:
        return keys[:0]
    found = np.zeros(len(keys), bool)
    with path.open("rb") as file:
        for number, key in enumerate(keys.tolist()):
            file.seek(int(samples.offsets[key]))
            found[number] = is_recovery_point(file.read(min(int(samples.sizes[key]), _LOOKED)), width)
    return keys[found]


def is_recovery_point(packet: bytes, width: int) -> bool:
    """Whether a packet's messages say that what is shown from it on is exact. width: bytes of its units' sizes."""
    at = 0
    while at + width < len(packet):
        size, at = int.from_bytes(packet[at : at + width], "big"), at + width
        kind = packet[at] & 31
        if not size or kind in _PICTURES:
            return False
        if kind == _MESSAGES and _says_exact(packet[at + 1 : at + size].replace(b"\0\0\3", b"\0\0")):
            return True
        at += size
    return False


def _says_exact(messages: bytes) -> bool:
    """Of several messages: (kind, size, content) each, numbers of 255 and more in several bytes."""
    at = 0
    while at + 2 < len(messages):
        numbers = []
        for _ in range(2):
            number = 0
            while at < len(messages) and messages[at] == 255:
                number, at = number + 255, at + 1
            if at == len(messages):
                return False
            numbers.append(number + messages[at])
            at += 1
        kind, size = numbers
        if kind == _RECOVERY_POINT and messages[at : at + 1]:
            return messages[at] >> 6 == 0b11  # no frame later, exactly
        at += size
    return False


def _length_of_sizes(path: Path, track: int) -> int:
    """Bytes of the size before each unit, 0 if the track does not say so in an `avcC`."""
    index = index_of(path)
    tracks = tracks_of(index)
    place = index.find(b"avcC", tracks[track].start, tracks[track].stop) if track < len(tracks) else -1
    return 0 if place < 0 or place + 8 >= len(index) else (index[place + 8] & 3) + 1
