"""Whose colours does a picture's colour profile (ICC.1) mean? By its primaries, whatever it is called."""

from __future__ import annotations

import numpy as np

_TAGS = (b"rXYZ", b"gXYZ", b"bXYZ")
#: X, Y, Z of the primaries as profiles have them, adapted to D50; "" is sRGB, the others are names of `colour`.
_KNOWN = {
    "": ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)),
    "smpte432": ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)),
    "adobe": ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)),
}
#: Neither sRGB's primaries nor others that are known.
OTHER = "other"
#: Profiles round, and some adapt in another way; Display P3's red is 0.08 away.
_NEAR = 0.02
_MOST_TAGS = 100


def primaries_of(profile: bytes) -> str:
    """A key of _KNOWN, or OTHER. "" also of a profile that does not name all primaries (of grey, say) or cannot be
    read: nobody knows better."""
    found: dict[bytes, np.ndarray] = {}
    count = int.from_bytes(profile[128:132], "big")
    for tag in range(min(count, _MOST_TAGS)):
        entry = profile[132 + 12 * tag : 144 + 12 * tag]
        start = int.from_bytes(entry[4:8], "big") + 8
        values = profile[start : start + 12]
        if entry[:4] in _TAGS and len(values) == 12:
            found[entry[:4]] = np.frombuffer(values, ">i4") / 65536
    if len(found) < len(_TAGS):
        return ""
    given = np.array([found[tag] for tag in _TAGS])
    return next((name for name, known in _KNOWN.items() if np.abs(given - known).max() <= _NEAR), OTHER)
