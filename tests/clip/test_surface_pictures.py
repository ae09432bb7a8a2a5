"""What is seen in pictures, over tables of them: scores, small pictures, seams.

The texts are `tests/golden-surfaces/clip`. Pictures are small and computed in a fixed order, so that they are the same
bytes on every machine; numbers of long sums are told with few digits.
"""

from __future__ import annotations

import zlib
from itertools import product

import numpy as np
from support.surfaces import assert_as_it_was

from cosmos_ray.clip.checks import look_at, psnr_db, small
from cosmos_ray.clip.likeness import psnr_db as psnr_of
from cosmos_ray.clip.preview import columns_of, mosaic
from cosmos_ray.clip.preview import shrink as shrink_preview
from cosmos_ray.clip.seams import runs_on, seam_frames, shrink


def pattern(*shape: int) -> np.ndarray:
    """uint8 of that shape: numbers without an order that anybody would fall for."""
    values = np.arange(int(np.prod(shape)), dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32)
    return (values >> np.uint64(24)).astype(np.uint8).reshape(shape)


def told(picture: np.ndarray) -> str:
    """Small ones in full, else their sum and a code of all bytes."""
    shape = f"{picture.dtype} {list(picture.shape)}"
    if picture.size <= 96:
        return f"{shape} {picture.ravel().tolist()}"
    return (
        f"{shape} sum {int(picture.sum(dtype=np.int64))} code {zlib.crc32(np.ascontiguousarray(picture).tobytes()):08x}"
    )


def test_scores_of_pictures() -> None:
    text = []
    still = np.repeat(pattern(1, 48, 64, 3), 6, 0)
    many = {
        "noise": pattern(9, 48, 64, 3), "still": still, "black": still // 12, "dark but for some": still // 13,
        "white": np.full((4, 48, 64, 3), 255, np.uint8), "nearly white": np.full((4, 48, 64, 3), 254, np.uint8),
        "less white": np.full((4, 48, 64, 3), 253, np.uint8), "one": pattern(1, 48, 64, 3), "two": pattern(2, 9, 9, 3),
        "large": pattern(3, 270, 300, 3), "to and fro": still[:1] // 2 + np.uint8([[[[0]]], [[[40]]]] * 3),
        "slow": still[:1] // 2 + np.arange(6, dtype=np.uint8)[:, None, None, None],
    }  # fmt: skip
    for name, frames in many.items():
        found = look_at(frames, frames[:2] // 2 + 1)
        text += [f"{name}: {found.scores.as_dict()}", f"   {told(found.small_ThwC)}"]
        text.append(f"   {look_at(frames).scores.given_psnr_db} {look_at(frames, frames[:0]).scores.given_psnr_db}")
    text.append(
        f"{psnr_db(still, still)} {psnr_db(still[:1], still[:1] ^ 1)} {psnr_of([0.0])} {psnr_of([2.0, 8.0]):.6f}"
    )
    few, more = pattern(2, 48, 64, 3), pattern(5, 48, 64, 3)
    text += [f"given {look_at(few, more).scores.given_psnr_db} {look_at(more[::-1], few).scores.given_psnr_db}"]
    text += [told(small(pattern(20, height, 100, 3))) for height in (40, 44, 88, 200)]
    for shape in ((2, 48, 640, 3), (1, 4, 320, 3), (2, 30, 159, 3), (1, 1, 900, 3), (1, 40, 481, 3)):
        text += [told(shrink_preview(pattern(*shape))), told(shrink_preview(pattern(*shape), 80))]
    for count in range(1, 8):
        text.append(f"{count} in {columns_of(count)}: {told(mosaic([pattern(2, 3, 5, 3) + k for k in range(count)]))}")
    assert_as_it_was("clip/scores.txt", "\n".join(text))


def test_seams_of_views_one_after_the_other() -> None:
    text = [
        f"{total}/{views}: {seam_frames(total, views)}" for total, views in product((2, 3, 4, 14, 21), (1, 2, 3, 7))
    ]
    text += [told(shrink(pattern(*shape)).round().astype(np.int32)) for shape in ((48, 64, 3), (100, 90, 3), (5, 7, 3))]
    base = shrink(pattern(48, 64, 3))
    for across, beside, contrast in product((0.5, 1.0, 1.1, 2.0, 4.0, 4.1), (0.0, 2.0), (0.0, 1.0)):
        frames, level = {}, 0.0
        for frame in range(6):
            level += across if frame == 3 else beside
            frames[frame] = base * contrast + level
        text.append(f"{across} beside {beside}, contrast {contrast}: {runs_on(frames, 6, 2)}")
    half = {frame: base * (frame < 9) for frame in range(18)}
    text.append(f"{runs_on(half, 18, 3)} {runs_on(half, 18, 6)} {runs_on(half, 18, 9)}")
    assert_as_it_was("clip/seams.txt", "\n".join(text))
