"""Pictures instead of videos: JPEG and PNG as cameras, phones and data sets write them; others are refused by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.pictures import PICTURE, SRGB, profile, read, save
from support.videos import moving_picture, write

from cosmos_ray.clip import ffmpeg as tool
from cosmos_ray.clip import pictures
from cosmos_ray.clip.info import Tag, VideoInfo
from cosmos_ray.clip.input_rules import InputRules
from cosmos_ray.clip.pictures import Picture, look, read_pictures
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.clip.resize import resize_crop
from cosmos_ray.errors import RowError


def test_pictures_come_view_after_view_in_order_of_time(tmp_path: Path) -> None:
    levels = [[10, 40, 70], [100, 130, 160]]
    paths = [
        [
            save(tmp_path / f"{view}.{number}.png", np.full((48, 64, 3), level, np.uint8))
            for number, level in enumerate(of)
        ]
        for view, of in enumerate(levels)
    ]
    found = read_pictures(paths, VIEWS[:2], (48, 64))
    assert found.frames.shape == (2, 3, 48, 64, 3)
    assert found.frames[..., 0, 0, 0].tolist() == levels
    assert len(found.infos) == 6
    assert found.warnings == ()


def test_a_png_is_taken_to_the_byte_and_a_jpeg_as_other_decoders_show_it(tmp_path: Path) -> None:
    assert np.array_equal(read(save(tmp_path / "a.png", PICTURE))[0], PICTURE)
    for options in ({"quality": 95}, {"quality": 90, "progressive": True}, {"quality": 95, "subsampling": 0}):
        path = save(tmp_path / "a.jpg", PICTURE, **options)
        shown = np.asarray(Image.open(path).convert("RGB")).astype(int)
        # Decoders differ in how they enlarge colour that was stored at half the size.
        assert np.abs(read(path)[0] - shown).mean() < (1.5 if "subsampling" in options else 4), options


@pytest.mark.parametrize("name", ["Display P3", "Adobe RGB"])
@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_a_colour_profile_is_obeyed(tmp_path: Path, name: str, extension: str) -> None:
    """As another library does it."""
    plain = read(save(tmp_path / f"plain.{extension}", PICTURE))[0]
    frame, conversions, warnings = read(save(tmp_path / f"a.{extension}", PICTURE, icc_profile=profile(name)))
    given, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile(name))), ImageCms.createProfile("sRGB")
    expected = np.asarray(ImageCms.profileToProfile(Image.fromarray(plain), given, srgb, renderingIntent=1))
    assert np.abs(plain.astype(int) - expected).mean() > 6
    assert np.abs(frame.astype(int) - expected).mean() < 2
    assert (conversions, warnings) == ((f"{name} to sRGB",), ())


def test_a_colour_profile_that_is_not_known_is_doubtful(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        for found, doubts in ((SRGB, 0), (profile("ProPhoto"), 1), (b"what is no profile", 0), (SRGB[:200], 0)):
            _, conversions, warnings = read(save(tmp_path / name, PICTURE, icc_profile=found))
            assert conversions == ()
            assert ["a colour profile that is not known" in text for text in warnings] == [True] * doubts


def test_pictures_are_fitted_as_frames_of_videos_are(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PICTURE)
    frame, _, warnings = read(path, (32, 64))
    assert np.array_equal(frame, resize_crop(PICTURE[None], (32, 64))[0])
    assert warnings == ("front_wide: cropped by 33 % of its rows to fit 64x32 (inputs.fit)",)
    padded = read_pictures([[path]], VIEWS[:1], (32, 64), InputRules(fit="pad"))
    assert padded.warnings == ()
    assert padded.frames[0, 0, :, 0].max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_a_camera_that_was_held_otherwise_is_obeyed(tmp_path: Path, orientation: int, extension: str) -> None:
    """As Pillow's own reading of EXIF turns them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if extension == "jpg" else {}
    path = save(tmp_path / f"a.{extension}", PICTURE, exif=exif, **options)
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    found, conversions, _ = read(path, upright.shape[:2])  # type: ignore[arg-type]
    assert np.abs(found - upright).mean() < 1.5
    assert conversions == (() if orientation == 1 else (f"turned upright (EXIF orientation {orientation})",))


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (2 + len(content)).to_bytes(2, "big") + content


def test_a_thumbnail_within_a_jpeg_does_not_end_it(tmp_path: Path) -> None:
    """Nor does a filling byte, or a profile of several parts of which the first alone has the primaries."""
    plain = save(tmp_path / "a.jpg", PICTURE).read_bytes()
    small = b"Exif\0\0" + b"II*\0\x08\0\0\0" + bytes(30) + plain[:600] + b"\xff\xd9"
    parts = [b"ICC_PROFILE\0" + bytes([number, 2]) + content
             for number, content in ((1, profile("Display P3")), (2, b"more"))]  # fmt: skip
    for more, conversions in (
        (segment(0xE1, small), ()),
        (b"\xff\xff" + segment(0xE1, small), ()),
        (b"".join(segment(0xE2, part) for part in parts), ("Display P3 to sRGB",)),
    ):
        (tmp_path / "b.jpg").write_bytes(plain[:2] + more + plain[2:])
        found, said, warnings = read(tmp_path / "b.jpg")
        assert (said, warnings) == (conversions, ())
        assert conversions or np.array_equal(found, read(tmp_path / "a.jpg")[0])
        assert look(tmp_path / "b.jpg").end == len(plain) + len(more)


@pytest.mark.parametrize(("order", "sign"), [("little", b"II*\0"), ("big", b"MM\0*")])
def test_how_a_camera_was_held_is_read_in_either_order_of_bytes(
    tmp_path: Path, order: Literal["little", "big"], sign: bytes
) -> None:
    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)

    def exif(*entries: tuple[int, int]) -> bytes:
        listed = b"".join(
            number(tag, 2) + number(3, 2) + number(1, 4) + number(value, 2) + b"\0\0" for tag, value in entries
        )
        return b"Exif\0\0" + sign + number(12, 4) + bytes(4) + number(len(entries), 2) + listed

    plain = save(tmp_path / "a.jpg", PICTURE).read_bytes()
    for entries, expected in (
        ([(0x0112, 6)], 6),
        ([(0x010F, 3), (0x0112, 8), (0x0113, 5)], 8),
        ([(0x0112, 9)], 1),
        ([(0x0112, 0)], 1),
        ([(0x010F, 3)], 1),
    ):
        (tmp_path / "b.jpg").write_bytes(plain[:2] + segment(0xE1, exif(*entries)) + plain[2:])
        assert look(tmp_path / "b.jpg").orientation == expected


@pytest.mark.parametrize(
    ("marker", "bits", "colours", "said"),
    [
        *((marker, 8, colours, "") for marker in (0xC0, 0xC1, 0xC2) for colours in (1, 3)),
        *((marker, 8, 3, f"a kind for archives .marker {marker:#04x}, 8 bits") for marker in (0xC3, 0xC5, 0xC9, 0xCF)),
        (0xC1, 12, 3, "a kind for archives .marker 0xc1, 12 bits"),
        (0xC0, 8, 4, "a JPEG for print"),
        *((marker, 8, 3, "without a picture's header") for marker in (0xC4, 0xC8, 0xCC, 0xDB)),
    ],
)
def test_jpegs_of_which_kinds_are_taken(tmp_path: Path, marker: int, bits: int, colours: int, said: str) -> None:
    header = bytes([bits]) + (48).to_bytes(2, "big") + (64).to_bytes(2, "big") + bytes([colours]) + bytes(9)
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8" + segment(marker, header) + segment(0xDA, bytes(10)) + b"\xff\xd9")
    if said:
        with pytest.raises(RowError, match=said):
            look(path)
    else:
        assert look(path) == Picture("mjpeg", 48, 64, end=path.stat().st_size)


def test_what_is_known_of_a_picture_is_told(tmp_path: Path) -> None:
    for extension, codec, matrix in (("png", "png", "gbr"), ("jpg", "mjpeg", "bt601")):
        path = save(tmp_path / f"a.{extension}", PICTURE[:, :32])
        (info,) = read_pictures([[path]], VIEWS[:1], (48, 32)).infos
        assert info == VideoInfo(
            1, 48, 32, 0.0, codec=codec, field_order="progressive", matrix=Tag(matrix, True), range=Tag("pc", True),
            transfer=Tag("iec61966-2-1", False),
        )  # fmt: skip


def test_a_palette_with_one_clear_colour_is_transparent(tmp_path: Path) -> None:
    palette = Image.fromarray(PICTURE).quantize(16)
    assert not look(save(tmp_path / "a.png", palette)).may_be_transparent
    assert look(save(tmp_path / "b.png", palette, transparency=0)).may_be_transparent
    clear = Image.fromarray(np.dstack([PICTURE[..., 0], np.full((48, 64), 51, np.uint8)]), "LA")
    found, _, warnings = read(save(tmp_path / "c.png", clear))
    assert np.array_equal(found, np.repeat(PICTURE[..., :1].astype(int) * 51 // 255, 3, -1)), (
        "as bright as they are dense"
    )
    assert warnings == ("front_wide: transparent pixels, shown on black",)


def test_what_is_true_of_several_pictures_is_said_once_and_a_fault_names_its_own(tmp_path: Path) -> None:
    good, turned = save(tmp_path / "a.png", PICTURE), save(tmp_path / "b.png", PICTURE[:, :24])
    found = read_pictures([[turned, turned, good], [good, good, turned]], VIEWS[:2], (48, 64))
    assert found.warnings == ("all views: cropped by 62 % of its rows to fit 64x48 (inputs.fit)",)
    assert found.taken == ((), ())
    assert [info.width for info in found.infos] == [24, 24, 64, 64, 64, 24]
    for view, name in enumerate(VIEWS[:3]):
        found = read_pictures([[good, turned if of == view else good] for of in range(3)], VIEWS[:3], (48, 64))
        assert found.warnings == (f"{name}: cropped by 62 % of its rows to fit 64x48 (inputs.fit)",)
    (tmp_path / "c.png").write_bytes(b"")
    with pytest.raises(RowError, match=r"^view cross_right: picture 2 of 3: not a JPEG or PNG: an empty file$"):
        read_pictures([[good, good, good], [good, tmp_path / "c.png", good]], VIEWS[:2], (48, 64))


def test_memory_grows_with_pixels_bits_and_the_file(tmp_path: Path) -> None:
    base = 300 * 2**20
    assert pictures._memory(Picture("png", 100, 50, end=1000)) == base + 5000 * 30 + 2500 * 60 + 2000
    assert pictures._memory(Picture("png", 100, 50, bits=16)) == base + 2 * (5000 * 30 + 2500 * 60)
    high = Picture("png", 100, 50, bits=16, transfer="smpte2084", end=7)
    assert pictures._memory(high) == base + 2 * (5000 * 30 + 5000 * 60) + 14, "16 bits leave ffmpeg"


def test_palettes_grey_16_bits_and_transparency_become_rgb(tmp_path: Path) -> None:
    palette = Image.fromarray(PICTURE).quantize(64)
    assert np.array_equal(read(save(tmp_path / "p.png", palette))[0], np.asarray(palette.convert("RGB")))
    for extension in ("png", "jpg"):
        grey = Image.fromarray(PICTURE).convert("L")
        found = read(save(tmp_path / f"g.{extension}", grey))[0].astype(int)
        assert np.abs(found - np.asarray(grey)[..., None]).max() <= 4
    deep = Image.fromarray(np.asarray(Image.fromarray(PICTURE).convert("L")).astype(np.uint16) * 257)
    found, conversions, _ = read(save(tmp_path / "d.png", deep))
    assert np.abs(found.astype(int) - np.asarray(Image.fromarray(PICTURE).convert("L"))[..., None]).max() <= 1
    assert conversions == ("16 bits a colour to 8",)
    alpha = np.dstack([PICTURE, np.full((48, 64), 255, np.uint8)])
    assert np.array_equal(read(save(tmp_path / "o.png", alpha))[0], PICTURE)
    alpha[:, :32, 3] = 0
    found, _, warnings = read(save(tmp_path / "t.png", alpha))
    assert found[:, :32].max() == 0
    assert np.array_equal(found[:, 32:], PICTURE[:, 32:])
    assert warnings == ("front_wide: transparent pixels, shown on black",)


def test_of_an_animation_the_first_picture_is_taken_and_it_is_said(tmp_path: Path) -> None:
    shown = [Image.fromarray(np.full((48, 64, 3), level, np.uint8)) for level in (40, 90, 140)]
    found, _, warnings = read(save(tmp_path / "a.png", shown[0], save_all=True, append_images=shown[1:]))
    assert (found == 40).all()
    assert warnings == ("front_wide: an animation of 3 pictures, of which the first is taken",)
    assert read(save(tmp_path / "b.png", shown[0], save_all=True))[2] == ()
    for extension, kind in (("gif", "a GIF picture"), ("webp", "a WebP picture"), ("tif", "a TIFF or BMP picture")):
        path = save(tmp_path / f"a.{extension}", shown[0], save_all=True, append_images=shown[1:])
        assert refused(path).startswith(f"not a JPEG or PNG: {kind} (")


def refused(path: Path) -> str:
    with pytest.raises(RowError) as caught:
        read(path)
    assert caught.value.failure_class == "input"
    assert str(caught.value).startswith("view front_wide: picture 1 of 1: ")
    return str(caught.value).removeprefix("view front_wide: picture 1 of 1: ")


def test_what_is_no_picture_for_a_model_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    print_ready = save(tmp_path / "c.jpg", Image.fromarray(PICTURE).convert("CMYK"))
    assert refused(print_ready).startswith("a JPEG for print (CMYK), expected RGB or grey: `ffmpeg -i FILE")
    video = write(tmp_path / "v.mp4", moving_picture(2))
    assert refused(video) == (
        "not a JPEG or PNG: an mp4 or QuickTime video (videos go into `input_video` or `input_videos`)"
    )
    assert refused(save(tmp_path / "a.webp", PICTURE)).endswith(
        "a WebP picture (`ffmpeg -i FILE -pix_fmt rgb24 OUT.png` makes one that will do)"
    )
    assert refused(save(tmp_path / "a.bmp", PICTURE)).startswith("not a JPEG or PNG: a TIFF or BMP picture")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert refused(path).endswith("(`git lfs pull` fetches it)")
    path.write_bytes(b"root:x:0:0")
    assert refused(path) == "not a JPEG or PNG: no known kind of file"
    path.write_bytes(b"")
    assert refused(path) == "not a JPEG or PNG: an empty file"
    path.unlink()
    assert refused(path) == "no such file: a.jpg"


@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_a_picture_that_was_cut_or_damaged_is_found(tmp_path: Path, extension: str) -> None:
    whole = save(tmp_path / f"a.{extension}", PICTURE).read_bytes()
    path = tmp_path / f"b.{extension}"
    for kept in (0.9, 0.5):
        path.write_bytes(whole[: int(kept * len(whole))])
        assert refused(path).startswith("truncated: ")
    path.write_bytes(whole[:30])
    assert refused(path).startswith(("truncated: ", "damaged: "))
    path.write_bytes(whole + b"what a phone appends")
    assert read(path)[0].shape == (48, 64, 3)
    broken = bytearray(whole)
    broken[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    path.write_bytes(broken)
    if extension == "png":  # which carries sums; a JPEG's middle could be anything
        assert refused(path).startswith("damaged: ")


def test_a_jpeg_without_its_picture_is_found(tmp_path: Path) -> None:
    """Cut behind its headers, and closed by the tool that copied it: ffmpeg shows a grey one."""
    whole = save(tmp_path / "a.jpg", PICTURE).read_bytes()
    path, scan = tmp_path / "b.jpg", whole.index(b"\xff\xda")
    for headers in (whole[:scan], whole[:scan] + b"\xff", whole[: scan - 4]):
        path.write_bytes(headers + b"\xff\xd9")
        assert refused(path) == "truncated: a JPEG without its picture"
    path.write_bytes(whole[:scan] + b"\xff\xff" + whole[scan:])  # filling bytes
    assert np.array_equal(read(path)[0], read(tmp_path / "a.jpg")[0])


def test_a_picture_that_takes_too_long_is_a_timeout_of_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", PICTURE)
    monkeypatch.setattr(tool, "TIMEOUT_S", 0.0001)
    with pytest.raises(RowError, match=r"^view front_wide: picture 1 of 1: reading a\.png took more than") as caught:
        read(path)
    assert caught.value.failure_class == "timeout"


def test_a_picture_that_is_too_large_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", PICTURE)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 48 * 64 - 1)
    assert refused(path) == "too large: a picture of 64x48, expected at most 3071 pixels (8K)"
    monkeypatch.setattr(pictures, "MAX_BYTES", 10)
    assert refused(path).startswith("too large: a file of ")
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:20] = (60000).to_bytes(4, "big")
    monkeypatch.undo()
    path.write_bytes(data)
    assert refused(path).startswith(("too large", "damaged"))
