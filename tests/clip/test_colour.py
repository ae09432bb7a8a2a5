"""HLG, PQ and wide primaries as BT.709: known light comes out as the code that an SDR display shows it with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.videos import encode

from cosmos_ray.clip.colour import picture_to_bt709, to_bt709
from cosmos_ray.clip.frames import inspect_video, read_frames

DATA = Path(__file__).parent / "data"
#: Codes of HDR's white (203 cd/m2), a grey card (26 cd/m2) and 1000 cd/m2, as BT.2408 has them.
CODES = {"arib-std-b67": (0.75, 0.38, 1.0), "smpte2084": (0.58, 0.38, 0.7518)}
#: BT.709's primaries in linear light of BT.2020's (BT.2087).
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def shown(code: float, transfer: str) -> int:
    """The code that a grey of that HDR code gets."""
    picture = to_bt709(np.full((2, 2, 3), round(code * 65535), np.uint16), transfer, "bt2020")
    assert (picture == picture[0, 0, 0]).all()
    return int(picture[0, 0, 0])


@pytest.mark.parametrize("transfer", CODES)
def test_white_stays_near_white_a_grey_card_grey_and_highlights_are_not_cut(transfer: str) -> None:
    white, card, peak = (shown(code, transfer) for code in CODES[transfer])
    assert 225 < white < 250
    assert card == pytest.approx(255 * (26 / 203) ** (1 / 2.4), abs=3)
    assert white < shown((CODES[transfer][0] + CODES[transfer][2]) / 2, transfer) < peak
    assert peak >= 254
    assert shown(0, transfer) == 0


@pytest.mark.parametrize("transfer", CODES)
def test_brighter_is_never_darker(transfer: str) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 4000).astype(np.uint16)[None, :, None], 3, axis=2)
    assert (np.diff(to_bt709(ramp, transfer, "bt2020")[0, :, 1].astype(int)) >= 0).all()


@pytest.mark.parametrize("colour", [(180, 60, 40), (50, 160, 70), (40, 60, 190), (120, 120, 120), (150, 140, 60)])
def test_colours_of_wide_primaries_come_back(colour: tuple[int, int, int]) -> None:
    """An SDR colour in BT.2020's primaries is the same light."""
    light = (np.array(colour) / 255) ** 2.4
    wide = (TO_BT2020 @ light) ** (1 / 2.4)
    found = to_bt709(np.round(wide * 65535).astype(np.uint16)[None, None], "", "bt2020")[0, 0]
    assert np.abs(found.astype(int) - colour).max() <= 1


def test_the_reported_case_of_hlg() -> None:
    path = DATA / "c_hevc10_hlg.mp4"
    info = inspect_video(path)
    assert info.conversions == ("HLG to BT.709, white at 203 cd/m2",)
    assert (info.transfer.value, info.matrix.value, info.transfer.is_tagged) == ("arib-std-b67", "bt2020nc", True)
    white = read_frames(path, [5])[0, 80, 68]
    assert white.min() > 225
    assert white.max() - white.min() <= 3


def test_a_file_in_pq_is_converted(tmp_path: Path) -> None:
    """White of 203 cd/m2 in the left half, 26 cd/m2 in the right."""
    codes = np.repeat(np.array([0.58, 0.38]) * 255, 48).round().astype(np.uint8)
    frames = np.broadcast_to(codes[None, None, :, None], (3, 48, 96, 3))
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", "smpte2084", "-color_range", "tv")
    params = ("-x265-params", "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none")
    path = encode(tmp_path / "a.mp4", frames, "-vf", "scale=out_color_matrix=bt2020:out_range=tv", "-pix_fmt",
                  "yuv420p10le", "-c:v", "libx265", "-tag:v", "hvc1", *params, *tags)  # fmt: skip
    assert inspect_video(path).conversions == ("PQ to BT.709, white at 203 cd/m2",)
    frame = read_frames(path, [1])[0].astype(int)
    assert 225 < frame[24, 20].min() <= frame[24, 20].max() < 250
    assert np.abs(frame[24, 76] - 255 * (26 / 203) ** (1 / 2.4)).max() <= 5


COLOURS = np.array(
    [[(0, 0, 0), (9000, 20000, 40000), (40000, 30000, 20000), (65535, 30000, 0), (52000, 60000, 65535)]], np.uint16
)


@pytest.mark.parametrize(
    ("transfer", "primaries", "expected"),
    [
        ("arib-std-b67", "bt2020", [(0, 0, 0), (0, 90, 167), (197, 127, 87), (255, 0, 0), (98, 211, 255)]),
        ("smpte2084", "bt2020", [(0, 0, 0), (0, 60, 248), (251, 89, 21), (255, 0, 0), (0, 255, 255)]),
        ("smpte2084", "", [(0, 0, 0), (22, 64, 247), (247, 132, 64), (255, 79, 0), (255, 255, 255)]),
        ("", "smpte432", [(0, 0, 0), (0, 79, 161), (163, 115, 70), (255, 105, 0), (194, 235, 255)]),
    ],
)
def test_colours_keep_their_bytes(transfer: str, primaries: str, expected: list[tuple[int, int, int]]) -> None:
    """As this release has them: what a clip was conditioned on before, it is conditioned on again."""
    tall = np.repeat(COLOURS, 130, axis=0)
    assert (to_bt709(tall, transfer, primaries) == np.array(expected)).all(), "whatever the row"


def test_a_pictures_colours_keep_their_bytes() -> None:
    tall = np.repeat((COLOURS // 257).astype(np.uint8), 130, axis=0)
    expected = [(0, 0, 0), (0, 77, 157), (167, 116, 75), (255, 116, 0), (188, 233, 255)]
    assert (picture_to_bt709(tall, "adobe") == np.array(expected)).all()
