"""Several pictures in one JPEG: stereo cameras' and bursts' are said, what phones keep beside a picture is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cosmos_ray.clip.pictures import look, read_pictures
from cosmos_ray.clip.request import VIEWS


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def read(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """(the picture, warnings)."""
    found = read_pictures([[path]], VIEWS[:1], (48, 64))
    return found.frames[0, 0], found.warnings


def test_of_several_pictures_in_a_file_the_first_is_taken_and_it_is_said(tmp_path: Path) -> None:
    said = ("front_wide: 2 pictures in one file, as of a stereo camera, of which the first is taken",)
    left, right, small = (Image.fromarray(np.full((*hw, 3), level, np.uint8)) for level, hw in (
        (40, (48, 64)), (200, (48, 64)), (200, (12, 16)),
    ))  # fmt: skip
    stereo = tmp_path / "stereo.jpg"
    left.save(stereo, "MPO", save_all=True, append_images=[right])
    found, warnings = read(stereo)
    assert np.abs(found.astype(int) - 40).max() <= 2
    assert warnings == said
    left.save(tmp_path / "burst.jpg", "MPO", save_all=True, append_images=[right, right])
    assert read(tmp_path / "burst.jpg")[1] == (said[0].replace("2 pictures", "3 pictures"),)
    one, other = save(tmp_path / "l.jpg", left), save(tmp_path / "r.jpg", right)
    (tmp_path / "row.jpg").write_bytes(one.read_bytes() + other.read_bytes())
    assert read(tmp_path / "row.jpg")[1] == said
    left.save(tmp_path / "map.jpg", "MPO", save_all=True, append_images=[small])
    assert read(tmp_path / "map.jpg")[1] == ()
    (tmp_path / "small.jpg").write_bytes(one.read_bytes() + save(tmp_path / "s.jpg", small).read_bytes())
    assert read(tmp_path / "small.jpg")[1] == ()
    gained = Image.Exif()
    gained[0x010E] = "hdrgm:Version=1.0"
    brighter = save(tmp_path / "g.jpg", left, exif=gained)
    (tmp_path / "hdr.jpg").write_bytes(brighter.read_bytes() + other.read_bytes())
    assert read(tmp_path / "hdr.jpg")[1] == ()
    (tmp_path / "other.jpg").write_bytes(one.read_bytes() + brighter.read_bytes())
    assert read(tmp_path / "other.jpg")[1] == said, "what another picture says of itself is not the first one's"


@pytest.mark.parametrize("order", ["little", "big"])
def test_an_index_of_pictures_is_read_as_cameras_write_it(tmp_path: Path, order: Any) -> None:
    """Its own thumbnail, of whatever size, is no other picture; nonsense in it is nothing."""
    one = save(tmp_path / "l.jpg", Image.fromarray(np.full((48, 64, 3), 40, np.uint8))).read_bytes()

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)

    def written(kinds: Sequence[int], nonsense: bool = False) -> Path:
        entries = 50  # behind the head (8), the directory (2 + 3 x 12 + 4)
        body = (b"II*\0" if order == "little" else b"MM\0*") + number(8, 4) + number(3, 2)
        body += number(0xB000, 2) + number(7, 2) + number(4, 4) + b"0100"
        body += number(0xB001, 2) + number(4, 2) + number(1, 4) + number(1 + len(kinds), 4)
        body += number(0xB002, 2) + number(7, 2) + number(16 * (1 + len(kinds)), 4) + number(entries, 4) + number(0, 4)
        length = 2 + 4 + len(body) + 16 * (1 + len(kinds))
        body += number(0x030000, 4) + number(len(one), 4) + number(0, 4) + number(0, 4)
        base = 2 + 2 + 2 + 4  # SOI, APP2, its length, MPF
        for place, kind in enumerate(kinds):
            start = len(one) + 2 + length + place * len(one) - base
            body += number(kind, 4) + number(len(one), 4) + number(2**31 if nonsense else start, 4) + number(0, 4)
        segment = b"\xff\xe2" + length.to_bytes(2, "big") + b"MPF\0" + body
        (tmp_path / "m.jpg").write_bytes(one[:2] + segment + one[2:] + one * len(kinds))
        return tmp_path / "m.jpg"

    assert look(written([0x020002])).held == 2
    assert look(written([0x020003, 0x020003])).held == 3
    assert look(written([0x010002])).held == 1
    assert look(written([0x020002], nonsense=True)).held == 1
