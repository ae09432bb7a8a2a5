"""What a PNG's chunks say of its colours (PNG 3rd edition, 4.3): cICP before iCCP, that before sRGB, that before gAMA
and cHRM. Without any of them they are sRGB's."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from cosmos_ray.clip.profile import OTHER, primaries_of

#: Chunks that are read here.
CHUNKS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
#: ITU-T H.273's numbers, in the words of `colour`; "" is what a model knows.
_PRIMARIES = {1: "", 2: "", 5: "", 6: "", 7: "", 9: "bt2020", 12: "smpte432"}
_SDR, _HDR = (1, 2, 6, 13, 14, 15), {16: "smpte2084", 18: "arib-std-b67"}
#: x and y of white, red, green and blue.
_PLACES = {
    "": (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    "smpte432": (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    "adobe": (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06),
    "bt2020": (0.3127, 0.3290, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
}
_NEAR = 0.012
#: Of gAMA: what sRGB is taken for, and how far others may be off; 1 is linear light.
_GAMMA, _GAMMA_NEAR = 1 / 2.2, 0.05


def colours_of(chunks: Mapping[bytes, bytes]) -> tuple[str, str]:
    """(transfer, primaries) of a PNG: a key of `colour.HDR` or "", a key of `colour.WIDE`, OTHER or ""."""
    if len(told := chunks.get(b"cICP", b"")) == 4:
        primaries, transfer = told[0], told[1]
        is_known = transfer in _SDR or transfer in _HDR
        return _HDR.get(transfer, ""), _PRIMARIES.get(primaries, OTHER) if is_known else OTHER
    if b"iCCP" in chunks:
        return "", primaries_of(_unpacked(chunks[b"iCCP"]))
    if b"sRGB" in chunks:
        return "", ""
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big") / 100_000
    if gamma and abs(gamma - _GAMMA) > _GAMMA_NEAR:
        return "", OTHER
    return "", _by_place(chunks.get(b"cHRM", b""))


def _by_place(chunk: bytes) -> str:
    if len(chunk) != 32:
        return ""
    places = np.frombuffer(chunk, ">u4") / 100_000
    return next((name for name, known in _PLACES.items() if np.abs(places - known).max() <= _NEAR), OTHER)


def _unpacked(chunk: bytes) -> bytes:
    """The profile of a chunk `iCCP`: a name, a method, and zlib's. "" of one that cannot be unpacked."""
    try:
        return zlib.decompressobj().decompress(chunk.partition(b"\0")[2][1:], 2**16)
    except zlib.error:
        return b""
