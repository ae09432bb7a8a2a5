"""Pictures that tests make, with the colour profiles of cameras and telephones, and what is read of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from cosmos_ray.clip.pictures import read_pictures
from cosmos_ray.clip.request import VIEWS
from support.videos import moving_picture

PICTURE = moving_picture(1, 48, 64)[0]


def save(path: Path, image: Image.Image | np.ndarray, **options: object) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def read(path: Path, size: tuple[int, int] = (48, 64)) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """(the picture, conversions, warnings)."""
    found = read_pictures([[path]], VIEWS[:1], size)
    return found.frames[0, 0], found.infos[0].conversions, found.warnings


#: X, Y, Z of the red, green and blue of Display P3 (a telephone's), Adobe RGB (a camera's) and ProPhoto, as profiles
#: have them.
PRIMARIES = {
    "Display P3": ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)),
    "Adobe RGB": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "ProPhoto": ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile(name: str) -> bytes:
    """sRGB's, with other primaries."""
    found = SRGB
    for tag, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), PRIMARIES[name], strict=True):
        entry = next(SRGB[at : at + 12] for at in range(132, 400, 12) if SRGB[at : at + 4] == tag)
        at = int.from_bytes(entry[4:8], "big") + 8
        found = found[:at] + (np.array(primary) * 65536).round().astype(">i4").tobytes() + found[at + 12 :]
    return found
