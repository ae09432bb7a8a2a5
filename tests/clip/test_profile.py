"""Whose colours a profile means, by its primaries alone."""

from __future__ import annotations

import numpy as np
import pytest

from cosmos_ray.clip.profile import OTHER, primaries_of

SRGB = {b"rXYZ": (0.4361, 0.2225, 0.0139), b"gXYZ": (0.3851, 0.7169, 0.0971), b"bXYZ": (0.1431, 0.0606, 0.7141)}
P3 = {b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.2919, 0.6922, 0.0419), b"bXYZ": (0.1572, 0.0666, 0.7841)}


def profile(tags: dict[bytes, tuple[float, ...]], more: int = 0) -> bytes:
    """Tags in the order of a dict, `more` others before them; each points to its values."""
    count, table, data = len(tags) + more, b"desc" * 3 * more, b""
    for name, values in tags.items():
        start = 132 + 12 * count + len(data)
        table += name + start.to_bytes(4, "big") + (20).to_bytes(4, "big")
        data += b"XYZ \0\0\0\0" + (np.array(values) * 65536).round().astype(">i4").tobytes()
    return bytes(128) + count.to_bytes(4, "big") + table + data


def moved(by: float) -> dict[bytes, tuple[float, ...]]:
    return SRGB | {b"gXYZ": (0.3851, 0.7169 + by, 0.0971)}


def test_primaries_are_known_in_any_order_beside_any_tags() -> None:
    assert primaries_of(profile(SRGB)) == ""
    assert primaries_of(profile(dict(reversed(P3.items())), more=9)) == "smpte432"


@pytest.mark.parametrize(("by", "expected"), [(0.019, ""), (-0.019, ""), (0.021, OTHER), (-0.021, OTHER)])
def test_profiles_may_round_by_a_little(by: float, expected: str) -> None:
    assert primaries_of(profile(moved(by))) == expected


def test_a_profile_that_names_not_all_primaries_or_is_cut_says_nothing() -> None:
    assert primaries_of(profile({b"rXYZ": P3[b"rXYZ"]})) == ""
    assert primaries_of(profile(P3)[:-1]) == ""
    assert primaries_of(profile(P3, more=98)) == "", "no more than a hundred tags are looked at"
    assert primaries_of(b"") == ""


def test_a_profile_that_is_cut_is_taken_for_what_it_is_or_for_none() -> None:
    """Numbers that are not there are none, and no zeros."""
    whole = profile(P3)
    assert {primaries_of(whole[:size]) for size in range(len(whole))} == {""}
    assert primaries_of(whole) == "smpte432"
