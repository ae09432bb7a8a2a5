"""What a stream's facts make of its frames, by the facts alone: each is converted, doubtful or neither, and it is said.

Files in which ffmpeg says such things are in `test_accept.py`.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from cosmos_ray.clip.accept import Treatment, accept
from cosmos_ray.clip.ffmpeg import check_ffmpeg
from cosmos_ray.clip.info import Stream, VideoInfo
from cosmos_ray.clip.packets import Packets
from cosmos_ray.errors import RowError

PLAIN = Stream(0, "h264", "yuv420p", 48, 64, matrix="bt709", transfer="bt709", range="tv")
SCALED = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
#: Bytes that ffmpeg has for itself.
BASE = 300 * 2**20


def made(*streams: Stream, taken: int = 0, **facts: object) -> tuple[VideoInfo, Treatment]:
    of = [replace(one, **facts) for one in streams or (PLAIN,)]  # type: ignore[arg-type]
    return accept(of, of[taken], Packets(np.arange(3), np.arange(1), Fraction(1, 10), 1, np.arange(3)))


def test_a_plain_stream_stays_as_it_is() -> None:
    info, treatment = made()
    assert treatment == Treatment(48, 64, (48, 64))
    assert not treatment.is_recoloured
    assert (info.frames, info.height, info.width, info.fps, info.is_variable) == (3, 48, 64, 10.0, False)
    assert (info.conversions, info.warnings, info.pixel_aspect) == ((), (), "1:1")


def test_all_that_is_done_is_told_in_the_order_in_which_it_is_done() -> None:
    """Lying pixels twice as high as wide, turned; of 8K once they are square."""
    info, treatment = made(height=3840, width=4320, pixel_aspect=Fraction(1, 2), rotation=90.0,
                           field_order="bottom first", transfer="smpte2084", primaries="bt2020")  # fmt: skip
    assert info.conversions == (
        "turned upright by 90 degrees",
        "deinterlaced (bottom first), one frame a frame",
        "pixels of 2:1 made square: 7680x4320",
        "scaled to 3840x2160 first",
        "PQ to BT.709, white at 203 cd/m2",
    )
    assert (info.height, info.width, info.pixel_aspect) == (4320, 7680, "2:1")
    assert treatment == Treatment(
        2160,
        3840,
        (4320, 3840),
        "bwdif=mode=send_frame:parity=auto:deint=all",
        f"scale=3840:2160:{SCALED}",
        "smpte2084",
        "bt2020",
    )


@pytest.mark.parametrize(("height", "width", "given"), [(2160, 3840, (2160, 3840)), (4320, 7680, (2160, 3840))])
def test_what_is_larger_than_4k_leaves_ffmpeg_smaller(height: int, width: int, given: tuple[int, int]) -> None:
    info, treatment = made(height=height, width=width)
    assert ((treatment.height, treatment.width), (info.height, info.width)) == (given, (height, width))
    assert bool(treatment.shape) is bool(info.conversions) is ((height, width) != given)


def test_pixels_grow_the_way_they_are_longer() -> None:
    for aspect, height, width in ((Fraction(2), 48, 128), (Fraction(1, 2), 96, 64), (Fraction(641, 640), 48, 64)):
        info, treatment = made(pixel_aspect=aspect)
        assert (info.height, info.width, treatment.height, treatment.width) == (height, width, height, width)
        assert treatment.shape == ("" if (height, width) == (48, 64) else f"scale={width}:{height}:{SCALED}")
        assert treatment.source_hw == (48, 64)


@pytest.mark.parametrize(
    ("facts", "said", "transfer", "primaries"),
    [
        ({"transfer": "arib-std-b67"}, "HLG to BT.709, white at 203 cd/m2", "arib-std-b67", ""),
        ({"transfer": "smpte2084", "primaries": "bt2020"}, "PQ to BT.709, white at 203 cd/m2", "smpte2084", "bt2020"),
        ({"primaries": "bt2020"}, "BT.2020 primaries to BT.709", "", "bt2020"),
        ({"primaries": "smpte432"}, "Display P3 primaries to BT.709", "", "smpte432"),
    ],
)
def test_colours_of_other_displays_are_converted(
    facts: dict[str, object], said: str, transfer: str, primaries: str
) -> None:
    info, treatment = made(**facts)
    assert (info.conversions, treatment.transfer, treatment.primaries) == ((said,), transfer, primaries)
    assert treatment.is_recoloured


@pytest.mark.parametrize(
    ("facts", "pixels"),
    [
        ({}, 30 + 60),
        ({"pixel_format": "yuv420p10le"}, 2 * (30 + 60)),
        ({"pixel_format": "yuv444p12be"}, 2 * (30 + 60)),
        ({"transfer": "smpte2084"}, 30 + 2 * 60),
        ({"primaries": "bt2020"}, 30 + 2 * 60),
        ({"primaries": "smpte432", "pixel_format": "yuv420p10le"}, 2 * (30 + 2 * 60)),
        ({"pixel_aspect": Fraction(2)}, 30 + 2 * 60),
        ({"primaries": "bt470m"}, 30 + 60),
    ],
)
def test_memory_grows_with_what_is_decoded_and_what_is_given(facts: dict[str, object], pixels: int) -> None:
    """Six bytes a pixel are given where colours are converted, and frames of more than 8 bits are twice as large."""
    assert made(**facts)[1].memory == BASE + 48 * 64 * pixels
    large = made(height=4320, width=7680, primaries="bt2020")[1]
    assert large.memory == BASE + 4320 * 7680 * 30 + 3840 * 2160 * 2 * 60


@pytest.mark.parametrize("name", ["bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc", "gbr"])
def test_every_matrix_that_ffmpeg_converts_is_taken(name: str) -> None:
    info, _ = made(matrix=name)
    assert (info.matrix.value, info.matrix.is_tagged) == (name, True)


@pytest.mark.parametrize(
    "name",
    ["bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "iec61966-2-1", "iec61966-2-4", "bt1361e", "bt2020-10",
     "bt2020-12", "smpte2084", "arib-std-b67"],
)  # fmt: skip
def test_every_transfer_of_a_display_is_taken(name: str) -> None:
    info, _ = made(transfer=name)
    assert (info.transfer.value, info.transfer.is_tagged) == (name, True)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"matrix": "ycgco"}, "colour matrix ycgco"),
        ({"matrix": "bt2020c"}, "colour matrix bt2020c"),
        ({"transfer": "log100"}, "transfer log100"),
        ({"transfer": "smpte428"}, "transfer smpte428"),
        ({"codec": "none"}, "a codec that this ffmpeg does not know"),
        ({"rotation": 88.5}, r"turned by 88\.5 degrees"),
        ({"rotation": 1.5}, r"turned by 1\.5 degrees"),
        ({"width": 0}, "does not say how large"),
        ({"height": 4320, "width": 7681}, "pictures of 7681x4320 pixels, expected at most 33177600"),
        ({"height": 4320, "width": 3841, "pixel_aspect": Fraction(2)}, "pictures of 7682x4320"),
    ],
)
def test_what_nobody_can_show_is_refused(facts: dict[str, object], said: str) -> None:
    with pytest.raises(RowError, match=said):
        made(**facts)


@pytest.mark.parametrize("primaries", ["bt470m", "film", "smpte428", "smpte431"])
def test_primaries_far_from_bt709s_are_doubtful_unless_all_colours_are_converted(primaries: str) -> None:
    assert made(primaries=primaries)[0].warnings[0].startswith(f"primaries {primaries}, which are not converted")
    assert made(primaries=primaries, transfer="smpte2084")[0].warnings == ()


@pytest.mark.parametrize(
    ("pixel_format", "is_transparent"),
    [
        *((name, True) for name in ("yuva420p", "gbrap12le", "rgba", "bgra", "argb", "abgr", "ya8", "ayuv64", "vuya")),
        *((name, False) for name in ("yuv420p", "gbrp", "rgb24", "bgr0", "gray", "pal8", "yuyv422", "nv12")),
    ],
)
def test_transparency_is_known_by_the_pixel_format(pixel_format: str, is_transparent: bool) -> None:
    warnings = made(pixel_format=pixel_format)[0].warnings
    assert [text.partition(",")[0] for text in warnings] == ["transparency (alpha)"] * is_transparent


@pytest.mark.parametrize(
    ("facts", "matrix", "levels"),
    [
        ({}, "bt601 (assumed)", "tv (assumed)"),
        ({"range": "pc"}, "bt601 (assumed)", "pc"),
        ({"pixel_format": "yuvj420p"}, "bt601 (assumed)", "pc"),
        ({"pixel_format": "yuvj420p", "range": "tv"}, "bt601 (assumed)", "tv"),
        ({"pixel_format": "rgb24"}, "gbr", "pc"),
        ({"pixel_format": "gbrp10le", "range": "tv"}, "gbr", "tv"),
        ({"pixel_format": "pal8"}, "gbr", "pc"),
    ],
)
def test_what_a_file_does_not_say_is_assumed(facts: dict[str, object], matrix: str, levels: str) -> None:
    info, _ = made(**{"matrix": "", "transfer": "", "range": "", **facts})
    assert (str(info.matrix), str(info.range), str(info.transfer)) == (matrix, levels, "bt709 (assumed)")


def test_from_720_lines_on_a_matrix_that_is_not_told_is_doubtful() -> None:
    for height, pixel_format, doubts in ((719, "yuv420p", 0), (720, "yuv420p", 1), (720, "rgb24", 0)):
        warnings = made(matrix="", height=height, pixel_format=pixel_format)[0].warnings
        assert [text.partition(":")[0] for text in warnings] == ["matrix assumed"] * doubts
    assert made(matrix="", height=64, width=720, rotation=90.0)[0].warnings, "as it is shown"


def test_of_several_tracks_it_is_said_which_is_taken_and_why() -> None:
    tracks = [replace(PLAIN, track=number) for number in (1, 4, 5)]
    assert made(*tracks, taken=1)[0].warnings == (
        "3 video tracks: number 2 (64x48) is taken, as none is marked default",
    )
    tracks[2] = replace(tracks[2], is_default=True)
    info, _ = made(*tracks, taken=2)
    assert (info.track, info.warnings) == (5, ("3 video tracks: number 3 (64x48) is taken, the default one",))


@pytest.mark.parametrize(("has", "taken"), [({"bwdif", "yadif"}, "bwdif"), ({"yadif"}, "yadif")])
def test_fields_are_woven_by_the_better_filter_that_there_is(
    monkeypatch: pytest.MonkeyPatch, has: set[str], taken: str
) -> None:
    known = replace(check_ffmpeg(), filters=frozenset(has))
    monkeypatch.setattr("cosmos_ray.clip.accept.check_ffmpeg", lambda: known)
    for order, weaves in (("top first", True), ("bottom first", True), ("progressive", False), ("unknown", False)):
        expected = f"{taken}=mode=send_frame:parity=auto:deint=all" if weaves else ""
        assert made(field_order=order)[1].deinterlace == expected
