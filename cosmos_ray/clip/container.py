"""What kind of file is this, and is all of it there? Looked up in the file itself, before ffmpeg sees it.

A file's first bytes tell its kind. Kinds that people bring are named, with the way out; of others nothing is quoted: a
reference may lead to any file, and what stands in it is nobody's business. Of an mp4 the boxes are walked (ISO
14496-12, 4.2): ffmpeg reads a file whose end is missing as far as it goes, and may call that a success.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from cosmos_ray.errors import RowError

#: Boxes an ISO base media (or older QuickTime) file may begin with.
_FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"})
#: Boxes of the top level that are read here or that may stand between those.
_BOXES = _FIRST_BOXES | {b"sidx", b"mfra", b"emsg", b"prft", b"ssix", b"meta", b"udta", b"pdin", b"imda", b"sefd"}
_PICTURE_BRANDS = {b"heic", b"heix", b"heim", b"mif1", b"avif", b"avis"}
#: A sample description (8.5.2) whose first entry says that the samples are encrypted (ISO 23001-7).
_ENCRYPTED = re.compile(rb"stsd.{12}encv", re.DOTALL)
#: Bytes of a file's beginning that tell its kind.
HEAD = 768
#: Of files that are no video: a table, and what nobody knows.
PARQUET, UNKNOWN = "Parquet", "no known kind of file"
#: Largest index, and so many bytes of it are looked through at a time; most boxes of the top level. A video of 100,000
#: frames has an index of some megabytes, and twice as many boxes if each frame is a fragment.
_MAX_INDEX, _PIECE, _MAX_BOXES = 256 * 2**20, 2**20, 250_000
#: Bytes of what `_ENCRYPTED` looks for.
_OVERLAP = 20

_REMUX = "`ffmpeg -i FILE -c copy OUT.mp4` makes an mp4 of it"
_RECODE = "`ffmpeg -i FILE OUT.mp4` makes an mp4 of it"
_TABLE = "save it as `CSV UTF-8`, which `manifest from-table` reads"
_PICTURES = "pictures go into `input_frames`"


def _at(offset: int, *magics: bytes) -> Callable[[bytes], bool]:
    return lambda head: any(head.startswith(magic, offset) for magic in magics)


def _packets(size: int) -> Callable[[bytes], bool]:
    """Of a transport stream, each of which begins with a G; a recording may begin within one."""
    return lambda head: any(set(head[at::size]) == {0x47} for at in range(size)) and len(head) > 3 * size


def _is_text(head: bytes, *beginnings: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(beginnings)


#: (is it this?, name, the way out). The first that fits holds.
_KINDS: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (_at(0, b"\x1aE\xdf\xa3"), "Matroska or WebM", _REMUX),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"AVI ", "AVI", _REMUX),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", "a WebP picture", _PICTURES + " as JPEG or PNG"),
    (_packets(188), "MPEG-TS", _REMUX),
    (_packets(192), "MPEG-TS (m2ts)", _REMUX),
    (_at(0, b"\x00\x00\x01\xba"), "an MPEG program stream", _REMUX),
    (_at(0, b"\x00\x00\x01\xb3", b"\x00\x00\x01\xb0"), "a bare MPEG video stream", _REMUX),
    (_at(0, b"\x06\x0e\x2b\x34"), "MXF", _REMUX),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WAVE", "sound alone", ""),
    (_at(0, b"ID3"), "sound alone", ""),
    (_at(0, b"\x00\x00\x00\x01", b"\x00\x00\x01\x67", b"\x00\x00\x01\x09"), "a bare H.264 or HEVC stream", _REMUX),
    (_at(0, b"FLV\x01"), "Flash video", _REMUX),
    (_at(0, b"OggS"), "Ogg", _RECODE),
    (_at(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "Windows Media", _RECODE),
    (_at(0, b"DKIF"), "IVF", _REMUX),
    (_at(0, b"YUV4MPEG2"), "a bare YUV4MPEG stream", _RECODE),
    (_at(0, b"\xff\xd8\xff"), "a JPEG picture", _PICTURES),
    (_at(0, b"\x89PNG"), "a PNG picture", _PICTURES),
    (_at(0, b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "a JPEG 2000 picture", _PICTURES + " as JPEG or PNG"),
    (_at(0, b"\0\0\0\x0cJXL ", b"\xff\x0a"), "a JPEG XL picture", _PICTURES + " as JPEG or PNG"),
    (_at(0, b"GIF8"), "a GIF picture", _RECODE),
    (_at(0, b"II*\0", b"MM\0*", b"BM"), "a TIFF or BMP picture", _PICTURES + " as JPEG or PNG"),
    (lambda head: head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS, "a HEIF or AVIF picture",
     _PICTURES + " as JPEG or PNG"),
    (_at(0, b"version https://git-lfs"), "a Git LFS pointer, not the file it stands for",
     "`git lfs pull` fetches it"),
    (_at(0, b"/annex/objects/"), "a pointer of git-annex, not the file it stands for", "`git annex get` fetches it"),
    (_at(0, b"\x1f\x8b"), "gzip", "unpack it first"),
    (lambda head: head[:4] == b"PK\x03\x04" and (b"[Content_Types].xml" in head or b"xl/" in head), "an Excel file",
     _TABLE),
    (_at(0, b"PK\x03\x04", b"(\xb5/\xfd", b"\xfd7zXZ", b"BZh", b"7z\xbc\xaf", b"Rar!"), "an archive",
     "unpack it first"),
    (_at(257, b"ustar"), "a tar archive", "unpack it first"),
    (lambda head: _is_text(head, b"<!doctype html", b"<html", b"<head"), "an HTML page",
     "an error page or a login was stored in its place"),
    (lambda head: _is_text(head, b"<?xml", b"<error"), "XML", "an answer of a store was stored in its place?"),
    (lambda head: _is_text(head, b"#extm3u", b"ffconcat"), "a playlist", "name the videos themselves"),
    (_at(0, b"PAR1"), PARQUET, "name the videos themselves"),
    (_at(0, b"ARROW1"), "an Arrow table", ""),
    (_at(0, b"ORC"), "an ORC table", ""),
    (_at(0, b"Obj\x01"), "an Avro table", ""),
    (_at(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an Excel file, of old", _TABLE),
    (_at(0, b"SQLite format 3\0"), "a SQLite database", ""),
    (_at(0, b"\x89HDF", b"\x93NUMPY"), "an array", _PICTURES + " as JPEG or PNG"),
    (_at(0, b"%PDF"), "a PDF", ""),
    (_at(0, b"#ROSBAG", b"\x89MCAP"), "a robot's log", "extract its videos or pictures first"),
    (_at(4, *_FIRST_BOXES), "an mp4 or QuickTime video", "videos go into `input_video` or `input_videos`"),
)  # fmt: skip


def kind_of(head: bytes) -> tuple[str, str]:
    """(name, the way out) of a file that begins with `head`. Never says what stands in it."""
    if not head:
        return "an empty file", ""
    return next(((name, way) for fits, name, way in _KINDS if fits(head)), (UNKNOWN, ""))


def check_container(path: Path) -> str:
    """Is this an mp4 (or QuickTime, .mov), is all of it there, and may it be read? `mp4` or `mov`.

    Raises RowError: "no such file: ...", "not an mp4: ...", "truncated: ...", "encrypted: ...".
    """
    check_regular(path)
    total = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
        if head[4:8] not in _FIRST_BOXES or (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS):
            name, way = kind_of(head)
            raise RowError(f"not an mp4: {name}" + (f" ({way})" if way else ""))
        _walk(file, total)
    return "mp4" if head[4:8] in (b"ftyp", b"styp") and head[8:12] != b"qt  " else "mov"


def check_regular(path: Path, expected: str = "an mp4") -> None:
    """Raises RowError for what is no file, or is not there."""
    if not path.exists():
        raise RowError(f"no such file: {path.name}")
    if not stat.S_ISREG(path.stat().st_mode):
        raise RowError(f"not {expected}: {path.name} is not a regular file")


def _walk(file: BinaryIO, total: int) -> None:
    """The boxes of the top level, one after the other."""
    seen: set[bytes] = set()
    offset, last, boxes, index = 0, b"", 0, 0
    while offset < total:
        boxes += 1
        if boxes > _MAX_BOXES:
            raise RowError(f"too many boxes: found more than {_MAX_BOXES} at the top level ({_REMUX})")
        file.seek(offset)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if seen >= {b"moov", b"mdat"} and (len(head) < 8 or kind not in _BOXES) and b"moof" not in seen:
            break  # all that matters was there; what follows is ours to ignore
        if len(head) < (16 if size == 1 else 8):
            raise RowError(f"truncated: {len(head)} bytes of a box's beginning at the end")
        if kind not in _BOXES and b"moof" in seen:
            break
        if size == 1:  # the 64-bit form
            size = int.from_bytes(head[8:16], "big")
        elif size == 0:  # up to the end of the file
            size = total - offset
        if size < 8:
            raise RowError(f"not an mp4: the box at byte {offset} claims a size of {size} bytes")
        if offset + size > total:
            raise RowError(
                f"truncated: box {_shown(kind)} has {total - offset} of its {size} bytes"
                + ("" if b"moov" in seen else ", and there is no index (box 'moov') before it")
            )
        if kind == b"moov":
            index += size
            if index > _MAX_INDEX:
                raise RowError(f"too large: an index (box 'moov') of {index} bytes, expected at most {_MAX_INDEX}")
            _check_encryption(file, offset, size)
        elif kind == b"sidx":
            _check_promised(file, offset, size, total)
        seen.add(kind)
        last = kind if kind in (b"moof", b"mdat") else last
        offset += size
    if b"moov" not in seen:
        raise RowError("truncated: there is no index (box 'moov')")
    if last == b"moof":
        raise RowError("truncated: the last fragment's header (box 'moof') has no data after it")


def _shown(kind: bytes) -> str:
    """A box's name is quoted only where it is one: in a file of another kind it could be anything."""
    return repr(kind.decode("latin-1")) if kind in _BOXES else "of no known name"


def _check_encryption(file: BinaryIO, offset: int, size: int) -> None:
    file.seek(offset)
    before = b""
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        if _ENCRYPTED.search(before + piece):
            raise RowError("encrypted: the video is under Common Encryption (DRM); expected one that is not")
        before = piece[-_OVERLAP:]
        size -= len(piece)


def _check_promised(file: BinaryIO, offset: int, size: int, total: int) -> None:
    """A segment index (ISO 14496-12, 8.16.3) says how many bytes of fragments follow it."""
    file.seek(offset + 8)
    box = file.read(min(size, 2**24) - 8)
    wide = box[:1] != b"\0"
    numbers = 12 + (8 if wide else 4)  # version, flags, reference and time scale, earliest time
    first = int.from_bytes(box[numbers : numbers + (8 if wide else 4)], "big")
    entries = numbers + (8 if wide else 4) + 4
    count = int.from_bytes(box[entries - 2 : entries], "big")
    sizes = (int.from_bytes(box[at : at + 4], "big") & 0x7FFFFFFF for at in range(entries, entries + 12 * count, 12))
    end = offset + size + first + sum(sizes)
    if end > total:
        raise RowError(f"truncated: the segment index (box 'sidx') promises {end} bytes, the file has {total}")
