"""What files say of themselves in their first bytes, boxes, chunks and segments, over tables of files made by hand.

Nothing is decoded here. The texts are `tests/golden-surfaces/clip`; a file that is read otherwise
is a line that differs.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from support.surfaces import assert_as_it_was

from cosmos_ray.clip.boxes import bodies_of, boxes, first_box, index_of, tracks_of
from cosmos_ray.clip.container import check_container, kind_of
from cosmos_ray.clip.mirror import is_mirrored
from cosmos_ray.clip.parts import PartFile
from cosmos_ray.clip.pictures import look
from cosmos_ray.clip.recovery import recovery_points
from cosmos_ray.clip.samples import samples_in
from cosmos_ray.errors import RowError


def number(value: int, width: int = 4) -> bytes:
    return value.to_bytes(width, "big", signed=value < 0)


def said(make: Callable[[], Any]) -> str:
    try:
        return str(make())
    except (RowError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


# --- pictures ---


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return number(len(content)) + kind + content + number(zlib.crc32(kind + content))


def png(*chunks: bytes, header: bytes = number(64) + number(48) + bytes([8, 2, 0, 0, 0])) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", b"x") + chunk(b"IEND")


def exif(order: str, *entries: tuple[int, int]) -> bytes:
    def of(value: int, width: int) -> bytes:
        return value.to_bytes(width, order)  # type: ignore[arg-type]

    listed = b"".join(of(tag, 2) + of(3, 2) + of(1, 4) + of(value, 2) + b"\0\0" for tag, value in entries)
    return {"little": b"II*\0", "big": b"MM\0*"}[order] + of(8, 4) + of(len(entries), 2) + listed


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + number(2 + len(content), 2) + content


def frame(marker: int = 0xC0, bits: int = 8, height: int = 48, width: int = 64, colours: int = 3) -> bytes:
    return segment(marker, bytes([bits]) + number(height, 2) + number(width, 2) + bytes([colours]) + bytes(9))


def jpeg(*before: bytes, header: bytes = frame(), after: bytes = segment(0xDA, bytes(10))) -> bytes:
    return b"\xff\xd8" + b"".join(before) + header + after + b"x\xff\0x\xff\xd9"


def icc(*colours: tuple[float, float, float], names: tuple[bytes, ...] = (b"rXYZ", b"gXYZ", b"bXYZ")) -> bytes:
    """A profile with those primaries. Its tags lie one after the other behind their list."""
    start = 132 + 12 * len(colours)
    listed = b"".join(
        name + number(start + 20 * place) + number(20) for place, name in enumerate(names[: len(colours)])
    )
    values = b"".join(b"XYZ \0\0\0\0" + b"".join(number(round(one * 65536)) for one in of) for of in colours)
    return bytes(128) + number(len(colours)) + listed + values


P3 = icc((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841))
ADOBE = icc((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
SRGB = icc((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
FAR = icc((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249))
PHONE = b"Exif\0\0"


def in_png(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"a name\0\0" + zlib.compress(profile, 0))


def in_jpeg(profile: bytes, part: int = 1) -> bytes:
    return segment(0xE2, b"ICC_PROFILE\0" + bytes([part, 2]) + profile)


def places(*of_colours: int) -> bytes:
    return chunk(b"cHRM", b"".join(map(number, (31270, 32900, *of_colours))))


def size(height: int, width: int, *rest: int) -> bytes:
    return number(width) + number(height) + bytes([*rest, *[0] * (5 - len(rest))])


PNGS: dict[str, bytes] = {
    "plain": png(),
    **{f"kind {kind}": png(header=size(3, 5, 8, kind)) for kind in (0, 2, 3, 4, 6)},
    **{f"{bits} bits": png(header=size(3, 5, bits, 0)) for bits in (1, 4, 16)},
    "clear colour": png(chunk(b"tRNS", b"\0")),
    "turned": png(chunk(b"eXIf", exif("little", (0x0112, 6)))),
    "turned twice": png(chunk(b"eXIf", exif("big", (0x0112, 3))), chunk(b"eXIf", exif("big", (0x0112, 8)))),
    "animated": png(chunk(b"acTL", number(7) + number(0))),
    "animated, cut": png(chunk(b"acTL", b"")),
    "high, by number": png(chunk(b"cICP", bytes([9, 16, 0, 1]))),
    "hybrid, by number": png(chunk(b"cICP", bytes([12, 18, 0, 1]))),
    "by a number nobody knows": png(chunk(b"cICP", bytes([1, 11, 0, 1]))),
    "Display P3": png(in_png(P3)),
    "Display P3, though sRGB": png(chunk(b"sRGB", b"\0"), in_png(P3)),
    "Adobe": png(in_png(ADOBE)),
    "sRGB's": png(in_png(SRGB)),
    "far": png(in_png(FAR)),
    "two primaries": png(in_png(icc((0.6, 0.3, 0.0), (0.2, 0.6, 0.0)))),
    "profile that cannot be unpacked": png(chunk(b"iCCP", b"a\0\0what")),
    "profile without a name's end": png(chunk(b"iCCP", b"what")),
    "gamma of a Macintosh": png(chunk(b"gAMA", number(55556))),
    "gamma nearly sRGB's": png(chunk(b"gAMA", number(50000))),
    "gamma of nothing": png(chunk(b"gAMA", number(0))),
    "places of BT.2020": png(places(70800, 29200, 17000, 79700, 13100, 4600)),
    "places of BT.2020, nearly": png(places(69700, 30300, 17000, 79700, 13100, 5700)),
    "places nobody knows": png(places(70800, 29200, 17000, 79700, 13100, 9600)),
    "no pixels": png(header=size(0, 5, 8, 2)),
    "too large": png(header=size(5000, 9000, 8, 2)),
    "appended": png() + b"more" + png(chunk(b"acTL", number(3))),
    "cut in its end": png()[:-1],
    "cut before its end": png()[:-12],
    "cut header": png(header=b"\0\0\0\5"),
    "a chunk longer than the file": png()[:33] + number(2**31) + b"zTXt" + png()[33:],
}  # fmt: skip
JPEGS: dict[str, bytes] = {
    "plain": jpeg(),
    "grey": jpeg(header=frame(colours=1)),
    "print": jpeg(header=frame(colours=4)),
    **{f"marker {marker:#x}": jpeg(header=frame(marker)) for marker in (0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC9, 0xCC)},
    "12 bits": jpeg(header=frame(0xC1, 12)),
    "short header": jpeg(header=segment(0xC0, b"\x08\0\x30\0\x40")),
    "filled": jpeg(b"\xff\xff\xff"),
    "turned": jpeg(segment(0xE1, PHONE + exif("little", (0x010F, 1), (0x0112, 6)))),
    "turned, big": jpeg(segment(0xE1, PHONE + exif("big", (0x0112, 8)))),
    "turned by 9": jpeg(segment(0xE1, PHONE + exif("big", (0x0112, 9)))),
    "turned by 0": jpeg(segment(0xE1, PHONE + exif("little", (0x0112, 0)))),
    "turned, then another's words": jpeg(segment(0xE1, PHONE + exif("big", (0x0112, 8))), segment(0xE1, b"http://x\0")),
    "turned in a comment": jpeg(segment(0xE2, PHONE + exif("big", (0x0112, 8)))),
    "exif that is cut": jpeg(segment(0xE1, PHONE + exif("big", (0x0112, 8))[:-5])),
    "exif of no order": jpeg(segment(0xE1, PHONE + b"XX" + exif("big", (0x0112, 8))[2:])),
    "Display P3": jpeg(in_jpeg(P3)),
    "Display P3 in parts": jpeg(in_jpeg(P3), in_jpeg(FAR, 2)),
    "second part alone": jpeg(in_jpeg(P3, 2)),
    "far": jpeg(in_jpeg(FAR)),
    "profile behind the header": jpeg(header=frame() + in_jpeg(P3)),
    "filled before the scan": jpeg(after=b"\xff\xff" + segment(0xC4, bytes(9)) + segment(0xDA, bytes(10))),
    "no scan": jpeg(after=segment(0xC4, bytes(9))),
    "no header": jpeg(header=b""),
    "no end": jpeg()[:-2],
    "an end in a thumbnail alone": jpeg(segment(0xE1, b"x\xff\xd9"))[:-2],
    "appended": jpeg() + b"a video",
    "two": jpeg() * 2,
    "three": jpeg() * 3,
    "two of other sizes": jpeg() + jpeg(header=frame(height=24)),
    "two, apart": jpeg() + b"\0" + jpeg(),
    "gain map": jpeg(segment(0xE1, b"hdrgm:Version")) * 2,
    "gain map of the second": jpeg() + jpeg(segment(0xE1, b"hdrgm:Version")),
    "no pixels": jpeg(header=frame(width=0)),
    "too large": jpeg(header=frame(height=8000, width=8000)),
}


def test_what_pictures_say_of_themselves(tmp_path: Path) -> None:
    lines, path = [], tmp_path / "a"
    for kind, files in (("png", PNGS), ("jpg", JPEGS)):
        for name, content in files.items():
            path.write_bytes(content)
            lines.append(f"{kind}, {name} ({len(content)}): {said(lambda: look(path))}")
    assert_as_it_was("clip/picture_headers.txt", "\n".join(lines))


# --- videos ---


def box(kind: bytes, *content: bytes, form: str = "") -> bytes:
    """form: "wide" with a size of 64 bits, "open" up to the file's end."""
    body = b"".join(content)
    if form == "wide":
        return number(1) + kind + number(16 + len(body), 8) + body
    return number(0 if form == "open" else 8 + len(body)) + kind + body


def table(kind: bytes, *numbers: int, width: int = 4) -> bytes:
    return box(kind, bytes(4), *(number(one, width) for one in numbers))


def matrix(a: int, b: int, c: int, d: int) -> bytes:
    return b"".join(map(number, (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)))


UPRIGHT, MIRRORED, TURNED = matrix(1, 0, 0, 1), matrix(-1, 0, 0, 1), matrix(0, 1, -1, 0)


def header(kind: bytes, of: bytes, track: int = 7, version: int = 0) -> bytes:
    before = {(b"mvhd", 0): 36, (b"mvhd", 1): 48, (b"tkhd", 0): 40, (b"tkhd", 1): 52}[kind, version]
    body = bytearray(bytes([version]) + bytes(before - 1))
    if kind == b"tkhd":
        at = 12 if version == 0 else 20
        body[at : at + 4] = number(track)
    return box(kind, bytes(body), of)


def trak(*tables: bytes, of: bytes = UPRIGHT, track: int = 7, version: int = 0) -> bytes:
    inner = box(b"mdia", box(b"minf", box(b"stbl", *tables)))
    return box(b"trak", header(b"tkhd", of, track, version), inner)


#: Five samples of 10 to 50 bytes, two in each chunk but the last; the first and the fourth are key frames.
SIZES = table(b"stsz", 0, 5, 10, 20, 30, 40, 50)
RUNS, PLACES, KEYS = table(b"stsc", 2, 1, 2, 1, 3, 1, 1), table(b"stco", 3, 100, 400, 900), table(b"stss", 2, 1, 4)
WIDE_PLACES = box(b"co64", number(0), number(3), *(number(one, 8) for one in (100, 400, 900)))
FTYP, DATA = box(b"ftyp", b"isom", bytes(4)), box(b"mdat", bytes(60))
PLAIN = trak(SIZES, RUNS, PLACES, KEYS)
NO_SYNC = 0x10000
FRAGMENT = box(b"moof", box(b"mfhd"), box(
    b"traf", box(b"tfhd", number(0x20000), number(7)),
    box(b"trun", *map(number, (0x601, 2, 100, 30, 0, 50, NO_SYNC))),
))  # fmt: skip
OTHERS = FRAGMENT.replace(number(7), number(8), 1)
EXTENDS = box(b"mvex", box(b"trex", *map(number, (0, 7, 1, 0, 9, 0))))
EMPTY = trak(table(b"stsz", 0, 0), table(b"stsc", 0), table(b"stco", 0))

#: Bodies of an index.
INDICES: dict[str, bytes] = {
    "plain": PLAIN,
    "64 bits": trak(SIZES, RUNS, WIDE_PLACES, KEYS),
    "one size": trak(table(b"stsz", 25, 5), RUNS, PLACES),
    "keys out of order": trak(SIZES, RUNS, PLACES, table(b"stss", 2, 4, 1)),
    "fewer than promised": trak(SIZES, table(b"stsc", 1, 1, 1, 1), PLACES),
    "run that begins late": trak(SIZES, table(b"stsc", 1, 2, 5, 1), PLACES),
    "runs that go back": trak(SIZES, table(b"stsc", 3, 1, 2, 1, 3, 1, 1, 2, 1, 1), PLACES),
    "no runs": trak(SIZES, table(b"stsc", 0), PLACES),
    "cut": trak(SIZES, RUNS, table(b"stco", 4, 100)),
    "without sizes": trak(RUNS, PLACES),
    "without places": trak(SIZES, RUNS),
    "empty": EMPTY,
    "second": trak(table(b"stsz", 3, 1), table(b"stsc", 1, 1, 1, 1), table(b"stco", 1, 77), track=8) + PLAIN,
    "mirrored": header(b"mvhd", UPRIGHT) + trak(SIZES, RUNS, PLACES, of=MIRRORED),
    "turned": header(b"mvhd", UPRIGHT) + trak(SIZES, RUNS, PLACES, of=TURNED),
    "mirrored twice": header(b"mvhd", MIRRORED, version=1) + trak(SIZES, RUNS, PLACES, of=MIRRORED, version=1),
    "mirrored as a film": header(b"mvhd", MIRRORED) + trak(SIZES, RUNS, PLACES, of=TURNED, version=1),
    "no header": box(b"trak", box(b"mdia")),
    "fragments": EMPTY + EXTENDS,
    "fragments after the index": PLAIN + EXTENDS,
    "fragments of a track of another version": trak(SIZES, RUNS, PLACES, version=1) + EXTENDS,
    "units of two bytes": trak(SIZES, RUNS, PLACES, box(b"stsd", bytes(8), b"\0\0\0\x10avcC\1\2\3\4\xfd")),
}


#: A packet that begins with a message of exact recovery, its units' sizes in two bytes.
EXACT = b"\0\5\6\6\1\xc4\x80\0\2\x65\0".ljust(50, b"\0")


def test_what_an_index_says_of_its_tracks(tmp_path: Path) -> None:
    lines, path = [], tmp_path / "a.mp4"
    for name, body in INDICES.items():
        rest = (DATA + FRAGMENT + DATA + OTHERS + DATA) * (b"mvex" in body)
        path.write_bytes((FTYP + box(b"moov", body) + rest).ljust(900, b"\0") + EXACT)
        assert index_of(path) == body
        place = first_box(body, slice(0, len(body)), (b"trak", b"mdia", b"minf", b"stbl"))
        tables = [(kind.decode(), of.start, of.stop) for kind, of in boxes(body, place)] if place else None
        lines.append(f"{name}: {len(tracks_of(body))} tracks, tables {tables}")
        for track in range(3):
            found = samples_in(path, track)
            told = None if found is None else [one.tolist() for one in (found.offsets, found.sizes, found.syncs)]
            exact = recovery_points(path, track, np.array([0, 1, 4]), 5).tolist()
            others = recovery_points(path, track, np.array([4]), 4).tolist()
            lines.append(f"    {track}: {told} {is_mirrored(path, track)} {exact} {others}")
    assert_as_it_was("clip/indices.txt", "\n".join(lines))


MOOV = box(b"moov", PLAIN)
SIDX = box(b"sidx", bytes(12), number(0), number(0), number(1), number(2**31 + 76), bytes(8))
WIDE_SIDX = box(b"sidx", b"\1\0\0\0", bytes(8), number(0, 8), number(8, 8), number(1), number(68), bytes(8))
BLACK = box(b"free", bytes(10))

FILES: dict[str, bytes] = {
    "plain": FTYP + MOOV + DATA,
    "data first": FTYP + DATA + MOOV,
    "no kind": MOOV + DATA,
    "QuickTime": box(b"ftyp", b"qt  ") + MOOV + DATA,
    "picture": box(b"ftyp", b"avif") + MOOV + DATA,
    "wide": FTYP + box(b"moov", PLAIN, form="wide") + box(b"mdat", bytes(60), form="wide"),
    "open": FTYP + MOOV + box(b"mdat", bytes(60), form="open"),
    "open, index behind": FTYP + box(b"mdat", bytes(60), form="open") + MOOV,
    "two pieces of data": FTYP + MOOV + DATA + DATA,
    "two indices": FTYP + MOOV + MOOV + DATA,
    "no index": FTYP + DATA,
    "no data": FTYP + MOOV,
    "data that is cut": FTYP + MOOV + DATA[:-1],
    "data that is cut, no index": FTYP + DATA[:-1],
    "index that is cut": FTYP + DATA + MOOV[:-1],
    "beginning of a box": FTYP + DATA + MOOV[:5],
    "beginning of a wide box": FTYP + DATA + number(1) + b"moov\0\0",
    "size of 7": FTYP + DATA + number(7) + b"free" + MOOV,
    "appended": FTYP + MOOV + DATA + b"camera's words",
    "appended little": FTYP + MOOV + DATA + b"abc",
    "unknown between": FTYP + box(b"abcd", bytes(4)) + MOOV + DATA,
    "unknown, longer than the file": FTYP + number(999) + b"abcd" + MOOV + DATA,
    "fragments": FTYP + MOOV + (FRAGMENT + DATA) * 3,
    "fragments, header last": FTYP + MOOV + FRAGMENT + DATA + FRAGMENT,
    "fragments, cut in a header": FTYP + MOOV + FRAGMENT + DATA + FRAGMENT[:6],
    "fragments, appended": FTYP + MOOV + FRAGMENT + DATA + b"what a camera appends",
    "fragments, promised": FTYP + MOOV + SIDX + BLACK + FRAGMENT[:0] + DATA,
    "fragments, promised more": FTYP + MOOV + WIDE_SIDX + BLACK + DATA,
    "encrypted": FTYP + box(b"moov", box(b"stsd", bytes(8), number(90) + b"encv")) + DATA,
    "encrypted sound": FTYP + box(b"moov", box(b"stsd", bytes(8), number(90) + b"enca")) + DATA,
    "large free box": FTYP + box(b"free", bytes(400_000)) + MOOV + DATA,
    "large data": FTYP + box(b"mdat", bytes(400_000)) + MOOV,
    "large fragments": FTYP + MOOV + (FRAGMENT + box(b"mdat", bytes(300_000))) * 2,
    "small fragments": FTYP + MOOV + (FRAGMENT + DATA) * 17,
    "many boxes": FTYP + MOOV + DATA + BLACK * 40,
    "none": b"",
    "text": b"words and more words",
}


def test_what_files_are_and_what_is_fetched_of_them(tmp_path: Path) -> None:
    """Whole, and by parts: which bytes are asked for until it is known whether it has any."""
    lines, path = [], tmp_path / "a.mp4"
    for name, content in FILES.items():
        path.write_bytes(content)
        asked: list[tuple[int, int]] = []

        def read(start: int, stop: int, content: bytes = content, asked: list[tuple[int, int]] = asked) -> bytes:
            asked.append((start, stop))
            return content[start:stop]

        parts = PartFile(tmp_path / "part", len(content), read, lambda: None)
        laid = parts.lay()
        there = parts.path.read_bytes()
        wrong = [one for one in asked if there[slice(*one)] != content[slice(*one)]]
        lines.append(f"{name} ({len(content)}): {said(lambda: check_container(path))}")
        lines.append(f"    parts {laid} {asked}, {len(there)} bytes, otherwise {wrong}, kind {kind_of(content[:768])}")
        where = [(at, len(body)) for at, body in itertools.islice(bodies_of(path, b"moof"), 4)]
        lines.append(f"    fragments {where}, index {len(index_of(path))}")
    assert_as_it_was("clip/containers.txt", "\n".join(lines))
