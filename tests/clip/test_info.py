"""What a file says of its video streams, from the lines of ffmpeg's description."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest

from cosmos_ray.clip import info
from cosmos_ray.clip.ffmpeg import FfmpegFailed
from cosmos_ray.clip.info import Stream, Tag, default_stream, describe
from cosmos_ray.errors import RowError

LINES = """Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'a.mp4':
  Stream group #0:0[0x1]: Tile Grid:
    Stream #0:3(und): Video: hevc (Main 10) (hvc1 / 0x31637668), yuv420p10le(pc), 640x480, 30 fps (default)
      Metadata:
        displaymatrix: rotation of -90.00 degrees
        DOVI configuration record: version: 1.0, profile: 8, level: 4, rpu flag: 1, el flag: 0, compatibility id: 4
  Stream #0:0[0x1](und): Audio: aac (LC) (mp4a / 0x6134706D), 48000 Hz, stereo (default)
  Stream #0:1[0x2](eng): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, smpte170m/bt470bg/bt709, top coded first \
(swapped)), 720x576 [SAR 16:15 DAR 4:3], 1000 kb/s, 25 fps, 25 tbr, 12800 tbn
  Stream #0:2[0x3]: Video: mjpeg (Baseline), yuvj444p(pc, bt470bg/unknown/unknown), 90x90, 90k tbr (attached pic)
  Stream #0:3(und): Video: hevc (Main 10) (hvc1 / 0x31637668), yuv420p10le(pc), 640x480, 30 fps (default)
  Stream #0:4: Video: png (png), rgb24(pc, gbr/bt709/reserved, progressive), 8x6 [SAR 0:1 DAR 0:1], 1 fps
""".splitlines()


def described(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> tuple[Stream, ...]:
    @contextmanager
    def piped(arguments: object, on_log: Callable[[str], None]) -> Iterator[None]:
        for line in lines:
            on_log(line)
        yield
        raise FfmpegFailed(["At least one output file must be specified"])

    monkeypatch.setattr(info, "is_mirrored", lambda _, track: track == 4)
    monkeypatch.setattr(info, "piped", piped)
    return describe(Path("a.mp4"))


def test_streams_come_in_the_order_of_the_file_each_once_and_attached_pictures_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields, turned, plain = described(monkeypatch, LINES)
    assert fields == Stream(
        1,
        "h264",
        "yuv420p",
        576,
        720,
        Fraction(16, 15),
        field_order="unknown",
        matrix="smpte170m",
        primaries="bt470bg",
        transfer="bt709",
        range="tv",
    )
    assert turned == Stream(
        3, "hevc", "yuv420p10le", 480, 640, rotation=-90.0, range="pc", is_default=True, dolby=(8, 4)
    )
    assert plain == Stream(
        4,
        "png",
        "rgb24",
        6,
        8,
        field_order="progressive",
        matrix="gbr",
        primaries="bt709",
        range="pc",
        is_mirrored=True,
    )
    assert default_stream((fields, turned, plain)) is turned
    assert default_stream((fields, plain)) is fields


def test_a_file_without_video_and_one_that_is_no_file_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RowError, match="no video stream"):
        described(monkeypatch, [line for line in LINES if "Video" not in line])
    with pytest.raises(RowError, match="damaged: At least one output"):
        described(monkeypatch, [])


@pytest.mark.parametrize("rotation", [90, -90, 270, 89.5])
def test_a_quarter_of_a_turn_swaps_the_sides_and_the_shape_of_pixels(rotation: float) -> None:
    upright = Stream(0, "h264", "yuv420p", 480, 640, Fraction(4, 3), rotation).upright
    assert (upright.height, upright.width, upright.pixel_aspect) == (640, 480, Fraction(3, 4))
    assert Stream(0, "h264", "yuv420p", 480, 640, Fraction(4, 3), 180).upright.height == 480


def test_what_is_assumed_is_said() -> None:
    assert (str(Tag("bt709", True)), str(Tag("bt601", False))) == ("bt709", "bt601 (assumed)")


def test_what_a_file_hides_of_its_pictures_is_counted_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left, right, above, below, as ffmpeg tells from 7.1 on."""
    lines = ["Input #0, mov", "  Stream #0:0: Video: h264, yuv420p, 64x48, 10 fps", "      Frame cropping: 8/16/10/7"]
    (stream,) = described(monkeypatch, lines)
    assert (stream.width, stream.height) == (64 - 8 - 16, 48 - 10 - 7)
    (stream,) = described(monkeypatch, [*lines[:2], "      frame cropping: 60/5/0/0"])
    assert (stream.width, stream.height) == (0, 48)
    assert not stream.is_default


def test_thumbnails_are_no_video_and_a_shape_without_numbers_is_square(monkeypatch: pytest.MonkeyPatch) -> None:
    head, tail = "  Stream #0:", "Video: h264, yuv420p, 64x48"
    lines = [
        "Input #0",
        f"{head}0: {tail} (timed thumbnails)",
        f"{head}1: {tail} [SAR 4:0 DAR 0:1]",
        f"{head}2: Video: h264",
    ]
    shaped, bare = described(monkeypatch, lines)
    assert (shaped.track, shaped.pixel_aspect, shaped.matrix) == (1, 1, "")
    assert bare == Stream(2, "h264", "", 0, 0)


def test_the_containers_shape_of_pixels_holds_where_the_codec_says_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """As players have it: the codec's stands in brackets, the container's after it."""
    line = "  Stream #0:0: Video: h264, yuv420p, 160x120 [SAR 1:1 DAR 4:3], 185 kb/s, SAR 4:3 DAR 16:9, 10 fps"
    (stream,) = described(monkeypatch, ["Input #0, mov", line])
    assert stream.pixel_aspect == Fraction(4, 3)


@pytest.mark.parametrize(
    ("line", "stereo", "sphere"),
    [
        ("Stereo 3D: side by side (inverted), view: packed, primary eye: none", "side by side", ""),
        ("stereo3d: top and bottom, view: packed", "top and bottom", ""),
        ("Stereo 3D: unspecified, view: packed, primary eye: none", "", ""),
        ("stereo3d: 2D", "", ""),
        ("Spherical Mapping: half equirectangular (0.00/0.00/0.00)", "", "half equirectangular"),
        ("spherical: equirectangular (0.000000/0.000000/0.000000)", "", "equirectangular"),
        ("spherical: rectilinear", "", ""),
    ],
)
def test_pictures_that_are_not_one_flat_one_are_told_in_words_of_all_versions(
    monkeypatch: pytest.MonkeyPatch, line: str, stereo: str, sphere: str
) -> None:
    lines = ["Input #0", "  Stream #0:0: Video: h264, yuv420p, 64x48", "    Side data:", f"      {line}"]
    (stream,) = described(monkeypatch, lines)
    assert (stream.stereo, stream.sphere) == (stereo, sphere)
