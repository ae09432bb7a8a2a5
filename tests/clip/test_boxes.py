"""Boxes of an mp4 in both of their forms, and what lies in them; made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosmos_ray.clip.boxes import bodies_of, boxes, first_box, index_of, tracks_of
from cosmos_ray.clip.container import check_container
from cosmos_ray.clip.mirror import is_mirrored
from cosmos_ray.clip.parts import PartFile
from cosmos_ray.clip.recovery import recovery_points
from cosmos_ray.clip.samples import samples_in
from cosmos_ray.errors import RowError


def number(value: int, width: int = 4) -> bytes:
    return value.to_bytes(width, "big", signed=value < 0)


def box(kind: bytes, *content: bytes, is_wide: bool = False) -> bytes:
    body = b"".join(content)
    if is_wide:
        return number(1) + kind + number(16 + len(body), 8) + body
    return number(8 + len(body)) + kind + body


def table(*numbers: int) -> bytes:
    return b"".join(map(number, (0, *numbers)))


FTYP = box(b"ftyp", b"isom", bytes(4))


@pytest.mark.parametrize("is_wide", [False, True])
def test_a_size_has_32_or_64_bits(is_wide: bool, tmp_path: Path) -> None:
    inner = box(b"trak", b"one", is_wide=is_wide) + box(b"udta") + box(b"trak", b"two", is_wide=is_wide)
    index = box(b"moov", inner, is_wide=is_wide)
    whole = FTYP + box(b"free", bytes(9), is_wide=is_wide) + index + box(b"mdat", bytes(30), is_wide=is_wide)
    path = tmp_path / "a.mp4"
    path.write_bytes(whole)
    assert check_container(path) == "mp4"
    assert index_of(path) == inner
    assert [inner[place] for place in tracks_of(inner)] == [b"one", b"two"]
    assert list(bodies_of(path, b"moov")) == [(whole.index(index), inner)]
    asked: list[tuple[int, int]] = []
    parts = PartFile(
        tmp_path / "part.mp4", len(whole), lambda *of: (asked.append(of), whole[of[0] : of[1]])[1], lambda: None
    )
    assert parts.lay()
    assert (parts.path.read_bytes(), asked) == (whole, [(0, len(whole))])


def test_what_does_not_fit_into_its_box_is_not_there() -> None:
    inner = box(b"trak", box(b"tkhd", b"id"), box(b"tkhd", b"again"))
    everything = slice(0, len(inner))
    found = first_box(inner, everything, (b"trak", b"tkhd"))
    assert found is not None
    assert inner[found] == b"id"
    assert first_box(inner, everything, (b"trak", b"mdia")) is None
    assert [kind for kind, _ in boxes(inner, slice(0, len(inner) - 1))] == []
    assert [kind for kind, _ in boxes(number(7) + b"free" + inner, slice(0, 60))] == []
    assert [kind for kind, _ in boxes(number(1) + b"free" + number(15, 8) + inner, slice(0, 60))] == []


def test_a_box_that_is_smaller_than_its_own_header_ends_the_search(tmp_path: Path) -> None:
    for head in (number(7) + b"free", number(1) + b"free" + number(15, 8)):
        (tmp_path / "a.mp4").write_bytes(FTYP + head.ljust(16, b"\0") + box(b"moov", b"1"))
        assert index_of(tmp_path / "a.mp4") == b""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (FTYP + number(4) + b"mdat", "the box at byte 16 claims a size of 4 bytes"),
        (FTYP + box(b"mdat", bytes(9))[:-1], "box 'mdat' has 16 of its 17 bytes, and there is no index"),
        (FTYP + box(b"moov") + box(b"mdat", bytes(9))[:-1], r"box 'mdat' has 16 of its 17 bytes$"),
        (FTYP + box(b"moov", is_wide=True)[:-1], "truncated: 15 bytes of a box's beginning at the end"),
        (FTYP + box(b"moov", b"1", is_wide=True)[:-1], "truncated: box 'moov' has 16 of its 17 bytes"),
        (FTYP + box(b"moov") + box(b"JUNK", bytes(9))[:-1], "box of no known name has 16 of its 17 bytes"),
        (FTYP + box(b"moov") + bytes(3), "truncated: 3 bytes of a box's beginning at the end"),
        (FTYP + box(b"moov") + box(b"moof"), "the last fragment's header .* has no data after it"),
        (FTYP + box(b"moov") + box(b"mdat") + box(b"moof"), "the last fragment's header .* has no data after it"),
    ],
)
def test_a_file_that_ends_too_early_is_told_from_a_whole_one(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(RowError, match=said):
        check_container(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "after", [b"", b"\0", b"anything at all, of any length", box(b"free"), box(b"sefd", b"1"), number(0) + b"free"]
)
def test_what_follows_a_whole_file_does_not_matter(after: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(FTYP + box(b"moov") + box(b"mdat") + after)
    assert check_container(tmp_path / "a.mp4") == "mp4"


# --- headers of film and track ---


def header(kind: bytes, before: int, version: int, *matrix: int) -> bytes:
    """With a, b, u, c, d, … of its matrix."""
    numbers = b"".join(number(one) for one in (*matrix, 0, 0, 0, 1 << 30))
    return box(kind, bytes([version]), bytes(before - 1), numbers)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    ("matrix", "turns_over"),
    [
        ((1 << 16, 0, 0, 0, 1 << 16), False),
        ((-(1 << 16), 0, 0, 0, 1 << 16), True),
        ((-(1 << 16), 0, 0, 0, -(1 << 16)), False),
        ((0, 1 << 16, 0, -(1 << 16), 0), False),
        ((0, 1 << 16, 0, 1 << 16, 0), True),
        ((0, 0, 0, 0, 0), False),
    ],
)
def test_a_track_is_mirrored_by_its_own_header_or_by_the_films(
    version: int, matrix: tuple[int, ...], turns_over: bool, tmp_path: Path
) -> None:
    """In both versions, whose times have 32 or 64 bits."""
    plain = (1 << 16, 0, 0, 0, 1 << 16)
    path = tmp_path / "a.mp4"
    for film, track, expected in ((plain, matrix, turns_over), (matrix, plain, turns_over), (matrix, matrix, False)):
        index = (
            header(b"mvhd", (36, 48)[version], version, *film),
            box(b"trak", header(b"tkhd", (40, 52)[version], version, *plain)),
            box(b"trak", header(b"tkhd", (40, 52)[version], version, *track)),
        )
        path.write_bytes(FTYP + box(b"moov", *index))
        assert is_mirrored(path, 1) is expected
        assert is_mirrored(path, 0) is (turns_over and film == matrix)
    unknown = header(b"tkhd", 40, 7, -(1 << 16), 0, 0, 0, 1 << 16)
    path.write_bytes(FTYP + box(b"moov", box(b"trak", unknown), box(b"trak", header(b"tkhd", 40, 0)[:-12])))
    assert not is_mirrored(path, 0)


# --- samples ---


def film(sizes: bytes, chunks: bytes, *more: bytes) -> bytes:
    """A track of which all samples are in one chunk."""
    tables = box(b"stbl", box(b"stsz", sizes), chunks, box(b"stsc", table(1, 1, 2, 1)), *more)
    return box(b"trak", box(b"tkhd", bytes(12), number(7), bytes(8)), box(b"mdia", box(b"minf", tables)))


@pytest.mark.parametrize("is_wide", [False, True])
def test_chunks_lie_at_places_of_32_or_64_bits(is_wide: bool, tmp_path: Path) -> None:
    chunks = box(b"co64", table(1), number(2**33, 8)) if is_wide else box(b"stco", table(1, 500))
    index = box(b"trak") + film(table(0, 2, 10, 20), chunks, box(b"stss", table(1, 2)))
    (tmp_path / "a.mp4").write_bytes(FTYP + box(b"moov", index))
    found = samples_in(tmp_path / "a.mp4", 1)
    assert found is not None
    first = 2**33 if is_wide else 500
    assert (found.offsets.tolist(), found.sizes.tolist()) == ([first, first + 10], [10, 20])
    assert found.syncs.tolist() == [1]
    assert samples_in(tmp_path / "a.mp4", 0) is None


@pytest.mark.parametrize("version", [0, 1])
def test_fragments_follow_what_the_index_tells_and_know_a_track_by_its_id(version: int, tmp_path: Path) -> None:
    tkhd = box(b"tkhd", bytes([version]), bytes(11 + 8 * version), number(7), bytes(8))
    tables = box(b"stbl", box(b"stsz", table(0, 1, 30)), box(b"stco", table(1, 400)), box(b"stsc", table(1, 1, 1, 1)))
    track = box(b"trak", tkhd, box(b"mdia", box(b"minf", tables)))
    index = FTYP + box(b"moov", track, box(b"mvex", box(b"trex", table(7, 1, 0, 9, 0x10000))))
    run = box(b"trun", number(1), number(2), number(60))
    moof = box(b"moof", box(b"traf", box(b"tfhd", number(0x20000), number(7)), run))
    (tmp_path / "a.mp4").write_bytes(index + moof)
    found = samples_in(tmp_path / "a.mp4", 0)
    assert found is not None
    assert found.offsets.tolist() == [400, len(index) + 60, len(index) + 69]
    assert (found.sizes.tolist(), found.syncs.tolist()) == ([30, 9, 9], [0])


@pytest.mark.parametrize("width", [1, 2, 4])
def test_key_frames_that_are_exact_are_found_whatever_their_units_sizes_have(width: int, tmp_path: Path) -> None:
    """Two samples: a message that says so, and one that does not."""
    exact, other = (number(len(of), width) + of + number(2, width) + b"\x01\x01" for of in (
        bytes([6, 6, 1, 0b11000100, 0x80]), bytes([6, 6, 1, 0b10000100, 0x80])))  # fmt: skip
    told = box(b"avcC", bytes([1, 100, 0, 31, 0xFC | (width - 1)]))
    head = FTYP + box(b"mdat", other, exact)
    start = len(FTYP) + 8
    path = tmp_path / "a.mp4"
    track = film(table(0, 2, len(other), len(exact)), box(b"stco", table(1, start)), box(b"stsd", told))
    path.write_bytes(head + box(b"moov", track))
    keys = np.array([0, 1])
    assert recovery_points(path, 0, keys, 2).tolist() == [1]
    assert recovery_points(path, 0, keys, 3).tolist() == [], "tables of another number of packets"
    assert recovery_points(path, 1, keys, 2).tolist() == []
