"""Does a picture's colour profile (ICC.1) mean sRGB's colours? By its primaries, whatever it is called."""

from __future__ import annotations

import numpy as np

#: X, Y, Z of sRGB's primaries as profiles have them, adapted to D50.
_SRGB = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
#: Profiles round, and some adapt in another way; Display P3's red is 0.08 away.
_NEAR = 0.02
_MOST_TAGS = 100


def is_srgb(profile: bytes) -> bool:
    """True also of a profile that names no primaries (of grey, say) or cannot be read: nobody knows better."""
    count = int.from_bytes(profile[128:132], "big")
    for tag in range(min(count, _MOST_TAGS)):
        entry = profile[132 + 12 * tag : 144 + 12 * tag]
        start = int.from_bytes(entry[4:8], "big") + 8
        values = profile[start : start + 12]
        if entry[:4] in _SRGB and len(values) == 12:
            primary = np.frombuffer(values, ">i4") / 65536
            if np.abs(primary - _SRGB[entry[:4]]).max() > _NEAR:
                return False
    return True
