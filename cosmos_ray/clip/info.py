"""What a video file says of itself.

Three sources were weighed. The boxes of the container are exact about tracks and times, but colour and fields mostly
stand in the codec's own headers, and edit lists, fragments and 20 years of writers would have to be read here a second
time, just as the decoder will read them. Decoding all frames (`showinfo`) is exact about everything, and costs what it
costs. So ffmpeg, which decodes in the end, is asked for what it knows before it decodes: here for its description of
the streams, in which headers of container and codec are merged as its decoder will take them; in `packets` for the
times of the frames. Nothing is derived that the decoder could see otherwise, and what frames turn out to be is checked
when they are read (`frames`).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from cosmos_ray.clip.ffmpeg import TIMEOUT_S, FfmpegFailed, piped
from cosmos_ray.clip.mirror import is_mirrored
from cosmos_ray.errors import RowError

#: Largest input picture, pixels (8K): a header that claims more must not exhaust the memory of a gang.
MAX_PIXELS = 7680 * 4320

#: Pictures of more pixels (4K) are made smaller before they leave ffmpeg: 17 wait there, three bytes a pixel.
MAX_GIVEN = 3840 * 2160
#: Most pixels that are decoded for a clip's frames, of all frames from the key frame before them.
MAX_DECODED = 10**11

#: Tracks that refer to each other (time codes, chapters, a telephone's notes) are described as a group, further right.
_STREAM = re.compile(r"^(?:  )+Stream #0:(\d+)(?:\[0x[0-9a-f]+\])?(?:\([^)]*\))?: (\w+): (.*)$")
_ROTATION = re.compile(r"display ?matrix: rotation of (-?[\d.]+)", re.IGNORECASE)
#: Columns at the left and the right, rows above and below that the file hides; ffmpeg obeys it from 7.1 on, and tells.
_CROPPING = re.compile(r"frame cropping: (\d+)/(\d+)/(\d+)/(\d+)", re.IGNORECASE)
_DOLBY = re.compile(r"DOVI configuration record: .*profile: (\d+).*compatibility id: (\d+)")
#: How two pictures lie in a frame, and what kind of picture a camera makes that looks all round, in ffmpeg's words.
_STEREO = re.compile(r"stereo ?3d: ([^,(\n]+)", re.IGNORECASE)
_SPHERE = re.compile(r"spherical(?: mapping)?: ([^,(\n]+)", re.IGNORECASE)
#: What is one flat picture, whatever else is said of it.
_ONE_FLAT = ("2D", "unspecified", "rectilinear")
_FIELDS = {
    "progressive": "progressive",
    "top first": "top first",
    "bottom first": "bottom first",
    # Writers do not agree on what these say (ffmpeg's own MPEG-2 has them for fields in order): the frames will tell.
    "top coded first (swapped)": "unknown",
    "bottom coded first (swapped)": "unknown",
}


@dataclass(frozen=True)
class Tag:
    """A fact about colour in ffmpeg's words, and whether the file says so or it is assumed."""

    value: str
    is_tagged: bool

    def __str__(self) -> str:
        return self.value if self.is_tagged else f"{self.value} (assumed)"


@dataclass(frozen=True)
class Stream:
    """One video stream as it is described. track: its number in the file, from 0, audio counted.

    height, width: stored pixels that are shown; pixel_aspect: width of a pixel to its height, as stored; rotation:
    degrees, and then perhaps mirrored.
    matrix, primaries, transfer, range: "" where the file does not say. dolby: (profile, compatibility) of Dolby Vision.
    stereo, sphere: in ffmpeg's words, "" for one flat picture.
    """

    track: int
    codec: str
    pixel_format: str
    height: int
    width: int
    pixel_aspect: Fraction = Fraction(1)
    rotation: float = 0.0
    is_mirrored: bool = False
    field_order: str = "unknown"
    matrix: str = ""
    primaries: str = ""
    transfer: str = ""
    range: str = ""
    is_default: bool = False
    dolby: tuple[int, int] | None = None
    stereo: str = ""
    sphere: str = ""

    @property
    def upright(self) -> Stream:
        """With height, width and pixel aspect as they are after the rotation."""
        if abs(abs(self.rotation) % 180 - 90) > 1:
            return self
        return replace(self, height=self.width, width=self.height, pixel_aspect=1 / self.pixel_aspect)


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video and what is made of it. All sizes are pixels.

    frames: what a decoder gives, edit lists obeyed. height, width: upright, of square pixels. fps: frames a second,
    mean. track: the stream's number in the file. pixel_aspect: of the file, upright, as `4:3`. field_order:
    progressive, top first, bottom first or unknown. conversions: what is done to its frames before a model sees them.
    container: mp4 or mov.
    warnings: what is doubtful in it.
    """

    frames: int
    height: int
    width: int
    fps: float
    is_variable: bool = False
    track: int = 0
    codec: str = ""
    pixel_aspect: str = "1:1"
    field_order: str = "unknown"
    matrix: Tag = Tag("bt601", False)
    range: Tag = Tag("tv", False)
    transfer: Tag = Tag("bt709", False)
    conversions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    container: str = "mp4"


def input_arguments(path: Path) -> tuple[str, ...]:
    """ffmpeg's arguments for a file from outside: nothing but an mp4, and nothing that it refers to."""
    return ("-max_pixels", str(MAX_PIXELS), "-f", "mov", "-enable_drefs", "0", "-i", f"file:{path.absolute()}")


def describe(path: Path) -> tuple[Stream, ...]:
    """The video streams of a file, at least one. Raises RowError: "no video stream", "damaged: ..."."""
    lines: list[str] = []
    try:
        with piped(input_arguments(path), on_log=lines.append):
            pass
    except subprocess.TimeoutExpired as error:
        raise too_slow(path) from error
    except FfmpegFailed as error:  # always: no output was asked for
        if not any(line.startswith("Input #0") for line in lines):
            raise error.of(path) from error
    streams = tuple(_streams(lines))
    if not streams:
        raise RowError("no video stream")
    if not any(map(_ROTATION.search, lines)):
        return streams
    return tuple(replace(stream, is_mirrored=is_mirrored(path, stream.track)) for stream in streams)


def default_stream(streams: Sequence[Stream]) -> Stream:
    """The one marked default, as players take it; else the first."""
    return next((stream for stream in streams if stream.is_default), streams[0])


def too_slow(path: Path) -> RowError:
    """Of an ffmpeg that has not come through a file in its time."""
    return RowError(f"reading {path.name} took more than {TIMEOUT_S} s", "timeout")


def _streams(lines: Sequence[str]) -> Iterator[Stream]:
    """Video streams of a description in the order of the file, each once; attached pictures are none."""
    blocks: list[tuple[re.Match[str], list[str]]] = []
    seen: set[str] = set()
    for line in lines:
        if found := _STREAM.match(line):
            blocks.append((found, []))
        elif blocks:
            blocks[-1][1].append(line)
    for found, rest in sorted(blocks, key=lambda block: int(block[0].group(1))):
        number, kind, text = found.groups()
        if number in seen:  # it is in several groups
            continue
        seen.add(number)
        if kind == "Video" and "(attached pic)" not in text and "(timed thumbnails)" not in text:
            yield _stream(int(number), text, "\n".join(rest))


def _stream(number: int, text: str, side_data: str) -> Stream:
    """From a line such as `h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709, progressive), 160x96 [SAR 1:1 ...`."""
    parts = _split(text)
    size = next((re.match(r"(\d+)x(\d+)(?: |$)", part) for part in parts if re.match(r"\d+x\d+(?: |$)", part)), None)
    # Where the container says another shape than the codec (`ffmpeg -c copy -aspect`), it comes last, and holds.
    aspect = next(reversed(list(re.finditer(r"SAR (\d+):(\d+)", text))), None)
    pixel_format, _, inner = (parts[1] if len(parts) > 1 else "").partition("(")
    colour: dict[str, str] = {}
    for word in _split(inner.removesuffix(")")):
        if word in ("tv", "pc"):
            colour["range"] = word
        elif word in _FIELDS:
            colour["field_order"] = _FIELDS[word]
        elif not word.endswith(" bpc") and word:
            names = word.split("/") * (3 if "/" not in word else 1)
            for key, name in zip(("matrix", "primaries", "transfer"), names, strict=False):
                colour[key] = "" if name in ("unknown", "reserved") else name
    rotation, dolby = _ROTATION.search(side_data), _DOLBY.search(side_data)
    cropping = _CROPPING.search(side_data)
    left, right, above, below = map(int, cropping.groups()) if cropping else (0, 0, 0, 0)
    return Stream(
        number,
        parts[0].partition(" ")[0],
        pixel_format,
        max(int(size.group(2)) - above - below, 0) if size else 0,
        max(int(size.group(1)) - left - right, 0) if size else 0,
        Fraction(int(aspect.group(1)), int(aspect.group(2))) if aspect and "0" not in aspect.groups() else Fraction(1),
        float(rotation.group(1)) if rotation else 0.0,
        is_default="(default)" in text,
        is_mirrored=False,  # it does not tell
        dolby=(int(dolby.group(1)), int(dolby.group(2))) if dolby else None,
        stereo=_unless_flat(_STEREO.search(side_data)),
        sphere=_unless_flat(_SPHERE.search(side_data)),
        **colour,
    )


def _unless_flat(found: re.Match[str] | None) -> str:
    said = found.group(1).strip() if found else ""
    return "" if said in _ONE_FLAT else said


def _split(text: str) -> list[str]:
    """Parts between commas that stand in no brackets, however deep: `yuv420p(tv, top coded first (swapped))` is one."""
    parts, depth = [""], 0
    for letter in text:
        depth = max(depth + (letter in "([") - (letter in ")]"), 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
