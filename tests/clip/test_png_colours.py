"""PNGs whose chunks say which colours they mean: obeyed, or doubtful, never taken for sRGB's in silence."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from support.pictures import PICTURE, profile, read, save

from cosmos_ray.clip.pictures import look

SRGB_PLACES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_PLACES = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def with_chunks(path: Path, *chunks: bytes) -> Path:
    """After the header, where these stand."""
    data = path.read_bytes()
    path.write_bytes(data[:33] + b"".join(chunks) + data[33:])
    return path


def deep(path: Path, picture: np.ndarray) -> Path:
    """A PNG of 16 bits a colour, of uint16 [H, W, 3 or 4]."""
    height, width, channels = picture.shape
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2 if channels == 3 else 6, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in picture)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", round(value * 100_000).to_bytes(4, "big"))


def places(values: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", np.rint(np.array(values) * 100_000).astype(">u4").tobytes())


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


#: 203 cd/m2, the white of an SDR display, as BT.2100's two transfers write it, and a tenth of that.
@pytest.mark.parametrize(("transfer", "name", "white", "dark"), [(16, "PQ", 0.5806, 0.3446), (18, "HLG", 0.75, 0.3415)])
@pytest.mark.parametrize("channels", [3, 4])
def test_hdr_is_shown_as_an_sdr_display_would(
    tmp_path: Path, transfer: int, name: str, white: float, dark: float, channels: int
) -> None:
    picture = np.full((48, 64, channels), round(white * 65535), np.uint16)
    picture[24:] = round(dark * 65535)
    if channels == 4:
        picture[..., 3] = 65535
    frame, conversions, warnings = read(with_chunks(deep(tmp_path / "a.png", picture), cicp(9, transfer)))
    assert conversions == (f"{name} to BT.709, white at 203 cd/m2", "16 bits a colour to 8")
    assert warnings == ()
    assert (frame[:20] >= 225).all()
    assert np.abs(frame[28:].astype(int) - 255 * 0.1 ** (1 / 2.4)).max() <= 8
    assert np.ptp(frame, axis=-1).max() == 0, "white stays white"


def test_hdr_of_primaries_that_are_not_known_is_converted_and_doubtful(tmp_path: Path) -> None:
    path = with_chunks(deep(tmp_path / "a.png", np.full((48, 64, 3), 38000, np.uint16)), cicp(22, 16))
    _, conversions, warnings = read(path)
    assert conversions == ("PQ to BT.709, white at 203 cd/m2", "16 bits a colour to 8")
    assert len(warnings) == 1
    assert "a colour profile that is not known" in warnings[0]


@pytest.mark.parametrize(("alpha", "doubts"), [(65535, 0), (65534, 1), (30000, 1), (0, 1)])
def test_what_shines_through_is_known_to_16_bits(tmp_path: Path, alpha: int, doubts: int) -> None:
    picture = np.full((48, 64, 4), 38000, np.uint16)
    picture[..., 3] = 65535
    picture[9, 9, 3] = alpha
    warnings = read(with_chunks(deep(tmp_path / "a.png", picture), cicp(9, 16)))[2]
    assert warnings == ("front_wide: transparent pixels, shown on black",) * doubts


def test_of_a_chunk_that_is_there_twice_the_first_holds(tmp_path: Path) -> None:
    """As decoders take it, and of one behind the picture's end nothing is read."""
    path = with_chunks(save(tmp_path / "a.png", PICTURE), places(P3_PLACES), cicp(9, 16), cicp(1, 13))
    path.write_bytes(path.read_bytes() + cicp(12, 13))
    assert (look(path).transfer, look(path).primaries) == ("smpte2084", "bt2020")


def test_wide_primaries_are_converted_as_those_of_a_profile_are(tmp_path: Path) -> None:
    expected = read(save(tmp_path / "p3.png", PICTURE, icc_profile=profile("Display P3")))[0]
    for number, chunks in enumerate(((cicp(12, 13),), (gamma(1 / 2.2), places(P3_PLACES)), (places(P3_PLACES),))):
        found = read(with_chunks(save(tmp_path / f"{number}.png", PICTURE), *chunks))
        assert np.array_equal(found[0], expected)
        assert found[1:] == (("Display P3 to sRGB",), ())
    assert read(with_chunks(save(tmp_path / "2020.png", PICTURE), cicp(9, 1)))[1] == ("BT.2020 to sRGB",)


def test_what_is_said_first_holds(tmp_path: Path) -> None:
    """cICP before a profile, a profile before sRGB, and that before gAMA and cHRM."""
    for number, (chunks, options, expected) in enumerate((
        ((cicp(1, 13),), {"icc_profile": profile("Display P3")}, ""),
        ((chunk(b"sRGB", b"\0"), gamma(1)), {"icc_profile": profile("Display P3")}, "smpte432"),
        ((chunk(b"sRGB", b"\0"), gamma(1), places(P3_PLACES)), {}, ""),
        ((gamma(1 / 2.2), places(SRGB_PLACES)), {}, ""),
    )):  # fmt: skip
        path = with_chunks(save(tmp_path / f"{number}.png", PICTURE, **options), *chunks)
        assert (look(path).transfer, look(path).primaries) == ("", expected), number


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(gamma(1), id="linear light"),
        pytest.param(gamma(1 / 1.8), id="an old Macintosh"),
        pytest.param(places((0.3457, 0.3585, *SRGB_PLACES[2:])), id="another white"),
        pytest.param(cicp(1, 8), id="linear light, by number"),
        pytest.param(cicp(22, 13), id="other primaries"),
        pytest.param(gamma(0.35), id="darker than sRGB"),
    ],
)
def test_colours_that_are_not_known_are_doubtful(tmp_path: Path, said: bytes) -> None:
    frame, conversions, warnings = read(with_chunks(save(tmp_path / "a.png", PICTURE), said))
    assert np.array_equal(frame, PICTURE)
    assert conversions == ()
    assert len(warnings) == 1
    assert "a colour profile that is not known, and not applied" in warnings[0]


def test_a_chunk_that_is_cut_says_nothing(tmp_path: Path) -> None:
    short = (chunk(b"cICP", b"\x09"), chunk(b"gAMA", b""), chunk(b"cHRM", bytes(5)))
    assert look(with_chunks(save(tmp_path / "a.png", PICTURE), *short)).primaries == ""
