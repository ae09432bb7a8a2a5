"""What a video's facts mean for its frames: each is taken as it is, converted, or refused by name.

A model knows upright pictures of square pixels, whole ones, in BT.709's colours for an SDR display. Where a file does
not say what its colours are they stay as the published reader has them: BT.601's matrix, of limited range.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from cosmos_ray.clip.colour import HDR, WIDE
from cosmos_ray.clip.ffmpeg import check_ffmpeg
from cosmos_ray.clip.info import MAX_GIVEN, MAX_PIXELS, Stream, Tag, VideoInfo
from cosmos_ray.clip.memory import LOOK, to_decode
from cosmos_ray.clip.packets import Packets
from cosmos_ray.errors import RowError

#: From this height on, untagged video is likelier BT.709 than BT.601.
_HD = 720
_WIDEST_PIXEL = 4
#: Field orders of pictures that are two moments in one.
_INTERLACED = ("top first", "bottom first")
#: Pixel formats with an alpha plane; of `pal8` nobody knows.
_TRANSPARENT = re.compile(r"yuva|gbrap|rgba|bgra|argb|abgr|ya\d|ayuv|vuya")
#: How ffmpeg scales, and converts colours, the same on every machine.
SCALED = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_MATRICES = frozenset({"bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc", "gbr", ""})
_SDR = frozenset(
    {"", "bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "iec61966-2-1", "iec61966-2-4", "bt1361e"}
    | {"bt2020-10", "bt2020-12"}
)
#: Primaries whose colours would be seen to change, and that nobody films in.
_FAR = frozenset({"bt470m", "film", "smpte428", "smpte431"})
_AS_BT709 = "`ffmpeg -i FILE -vf scale=out_color_matrix=bt709 -colorspace bt709 -color_trc bt709 OUT.mp4`"


@dataclass(frozen=True)
class Treatment:
    """How ffmpeg and then `colour` make a stream's frames into a model's.

    height, width: of the frames. source_hw: upright, before anything else is done to them. deinterlace: filter before
    frames are chosen, or "". shape: filter after, or "".
    transfer, primaries: those that `colour.to_bt709` has to take away, or "" for a stream that is SDR and not wide.
    memory: bytes that ffmpeg may take for it.
    """

    height: int
    width: int
    source_hw: tuple[int, int]
    deinterlace: str = ""
    shape: str = ""
    transfer: str = ""
    primaries: str = ""
    memory: int = field(default=LOOK, compare=False)

    @property
    def is_recoloured(self) -> bool:
        return bool(self.transfer or self.primaries)


def accept(streams: Sequence[Stream], stream: Stream, packets: Packets) -> tuple[VideoInfo, Treatment]:
    """What is known of the video, and what is done to its frames. Raises RowError for what is refused."""
    stream = stream.upright
    _refuse(stream)
    treatment = _treatment(stream)
    height, width, _ = _squared(stream)
    matrix, levels, transfer = _colours(stream)
    info = VideoInfo(
        frames=len(packets.times),
        height=height,
        width=width,
        fps=packets.fps,
        is_variable=packets.is_variable,
        track=stream.track,
        codec=stream.codec,
        pixel_aspect=_ratio(stream.pixel_aspect),
        field_order=stream.field_order,
        matrix=matrix,
        range=levels,
        transfer=transfer,
        conversions=tuple(_conversions(stream, treatment)),
        warnings=(*_of_tracks(streams, stream), *_of_colours(stream, matrix), *_of_pictures(stream)),
    )
    return info, treatment


def _treatment(stream: Stream) -> Treatment:
    height, width, shape = _squared(stream)
    given_height, given_width = _given(height, width)
    if (given_height, given_width) != (height, width):
        shape = f"scale={given_width}:{given_height}:{SCALED}"
    return Treatment(
        height=given_height,
        width=given_width,
        source_hw=(stream.height, stream.width),
        deinterlace=deinterlacer() if stream.field_order in _INTERLACED else "",
        shape=shape,
        transfer=stream.transfer if stream.transfer in HDR else "",
        primaries=stream.primaries if stream.primaries in WIDE else "",
        memory=_memory(stream),
    )


def _conversions(stream: Stream, treatment: Treatment) -> Iterator[str]:
    """What is done to the frames, in words, in the order in which it is done."""
    yield from _upright(stream)
    if treatment.deinterlace:
        yield f"deinterlaced ({stream.field_order}), one frame a frame"
    height, width, squared = _squared(stream)
    if squared:
        yield f"pixels of {_ratio(stream.pixel_aspect)} made square: {width}x{height}"
    if (treatment.height, treatment.width) != (height, width):
        yield f"scaled to {treatment.width}x{treatment.height} first"
    if treatment.transfer:
        yield f"{HDR[treatment.transfer]} to BT.709, white at 203 cd/m2"
    elif treatment.primaries:
        yield f"{WIDE[treatment.primaries]} primaries to BT.709"


def _of_tracks(streams: Sequence[Stream], stream: Stream) -> Iterator[str]:
    """A warning, where a file has more tracks than the one that is taken."""
    if len(streams) > 1:
        number = 1 + [one.track for one in streams].index(stream.track)
        which = "the default one" if stream.is_default else "as none is marked default"
        yield f"{len(streams)} video tracks: number {number} ({stream.width}x{stream.height}) is taken, {which}"


def _of_colours(stream: Stream, matrix: Tag) -> Iterator[str]:
    """Warnings of colours that may not be what they are taken for."""
    if stream.transfer not in HDR and stream.primaries in _FAR:
        yield f"primaries {stream.primaries}, which are not converted: colours are taken for BT.709's"
    if not matrix.is_tagged and matrix.value == "bt601" and stream.height >= _HD:
        yield "matrix assumed: BT.601, as the published reader has it; a video of this size may be BT.709"
    if stream.matrix == "bt2020nc" and not stream.transfer:
        yield "BT.2020's matrix without a transfer: taken for SDR, of BT.709's colours; HDR would look pale"


def _of_pictures(stream: Stream) -> Iterator[str]:
    """Warnings of pictures that are more than a flat, opaque one."""
    if stream.stereo:
        yield f"stereo 3D ({stream.stereo}): the pictures of two eyes in each frame, taken as one"
    if stream.sphere:
        yield f"a spherical picture ({stream.sphere}), taken as a flat one"
    if _TRANSPARENT.match(stream.pixel_format):
        yield "transparency (alpha), which is not used: pixels have the colours that lie beneath it"


def deinterlacer() -> str:
    """The filter that makes whole frames of fields, one a frame. RowError if this ffmpeg has none."""
    name = next((name for name in ("bwdif", "yadif") if name in check_ffmpeg().filters), None)
    if name is None:
        raise RowError("interlaced, and this ffmpeg has no filter bwdif or yadif: deinterlace the video first")
    return f"{name}=mode=send_frame:parity=auto:deint=all"


def _refuse(stream: Stream) -> None:
    if abs((stream.rotation + 45) % 90 - 45) > 1:
        raise RowError(
            f"turned by {abs(stream.rotation):g} degrees, expected a multiple of 90: "
            "`ffmpeg -display_rotation 0 -i FILE -c copy OUT.mp4` shows it as it is stored"
        )
    if not stream.height or not stream.width:
        raise RowError(f"damaged: the video stream ({stream.codec}) does not say how large its pictures are")
    height, width, _ = _squared(stream)
    if max(stream.height * stream.width, height * width) > MAX_PIXELS:
        raise RowError(
            f"too large: pictures of {width}x{height} pixels, expected at most {MAX_PIXELS} pixels (8K); "
            "`ffmpeg -i FILE -vf scale=1920:-2 OUT.mp4` makes them smaller"
        )
    if not 1 / _WIDEST_PIXEL <= stream.pixel_aspect <= _WIDEST_PIXEL:
        raise RowError(f"pixels of {_ratio(stream.pixel_aspect)}: expected 1:{_WIDEST_PIXEL} to {_WIDEST_PIXEL}:1")
    if stream.dolby and stream.dolby[1] == 0:
        raise RowError(f"Dolby Vision of profile {stream.dolby[0]}, which no other decoder can show: {_AS_BT709}")
    if stream.matrix not in _MATRICES:
        raise RowError(f"colour matrix {stream.matrix}: expected one of {_listed(_MATRICES)}; convert it: {_AS_BT709}")
    if stream.transfer not in _SDR | HDR.keys():
        raise RowError(
            f"transfer {stream.transfer}: expected one of {_listed(_SDR | HDR.keys())}; convert it: {_AS_BT709}"
        )
    if stream.codec == "none":
        raise RowError("a codec that this ffmpeg does not know")


def _upright(stream: Stream) -> list[str]:
    """What the file's matrix has ffmpeg do to its pictures, if anything."""
    degrees = abs(round(stream.rotation))
    if not stream.is_mirrored:
        return [f"turned upright by {abs(stream.rotation):g} degrees"] if degrees else []
    if degrees == 90:
        return ["turned upright by 90 degrees and mirrored"]
    return ["mirrored, left for right" if degrees else "mirrored, top for bottom"]


def _squared(stream: Stream) -> tuple[int, int, str]:
    """Height and width with square pixels, the longer side of each grown so that nothing is lost; filter or ""."""
    aspect = stream.pixel_aspect
    if aspect == 1:
        return stream.height, stream.width, ""
    height = round(stream.height / aspect) if aspect < 1 else stream.height
    width = round(stream.width * aspect) if aspect > 1 else stream.width
    if (height, width) == (stream.height, stream.width):
        return height, width, ""
    return height, width, f"scale={width}:{height}:{SCALED}"


def _given(height: int, width: int) -> tuple[int, int]:
    """What leaves ffmpeg: of the same shape, of MAX_GIVEN pixels at most."""
    scale = math.sqrt(MAX_GIVEN / (height * width))
    return (height, width) if scale >= 1 else (max(int(scale * height), 1), max(int(scale * width), 1))


def _memory(stream: Stream) -> int:
    height, width, _ = _squared(stream)
    is_deep = re.search(r"1[0-6](?:le|be)", stream.pixel_format) is not None
    given = math.prod(_given(height, width)) * (2 if stream.transfer in HDR or stream.primaries in WIDE else 1)
    return to_decode(stream.height * stream.width, given, is_deep)


def _colours(stream: Stream) -> tuple[Tag, Tag, Tag]:
    """Matrix, range and transfer: as tagged, or as they are assumed."""
    is_rgb = stream.pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "pal8"))
    is_full = is_rgb or stream.pixel_format.startswith("yuvj")
    matrix = Tag("gbr", True) if is_rgb else Tag(stream.matrix or "bt601", bool(stream.matrix))
    levels = Tag(stream.range or ("pc" if is_full else "tv"), bool(stream.range or is_full))
    return matrix, levels, Tag(stream.transfer or "bt709", bool(stream.transfer))


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}:{value.denominator}"


def _listed(names: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(names - {""}))
