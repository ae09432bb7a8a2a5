"""Conditioning frames of a clip from pictures, JPEG or PNG: data sets are mostly pictures.

What they say of themselves is read here: how large they are, of how many colours, how they were held (EXIF). ffmpeg
decodes them. A picture comes out upright, with the centre of a model's shape, 8 bits a colour, without transparency.

Legend: V views, n pictures a view, H/W height/width in pixels.
"""

from __future__ import annotations

import mmap
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cosmos_ray.clip.colour import HDR, WIDE, picture_to_bt709, to_bt709
from cosmos_ray.clip.conditioning import Conditioning, as_model_sees, in_words, of_view, picture_warnings, side_by_side
from cosmos_ray.clip.container import check_regular, kind_of
from cosmos_ray.clip.ffmpeg import FfmpegFailed, run
from cosmos_ray.clip.info import MAX_PIXELS, Tag, VideoInfo, too_slow
from cosmos_ray.clip.input_rules import DEFAULT_RULES, InputRules
from cosmos_ray.clip.memory import to_decode
from cosmos_ray.clip.png_colours import CHUNKS, colours_of
from cosmos_ray.clip.profile import OTHER, primaries_of
from cosmos_ray.clip.resize import BAND
from cosmos_ray.clip.several import pictures_in
from cosmos_ray.errors import RowError
from cosmos_ray.scratch import scratch

#: Largest file of one picture, bytes.
MAX_BYTES = 512 * 2**20
#: Most chunks or segments of a picture that are looked at: one of 8K, cut small, has some thousands.
_MAX_PARTS = 100_000
#: How one begins.
PNG = b"\x89PNG\r\n\x1a\n"
_AS_PNG = "`ffmpeg -i FILE -pix_fmt rgb24 OUT.png` makes one that will do"


@dataclass(frozen=True)
class Picture:
    """A file's own words. codec: mjpeg or png. height, width: pixels, as stored. orientation: EXIF's, 1 to 8.

    end: where the picture ends in the file; phones append videos and more. transfer, primaries: of its colour profile,
    in the words of `colours_of`. shown: how many pictures it shows one after the other, as an animation; held: how many
    there are in the file beside each other.
    """

    codec: str
    height: int
    width: int
    orientation: int = 1
    may_be_transparent: bool = False
    bits: int = 8
    end: int = 0
    transfer: str = ""
    primaries: str = ""
    shown: int = 1
    held: int = 1


def read_pictures(
    pictures: Sequence[Sequence[Path]],
    views: Sequence[str],
    size_hw: tuple[int, int],
    rules: InputRules = DEFAULT_RULES,
) -> Conditioning:
    """pictures: for each of `views` as many files, in order of time. `infos` has one of each, view after view.

    Raises RowError, naming the view, for what is wrong with the files.
    """
    count = len(pictures[0])
    frames = np.empty((len(views), count, *size_hw, 3), np.uint8)

    def read(place: int) -> tuple[VideoInfo, list[str]]:
        view, number = divmod(place, count)

        def decode() -> tuple[VideoInfo, list[str]]:
            path = pictures[view][number]
            try:
                found = look(path)
                picture, conversions, warnings = _decode(path, found)
            except RowError as error:
                raise RowError(f"picture {number + 1} of {count}: {error}", error.failure_class) from error
            frames[view, number] = as_model_sees(picture, size_hw, rules)
            info = _info(found, picture, conversions)
            return info, [*warnings, *picture_warnings(info, size_hw, rules)]

        return of_view(views[view], decode)

    read_ones = side_by_side(read, range(len(views) * count))
    said = [
        (views[place // count], text) for place, (_, texts) in enumerate(read_ones) for text in dict.fromkeys(texts)
    ]
    warnings = in_words(list(dict.fromkeys(said)), views)
    return Conditioning(frames, ((),) * len(views), tuple(info for info, _ in read_ones), warnings)


def look(path: Path) -> Picture:
    """A JPEG's or PNG's own words. Raises RowError for other kinds, other colours, a file that is cut, or too large."""
    check_regular(path, "a picture")
    if path.stat().st_size > MAX_BYTES:
        raise RowError(f"too large: a file of {path.stat().st_size} bytes, expected at most {MAX_BYTES}")
    with path.open("rb") as file:
        head = file.read(560)
        if not head.startswith((PNG, b"\xff\xd8\xff")):
            name, way = kind_of(head)
            way = _AS_PNG if "picture" in name else way
            raise RowError(f"not a JPEG or PNG: {name}" + (f" ({way})" if way else ""))
        # Mapped, not read: of a picture of hundreds of megabytes only what says something about it is looked at.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _png(data) if head.startswith(PNG) else _jpeg(data)
    if not found.height * found.width:
        raise RowError("damaged: a picture without pixels")
    if found.height * found.width > MAX_PIXELS:
        raise RowError(
            f"too large: a picture of {found.width}x{found.height}, expected at most {MAX_PIXELS} pixels (8K)"
        )
    return found


def read_picture(data: bytes) -> np.ndarray:
    """uint8 [H, W, 3], upright, of a JPEG or PNG. Raises RowError."""
    with scratch() as folder:
        path = folder / "picture"
        path.write_bytes(data)
        return _decode(path, look(path))[0]


def _decode(path: Path, found: Picture) -> tuple[np.ndarray, list[str], list[str]]:
    """(uint8 [H, W, 3] upright, conversions, warnings)."""
    demuxer = "png_pipe" if found.codec == "png" else "jpeg_pipe"
    channels = 4 if found.may_be_transparent else 3
    depth = np.dtype("<u2" if found.transfer else "u1")
    pixels = {(3, 1): "rgb24", (4, 1): "rgba", (3, 2): "rgb48le", (4, 2): "rgba64le"}[channels, depth.itemsize]
    source = ("-xerror", "-err_detect", "+crccheck+explode", "-max_pixels", str(MAX_PIXELS), "-noautorotate",
              "-f", demuxer, "-i", "pipe:0")  # fmt: skip
    output = ("-frames:v", "1", "-pix_fmt", pixels, "-f", "rawvideo", "pipe:1")
    try:
        raw = run((*source, *output), _beginning(path, found.end), _memory(found))
    except subprocess.TimeoutExpired as error:
        raise too_slow(path) from error
    except FfmpegFailed as error:
        raise error.of(path) from error
    if len(raw) != found.height * found.width * channels * depth.itemsize:
        raise RowError("damaged: the picture cannot be decoded")
    picture = np.frombuffer(raw, depth).reshape(found.height, found.width, channels)
    conversions, warnings = [], []
    if found.shown > 1:
        warnings.append(f"an animation of {found.shown} pictures, of which the first is taken")
    if found.held > 1:
        warnings.append(f"{found.held} pictures in one file, as of a stereo camera, of which the first is taken")
    if found.may_be_transparent:
        if picture[..., 3].min() < np.iinfo(depth).max:
            warnings.append("transparent pixels, shown on black")
        picture = _on_black(picture)
    if found.primaries == OTHER:
        warnings.append("a colour profile that is not known, and not applied: colours are taken for sRGB's")
    if found.transfer:
        picture = to_bt709(picture, found.transfer, found.primaries)
        conversions.append(f"{HDR[found.transfer]} to BT.709, white at 203 cd/m2")
    elif found.primaries in WIDE:
        picture = picture_to_bt709(picture, found.primaries)
        conversions.append(f"{WIDE[found.primaries]} to sRGB")
    if found.bits > 8:
        conversions.append(f"{found.bits} bits a colour to 8")
    if found.orientation != 1:
        conversions.append(f"turned upright (EXIF orientation {found.orientation})")
        picture = _upright(picture, found.orientation)
    return picture, conversions, warnings


def _beginning(path: Path, end: int) -> bytes:
    with path.open("rb") as file:
        return file.read(end)


def _memory(found: Picture) -> int:
    """Bytes that ffmpeg may take: the picture several times, with 8 bytes a pixel at most, and the file."""
    given = found.height * found.width // (1 if found.transfer else 2)
    return to_decode(found.height * found.width, given, found.bits > 8) + 2 * found.end


def _on_black(picture_HWC: np.ndarray) -> np.ndarray:
    """RGB of RGBA, some rows at a time."""
    out, most = np.empty((*picture_HWC.shape[:2], 3), picture_HWC.dtype), np.iinfo(picture_HWC.dtype).max
    for first in range(0, len(out), BAND):
        band = picture_HWC[first : first + BAND]
        out[first : first + BAND] = band[..., :3].astype(np.uint32) * band[..., 3:] // most
    return out


def _info(found: Picture, picture: np.ndarray, conversions: list[str]) -> VideoInfo:
    height, width = picture.shape[:2]
    matrix = Tag("gbr" if found.codec == "png" else "bt601", True)
    return VideoInfo(
        1, height, width, 0.0, codec=found.codec, field_order="progressive", matrix=matrix, range=Tag("pc", True),
        transfer=Tag(found.transfer or "iec61966-2-1", bool(found.transfer)), conversions=tuple(conversions),
    )  # fmt: skip


def _upright(picture_HWC: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF's tag 0x0112: which side of the stored picture is the scene's top, and which its left."""
    turned = picture_HWC.swapaxes(0, 1) if orientation >= 5 else picture_HWC
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def _png(data: mmap.mmap) -> Picture:
    """From the chunks (PNG, 5.3)."""
    at, chunks = len(PNG), dict[bytes, bytes]()
    for _ in range(_MAX_PARTS):
        if at + 12 > len(data):
            break
        size, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        if kind in (b"IHDR", b"tRNS", b"eXIf", b"acTL", b"IEND", *CHUNKS):
            chunks.setdefault(kind, bytes(data[at + 8 : at + 8 + min(size, 2**16)]))
        at += 12 + size
        if kind == b"IEND":
            break
    if b"IEND" not in chunks or at > len(data):
        raise RowError("truncated: the PNG does not end")
    header = chunks.get(b"IHDR", b"").ljust(13, b"\0")
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    transparent = header[9] in (4, 6) or b"tRNS" in chunks
    transfer, primaries = colours_of(chunks)
    orientation = _orientation(chunks.get(b"eXIf", b""))
    shown = int.from_bytes(chunks.get(b"acTL", b"\0\0\0\1")[:4], "big")  # APNG: frames of the animation
    return Picture("png", height, width, orientation, transparent, header[8], at, transfer, primaries, shown)


def _jpeg(data: mmap.mmap) -> Picture:
    """From the segments up to the first scan (ITU-T T.81, B.1)."""
    at, orientation, primaries, index = 2, 1, "", None
    for _ in range(_MAX_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:  # a filling byte
            at += 1
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + size]
        if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            orientation = _orientation(segment[6:])
        if marker == 0xE2 and segment.startswith(b"ICC_PROFILE\0\1"):  # the first part has what is looked for
            primaries = primaries_of(segment[14:])
        if marker == 0xE2 and segment.startswith(b"MPF\0"):
            index = at + 8
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(segment) >= 6:
            found = _jpeg_frame(data, at, marker, segment, orientation)
            _check_scan(data, at + 2 + size)
            held = pictures_in(data, at + 2 + size, index, (found.height, found.width))
            return replace(found, primaries=primaries, held=held)
        at += 2 + size
    raise RowError("damaged: a JPEG without a picture's header")


def _jpeg_frame(data: mmap.mmap, at: int, marker: int, segment: bytes, orientation: int) -> Picture:
    bits, height, width, colours = (
        segment[0], int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big"), segment[5],
    )  # fmt: skip
    if colours == 4:
        raise RowError(f"a JPEG for print (CMYK), expected RGB or grey: {_AS_PNG}")
    if marker > 0xC2 or bits != 8:
        raise RowError(f"a JPEG of a kind for archives (marker {marker:#04x}, {bits} bits a colour): {_AS_PNG}")
    end = data.rfind(b"\xff\xd9")
    if end < at:
        raise RowError("truncated: the JPEG does not end")
    return Picture("mjpeg", height, width, orientation, end=end + 2)


def _check_scan(data: mmap.mmap, at: int) -> None:
    """Raises RowError where no scan follows the picture's header: ffmpeg then shows a grey one."""
    for _ in range(_MAX_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] in (0xD9, 0xDA):
            break
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if data[at : at + 2] != b"\xff\xda":
        raise RowError("truncated: a JPEG without its picture")


def _orientation(exif: bytes) -> int:
    """EXIF's orientation; 1 (upright) where it says nothing that makes sense."""
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return 1

    def number(start: int, size: int) -> int:
        return int.from_bytes(exif[start : start + size], order)  # type: ignore[arg-type]

    first = number(4, 4)
    for entry in range(first + 2, min(first + 2 + 12 * number(first, 2), len(exif) - 11), 12):
        if number(entry, 2) == 0x0112:
            found = number(entry + 8, 2)
            return found if 1 <= found <= 8 else 1
    return 1
