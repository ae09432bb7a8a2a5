"""What fragments' headers and a key frame's messages say is read as it is written, and refused where it cannot be."""

from __future__ import annotations

import pytest

from cosmos_ray.clip import fragments as module
from cosmos_ray.clip.fragments import samples_of_fragments
from cosmos_ray.clip.recovery import is_recovery_point

NO_SYNC = 0x10000


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return numbers(8 + len(body)) + kind + body


def read(*trafs: bytes, index: bytes = b"", start: int = 1000) -> list[list[int]]:
    found = samples_of_fragments(index, 7, [(start, box(b"mfhd") + b"".join(trafs))])
    return [part.astype(int).tolist() for part in found]


def test_a_sample_has_its_own_size_or_the_fragments_or_the_files() -> None:
    own = box(b"traf", box(b"tfhd", numbers(0x20000, 7)), box(b"trun", numbers(0x601, 2, 100, 30, 0, 50, NO_SYNC)))
    assert read(own) == [[1100, 1130], [30, 50], [1, 0]]
    run = box(b"trun", numbers(0x605, 2, 100, NO_SYNC, 30, 0, 50, NO_SYNC))
    assert read(box(b"traf", box(b"tfhd", numbers(0x20000, 7)), run)) == [[1100, 1130], [30, 50], [0, 0]], (
        "what is said of the first holds for it"
    )
    of_fragment = box(b"traf", box(b"tfhd", numbers(0x20030, 7, 40, NO_SYNC)), box(b"trun", numbers(5, 2, 100, 0)))
    assert read(of_fragment) == [[1100, 1140], [40, 40], [1, 0]]
    of_file = box(b"mvex", box(b"trex", numbers(0, 3, 1, 0, 9, 0)), box(b"trex", numbers(0, 7, 1, 0, 20, NO_SYNC)))
    plain = box(b"traf", box(b"tfhd", numbers(0x20000, 7)), box(b"trun", numbers(1, 2, 100)))
    assert read(plain, index=of_file) == [[1100, 1120], [20, 20], [0, 0]]


def test_places_count_from_the_fragment_from_a_base_or_from_the_track_before() -> None:
    based = box(b"traf", box(b"tfhd", numbers(0x3B, 7, 0, 5000, 1, 2, 40, 0)), box(b"trun", numbers(1, 1, 8)))
    assert read(based) == [[5008], [40], [1]]
    other = box(b"traf", box(b"tfhd", numbers(0x10, 3, 40)), box(b"trun", numbers(1, 2, 100)))
    after = box(b"traf", box(b"tfhd", numbers(0x10, 7, 10)), box(b"trun", numbers(0, 2)), box(b"trun", numbers(0, 1)))
    assert read(other, after)[0] == [1180, 1190, 1200]
    assert read(after)[0] == [1000, 1010, 1020]
    from_here = box(b"traf", box(b"tfhd", numbers(0x20010, 7, 10)), box(b"trun", numbers(0, 2)))
    assert read(other, from_here)[0] == [1000, 1010], "a run without a place begins where places count from"


@pytest.mark.parametrize(
    "run", [numbers(0x200, 3, 1, 2), numbers(0), numbers(0, 2**32 - 1), numbers(1, 1), numbers(4, 1), numbers(0, 600)]
)
def test_a_header_that_ends_too_early_or_tells_of_too_many_is_refused(
    run: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 1000)
    with pytest.raises(ValueError, match=r"ends before|more than 1000|buffer"):
        read(*[box(b"traf", box(b"tfhd", numbers(0, 7)), box(b"trun", run))] * 2)


def test_a_fragment_of_another_track_has_nothing_and_one_without_a_header_is_refused() -> None:
    assert read(box(b"traf", box(b"tfhd", numbers(0, 3)), box(b"trun", numbers(0, 2)))) == [[], [], []]
    assert [len(part) for part in samples_of_fragments(b"", 7, [])] == [0, 0, 0]
    with pytest.raises(ValueError, match="ends before"):
        read(box(b"traf"))


def unit(kind: int, *content: int) -> bytes:
    return numbers(1 + len(content)) + bytes([kind, *content])


#: Of messages: (kind, size, content). A recovery point begins with its number of frames (1: none), then 1 for exactly.
POINTS = {
    "exact at once": (unit(6, 6, 1, 0b11000100, 0x80), True),
    "after another message": (unit(6, 5, 3, 1, 2, 3, 6, 1, 0b11000100, 0x80), True),
    "after a long one": (unit(6, 5, 255, 10, *[7] * 265, 6, 1, 0b11000100, 0x80), True),
    "in a unit of its own, after others": (unit(9, 16) + unit(6, 5, 1, 1, 0x80) + unit(6, 6, 1, 0xC4, 0x80), True),
    "with bytes that stand in for a start code": (unit(6, 5, 3, 0, 0, 3, 9, 6, 1, 0xC4, 0x80), True),
    "some frames later": (unit(6, 6, 1, 0b01010010, 0x80), False),
    "nearly": (unit(6, 6, 1, 0b10000100, 0x80), False),
    "another message": (unit(6, 5, 1, 0b11000100, 0x80), False),
    "after the picture": (unit(1, 1, 2, 3) + unit(6, 6, 1, 0b11000100, 0x80), False),
    "a hole": (bytes(64), False),
    "cut": (unit(6, 6, 1, 0b11000100, 0x80)[:7], False),
    "cut in a number": (unit(6, 255, 255, 255), False),
    "nothing": (b"", False),
}


@pytest.mark.parametrize("kind", POINTS)
def test_a_recovery_point_is_one_that_is_exact_at_once(kind: str) -> None:
    packet, is_one = POINTS[kind]
    assert is_recovery_point(packet + unit(1, 1, 2, 3) * (kind not in ("cut", "nothing")), 4) is is_one
