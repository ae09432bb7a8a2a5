"""Pictures of another shape become a model's: to the byte as the published pipeline does it, or padded, or stretched.

Legend: T frames, H/W height/width, C channels (RGB).
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from support.paths import GOLDEN
from support.published_inputs import conditioning_frames
from support.videos import moving_picture

from cosmos_ray.clip.resize import (
    crop_warning,
    fit_frame,
    resize_crop,
    stretch_frame,
    stretch_warning,
)


@pytest.mark.parametrize(
    "spec", json.loads((GOLDEN / "preprocess.json").read_text())["specs"], ids=lambda spec: str(spec["index"])
)
def test_conditioning_frames_equal_the_published_pipelines(spec: dict) -> None:
    """Byte for byte where no resize is needed, to one level where there is one."""
    with safe_open(GOLDEN / "preprocess.safetensors", "np") as file:
        clip_THWC = file.get_tensor(f"{spec['index']}.video_in_THWC_u8")
        expected_1CTHW = file.get_tensor(f"{spec['index']}.out_1CTHW_u8")
    n_views, count = spec["n_views"], {0: 0, 1: 1, 2: 5}[spec["num_latent_conditional_frames"]]
    expected = expected_1CTHW[0].transpose(1, 2, 3, 0)
    expected = expected.reshape(n_views, -1, *expected.shape[1:])[:, :count]
    found = conditioning_frames(clip_THWC, n_views, count, tuple(spec["target_hw"]))
    assert found.shape == expected.shape
    worst = np.abs(found.astype(int) - expected).max(initial=0)
    assert worst <= (0 if spec["in_hw"] == spec["target_hw"] else 1)


def from_torch(source: tuple[int, int], target: tuple[int, int], seed: int) -> np.ndarray:
    """How far every number of two pictures of noise is from torch's antialiased bilinear, cut in the middle."""
    torch = pytest.importorskip("torch")
    frames = np.random.default_rng(seed).integers(0, 256, (2, *source, 3), np.uint8)
    scale = max(target[0] / source[0], target[1] / source[1])
    size = [int(np.ceil(scale * side)) for side in source]
    floats = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    scaled = torch.nn.functional.interpolate(floats, size, mode="bilinear", align_corners=False, antialias=True)
    top, left = (round((full - part) / 2) for full, part in zip(size, target, strict=True))
    scaled = scaled[..., top : top + target[0], left : left + target[1]].permute(0, 2, 3, 1)
    expected = (scaled * 255).clamp(0, 255).to(torch.uint8).numpy()
    found: np.ndarray = np.abs(resize_crop(frames, target).astype(int) - expected)
    return found


@pytest.mark.parametrize(
    ("source", "target"), [((90, 160), (64, 112)), ((37, 51), (16, 16)), ((20, 30), (64, 112)), ((64, 130), (64, 112))]
)
def test_resize_is_torchs_antialiased_bilinear(source: tuple[int, int], target: tuple[int, int]) -> None:
    difference = from_torch(source, target, 0)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def sizes(most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, most), st.integers(1, most))


@settings(max_examples=30)
@given(sizes(150), sizes(100), st.integers(0, 2**32 - 1))
def test_so_it_is_to_one_level_whatever_the_shapes(source: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    """Larger and smaller, turned, a line, an odd rest to cut off."""
    assert from_torch(source, target, seed).max() <= 1


def test_resize_refuses_what_is_no_picture() -> None:
    with pytest.raises(ValueError, match=r"found frames float32 \[1, 4, 4, 3\], expected uint8"):
        resize_crop(np.zeros((1, 4, 4, 3), np.float32), (2, 2))


def test_frames_of_an_array_that_cannot_be_divided_are_refused() -> None:
    frames = moving_picture(8)
    with pytest.raises(ValueError, match="found 8 frames, expected 7 times 1 or more"):
        conditioning_frames(frames, 7, 1, (48, 64))
    with pytest.raises(ValueError, match="found 8 frames, expected 2 times 5 or more"):
        conditioning_frames(frames, 2, 5, (48, 64))


def test_padding_keeps_all_of_a_picture_and_stretching_fills_with_it() -> None:
    frame = np.full((40, 40, 3), 200, np.uint8)
    padded = fit_frame(frame, (64, 112), "pad")
    assert (padded[:, 24:88] >= 199).all()
    assert padded[:, :24].max() == padded[:, 88:].max() == 0
    tall = fit_frame(np.full((80, 20, 3), 200, np.uint8), (64, 112), "pad")
    assert (tall > 0).any(axis=(1, 2)).all()
    assert (fit_frame(frame, (64, 112), "stretch") >= 199).all()
    wide = fit_frame(np.full((20, 400, 3), 200, np.uint8), (64, 112), "pad")
    assert (wide > 0).any(axis=(0, 2)).all()
    assert 4 <= (wide > 0).any(axis=(1, 2)).sum() <= 8


def test_a_picture_of_the_right_size_stays_as_it_is_whatever_the_fit() -> None:
    frame = moving_picture(1, 64, 112)[0]
    for fit in ("crop", "pad", "stretch"):
        assert np.array_equal(fit_frame(frame, (64, 112), fit), frame), fit


@pytest.mark.parametrize(
    ("height", "width", "said"),
    [
        (64, 112, None),
        (128, 224, None),
        (96, 160, None),  # a twentieth of the rows
        (108, 144, "cropped by 24 % of its rows to fit 112x64 (inputs.fit)"),
        (108, 192, None),
        (100, 400, "cropped by 56 % of its columns to fit 112x64 (inputs.fit)"),
    ],
)
def test_cropping_by_more_than_a_tenth_is_said(height: int, width: int, said: str | None) -> None:
    assert crop_warning(height, width, (64, 112)) == said


def test_stretched_input_of_the_next_model_is_rounded_to_the_nearest_and_padding_down() -> None:
    picture = np.repeat(np.array([[[10], [13]]], np.uint8), 3, axis=2)
    assert stretch_frame(picture, (1, 4))[0, :, 0].tolist() == [10, 11, 12, 13]
    assert fit_frame(picture, (1, 4), "stretch")[0, :, 0].tolist() == [10, 10, 12, 13]


def test_stretching_by_more_than_a_tenth_either_way_is_said() -> None:
    assert stretch_warning(100, 100, (100, 109)) is None
    assert stretch_warning(100, 109, (100, 100)) is None
    wider, taller = stretch_warning(100, 100, (100, 120)), stretch_warning(100, 120, (100, 100))
    assert wider == "stretched to 120x100, 1.20 times wider than it was (inputs.fit)"
    assert taller == "stretched to 100x100, 1.20 times taller than it was (inputs.fit)"
