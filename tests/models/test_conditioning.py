"""What the model is conditioned on, from the files of a drive to the latents.

* the frames are the last n of each view, of that view, upright, scaled and cropped about the centre, and the same from
  seven files as from one
* nothing is cut away from a source of the model's own shape, and equal strips from a wider one
* the latents of the clip begin with the autoencoder's latents of exactly these frames
* encoding the next clip's frames while a clip is decoded, as a gang does, changes neither

The drive is rendered at another size, shape and rate than the model's.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sample_drive import render, scene_from_seed

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.request import LATENT_FRAMES, VIEWS
from cosmos_ray.clip.resize import resize_crop
from cosmos_ray.errors import RowError
from cosmos_ray.gang.prepare import prepare
from cosmos_ray.manifest.rows import Clip, RowDefaults, clips_of_row
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.noise import draw_noise
from cosmos_ray.models.vae.pixels import normalise_frames

HEIGHT, WIDTH, FRAMES, FPS = 96, 192, 9, 30
DEFAULTS = RowDefaults(n_views=7, num_steps=1, guidance=3.0, negative_prompt="")


@pytest.fixture(scope="module")
def drive() -> dict[str, np.ndarray]:
    """{view: uint8 [T, H, W, 3]}, wider than the model's pictures."""
    return render(scene_from_seed(3), HEIGHT, WIDTH, FRAMES, FPS)


@pytest.fixture(scope="module")
def folder(drive: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An mp4 a view, and `video.mp4` with the views one after the other in time."""
    folder = tmp_path_factory.mktemp("drive")
    for view, frames in drive.items():
        (folder / f"{view}.mp4").write_bytes(encode_mp4(frames, FPS))
    (folder / "video.mp4").write_bytes(encode_mp4(np.concatenate([drive[view] for view in VIEWS]), FPS))
    return folder


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("tiny")


@pytest.fixture(scope="module")
def generator(bundle: Bundle) -> Generator:
    return Generator.load(bundle)


def clip_of(folder: Path, source: str, num_frames: int) -> Clip:
    """The clip of a manifest row whose input is `video.mp4` ("joined") or an mp4 a camera ("cameras")."""
    shuffled = sorted(VIEWS)  # a struct's fields come in any order
    inputs = {"input_video": "video.mp4"} if source == "joined" else {
        "input_videos": {view: f"{view}.mp4" for view in shuffled}
    }  # fmt: skip
    row = {"id": "drive", "prompt": "A city street.", "num_conditional_frames": num_frames, "fps": FPS, **inputs}
    (clip,) = clips_of_row(row, DEFAULTS, str(folder))
    assert clip.error is None
    return clip


def shrink(frames: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Another way to resize than the one under test: each target pixel is the mean of the source area under it, after
    a centre crop to the shape of `size_hw`. float [T, H, W, 3]."""
    scale = min(frames.shape[1] / size_hw[0], frames.shape[2] / size_hw[1])
    image = frames.astype(float)
    for axis, target in ((1, size_hw[0]), (2, size_hw[1])):
        size = image.shape[axis]
        edges = (size - target * scale) / 2 + np.arange(target + 1) * scale
        sums = np.insert(image.cumsum(axis), 0, 0, axis)  # the area up to each source edge, linear in between
        low = np.minimum(edges.astype(int), size - 1)
        part = (edges - low).reshape([-1 if other == axis else 1 for other in range(4)])
        at_edges = sums.take(low, axis) * (1 - part) + sums.take(low + 1, axis) * part
        image = np.diff(at_edges, axis=axis) / scale
    return image


@pytest.mark.parametrize("source", ["cameras", "joined"])
@pytest.mark.parametrize("num_frames", [1, 5])
def test_the_last_frames_of_each_file_and_no_others(folder: Path, bundle: Bundle, source: str, num_frames: int) -> None:
    """To the byte: what a decoder gives for the whole file, its last n frames, resized."""
    frames = prepare(clip_of(folder, source, num_frames), bundle, attempt=1).request.frames
    size = (bundle.height, bundle.width)
    assert frames is not None
    assert frames.shape == (7, num_frames, *size, 3)
    if source == "joined":
        whole = decode_mp4(folder / "video.mp4").reshape(7, FRAMES, HEIGHT, WIDTH, 3)
    else:
        whole = np.stack([decode_mp4(folder / f"{view}.mp4") for view in VIEWS])
    for view in range(7):
        assert np.array_equal(frames[view], resize_crop(whole[view, -num_frames:], size)), VIEWS[view]


@pytest.mark.parametrize("source", ["cameras", "joined"])
def test_each_view_gets_its_own_picture_upright_and_in_time(
    folder: Path, drive: dict[str, np.ndarray], bundle: Bundle, source: str
) -> None:
    """Of all views, moments and flips of what was rendered, the right one is nearest."""
    frames = prepare(clip_of(folder, source, 5), bundle, attempt=1).request.frames
    assert frames is not None
    rendered = {view: shrink(drive[view], (bundle.height, bundle.width)) for view in VIEWS}
    for index, view in enumerate(VIEWS):
        for step in range(5):
            error = {
                (other, moment, flip): np.abs(frames[index, step] - candidate).mean()
                for other in VIEWS
                for moment in range(FRAMES)
                for flip, candidate in (
                    ("as it is", rendered[other][moment]),
                    ("upside down", rendered[other][moment, ::-1]),
                    ("mirrored", rendered[other][moment, :, ::-1]),
                )
            }
            assert min(error, key=lambda key: error[key]) == (view, FRAMES - 5 + step, "as it is")
            assert error[view, FRAMES - 5 + step, "as it is"] < 6


@pytest.mark.parametrize(
    ("height", "width", "strip"),
    [(128, 224, (0, 0)), (128, 256, (0, 8)), (192, 224, (20, 0))],
    ids=["own shape", "wider", "taller"],
)
def test_what_is_cut_away(tmp_path: Path, bundle: Bundle, height: int, width: int, strip: tuple[int, int]) -> None:
    """Blocks of 16 source pixels mark the corners of what must be left: they end in the picture's corners, 8 wide."""
    top, left = strip[0], strip[1] * 2
    frame = np.full((height, width, 3), 60, np.uint8)
    if strip[0]:
        top = (height - 128) // 2
    for y in (top, height - top - 16):
        for x in (left, width - left - 16):
            frame[y : y + 16, x : x + 16] = 220
    for view in VIEWS:
        (tmp_path / f"{view}.mp4").write_bytes(encode_mp4(frame[None], FPS))
    frames = prepare(clip_of(tmp_path, "cameras", 1), bundle, attempt=1).request.frames
    assert frames is not None
    expected = np.full((bundle.height, bundle.width), False)
    for rows in (slice(0, 8), slice(-8, None)):
        for columns in (slice(0, 8), slice(-8, None)):
            expected[rows, columns] = True
    assert np.array_equal(frames[2, 0].mean(axis=-1) > 140, expected)


def test_a_view_that_is_too_short_says_which(folder: Path, drive: dict[str, np.ndarray], tmp_path: Path) -> None:
    for view in VIEWS:
        frames = drive[view][: 4 if view == "rear" else FRAMES]
        (tmp_path / f"{view}.mp4").write_bytes(encode_mp4(frames, FPS))
    with pytest.raises(RowError, match=r"view rear: found 4 frames \(0.133 s at 30 a second\), expected at least 5"):
        prepare(clip_of(tmp_path, "cameras", 5), load_bundle("tiny"), attempt=1)


@pytest.mark.slow
@pytest.mark.parametrize("num_frames", [1, pytest.param(5, marks=pytest.mark.long)])
def test_the_clip_begins_with_the_latents_of_exactly_these_frames(
    folder: Path, bundle: Bundle, num_frames: int
) -> None:
    """Of a clip of three latent frames.

    Conditional latents are the autoencoder's of the prepared frames, view by view, and of the frames alone: what
    would come after them does not matter, because the encoder is causal. Latents after them are generated."""
    bundle = bundle.model_copy(update={"state_t": 3})
    generator = Generator.load(bundle)
    request = prepare(clip_of(folder, "cameras", num_frames), bundle, attempt=1).request
    assert request.frames is not None
    made = generator.collect(generator.denoise(request))
    whole = np.zeros((7, bundle.num_frames, *request.frames.shape[2:]), np.uint8)  # black after the given frames
    whole[:, :num_frames] = request.frames
    given = LATENT_FRAMES[num_frames]
    for index, view in enumerate(VIEWS):
        video = normalise_frames(torch.from_numpy(whole[index]).permute(3, 0, 1, 2)[None], torch.float32)
        encoded = generator.vae.encode(video)[0]
        torch.testing.assert_close(made[view][:, :given], encoded[:, :given], atol=1e-4, rtol=0)
        assert (made[view][:, given:] - encoded[:, given:]).abs().max() > 0.1, "copied, not generated"


@pytest.mark.slow
def test_encoding_and_decoding_at_once_disturb_neither(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank decodes a clip in one thread while it encodes the next one's frames in another; in chunks, for which the
    library keeps what it has seen."""
    monkeypatch.setattr("cosmos_ray.models.vae.vae._WHOLE_LIMIT", 0)
    random = torch.Generator().manual_seed(0)
    video = torch.rand(1, 3, 5, 64, 112, generator=random) * 2 - 1
    latents = torch.randn(1, 16, 3, 8, 14, generator=random)
    encoded, decoded = generator.vae.encode(video), generator.vae.decode(latents)
    wrong: list[str] = []
    done = threading.Event()

    def decode_until_done() -> None:
        while not done.is_set():
            if not torch.equal(generator.vae.decode(latents), decoded):
                wrong.append("decoded")

    thread = threading.Thread(target=decode_until_done)
    thread.start()
    try:
        for _ in range(5):
            if not torch.equal(generator.vae.encode(video), encoded):
                wrong.append("encoded")
    finally:
        done.set()
        thread.join()
    assert not wrong, f"{len(wrong)} passes came out different"


def test_attempts_do_not_change_what_is_prepared(folder: Path, bundle: Bundle) -> None:
    clip = clip_of(folder, "cameras", 5)
    first, second = (prepare(clip, bundle, attempt).request for attempt in (1, 2))
    assert first.frames is not None
    assert second.frames is not None
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.noise, second.noise)
    assert replace(second, attempt=1, frames=None, noise=None) == replace(first, frames=None, noise=None)


def test_noise_is_drawn_ahead_as_it_would_be_when_it_is_needed(folder: Path, bundle: Bundle) -> None:
    prepared = prepare(clip_of(folder, "cameras", 1), bundle, 1).request
    sizes = (bundle.vae.z_dim, 7, bundle.state_t, bundle.height // 8, bundle.width // 8)
    assert prepared.noise is not None
    assert np.array_equal(prepared.noise, draw_noise(prepared.seed, sizes))
