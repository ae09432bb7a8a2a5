"""From a clip to a request: what its hash depends on, what is fetched, and whose fault it is if that fails."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.request import ClipRequest
from cosmos_ray.errors import RowError
from cosmos_ray.gang import prepare as module
from cosmos_ray.gang.prepare import InputFile, Prepared, prepare
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.noise import clip_noise
from cosmos_ray.store import storage
from cosmos_ray.store.faults import BucketMissingError

BUNDLE = load_bundle("fake")
TEXT = Clip(
    id="a.s001",
    row_id="a",
    prompts=("A street.", "A kerb."),
    negative_prompt="blurry",
    guidance=3.5,
    seed=7,
    num_steps=9,
    n_views=2,
    row_hash="r" * 64,
)
FILE = InputFile("s3://b/in.mp4", 1000, "etag", frames=35, height=64, width=112, fps=10.0)


def video(level: int, frames: int = 12) -> bytes:
    """Grey, brighter from frame to frame, of the bundle's size."""
    levels = (level + 4 * np.arange(frames))[:, None, None, None]
    return encode_mp4(np.broadcast_to(levels, (frames, BUNDLE.height, BUNDLE.width, 3)).astype(np.uint8), 10)


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Two views, one after the other in time."""
    (tmp_path / "drive.mp4").write_bytes(video(20))
    return tmp_path / "drive.mp4"


def with_input(*paths: Path, frames: int = 1, n_views: int = 2) -> Clip:
    return replace(TEXT, inputs=tuple(map(str, paths)), num_conditional_frames=frames, n_views=n_views)


# --- what a clip's hash depends on -----------------------------------------------------------------------------------


def test_hashes_of_requests_are_those_of_release_0_1() -> None:
    """They are in records and in names of stored steps; only what that release did not have may change them."""
    request = prepare(TEXT, BUNDLE, attempt=1).request
    assert Prepared(request, ()).request_hash(TEXT, "f" * 64) == (
        hashlib.sha256(b'["' + b"r" * 64 + b'", "' + b"f" * 64 + b'"]').hexdigest()
    )
    told = b'["rr", "ff", {"fps": 10.0, "frames": 35, "height": 64, "size": 1000, "uri": "s3://b/in.mp4", '
    told += b'"version": "etag", "width": 112}, {"fps": null, "frames": null, "height": null, "size": 4, "uri": "e.pt",'
    told += b' "version": "v", "width": null}]'
    prepared = Prepared(request, (FILE, InputFile("e.pt", 4, "v")))
    assert prepared.request_hash(replace(TEXT, row_hash="rr"), "ff") == hashlib.sha256(told).hexdigest()


def test_all_that_decides_a_video_is_in_its_hash() -> None:
    request = prepare(TEXT, BUNDLE, attempt=1).request
    hashes = [
        Prepared(request, (FILE,)).request_hash(TEXT, "model"),
        Prepared(request, (FILE,)).request_hash(TEXT, "another model"),
        Prepared(request, (FILE,)).request_hash(replace(TEXT, row_hash="another row"), "model"),
        Prepared(request, ()).request_hash(TEXT, "model"),
        Prepared(request, (FILE, FILE)).request_hash(TEXT, "model"),
    ]
    for name in ("uri", "size", "version", "frames", "height", "width", "fps"):
        other = replace(FILE, **{name: "another" if isinstance(getattr(FILE, name), str) else 3})
        hashes.append(Prepared(request, (other,)).request_hash(TEXT, "model"))
    assert len(set(hashes)) == len(hashes)
    again = Prepared(prepare(TEXT, BUNDLE, attempt=5).request, (FILE,))
    assert again.request_hash(replace(TEXT, generation=3, id="other"), "model") == hashes[0]


def test_an_input_that_was_replaced_under_its_name_gives_another_hash(drive: Path) -> None:
    """Its row says the same as before: only the store's word for its version tells."""
    clip = with_input(drive)
    before = prepare(clip, BUNDLE, attempt=1)
    assert prepare(clip, BUNDLE, attempt=2).request_hash(clip, "f") == before.request_hash(clip, "f")
    os.utime(drive, (1, 1))
    touched = prepare(clip, BUNDLE, attempt=1)
    assert touched.request_hash(clip, "f") != before.request_hash(clip, "f")
    drive.write_bytes(video(120))
    os.utime(drive, (1, 1))
    replaced = prepare(clip, BUNDLE, attempt=1)
    assert replaced.request_hash(clip, "f") != touched.request_hash(clip, "f")


# --- what comes out --------------------------------------------------------------------------------------------------


def test_a_clip_of_text_brings_everything_its_row_says_and_fetches_nothing() -> None:
    prepared = prepare(TEXT, BUNDLE, attempt=4)
    assert prepared.inputs == ()
    noise = prepared.request.noise
    assert noise is not None
    assert np.array_equal(noise, clip_noise(7, BUNDLE, 2))
    assert replace(prepared.request, noise=None) == ClipRequest(
        id="a.s001",
        prompts=("A street.", "A kerb."),
        negative_prompt="blurry",
        n_views=2,
        num_conditional_frames=0,
        seed=7,
        guidance=3.5,
        num_steps=9,
        attempt=4,
    )


def test_an_input_of_a_clip_without_conditioning_frames_is_not_read() -> None:
    prepared = prepare(replace(TEXT, inputs=("s3://nowhere/in.mp4",)), BUNDLE, attempt=1)
    assert (prepared.request.frames, prepared.inputs) == (None, ())


@pytest.mark.parametrize("count", [1, 5])
def test_conditioning_frames_are_uint8_a_view_and_their_files_are_told(drive: Path, tmp_path: Path, count: int) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(video(120))
    prepared = prepare(with_input(drive, other, frames=count), BUNDLE, attempt=1)
    frames = prepared.request.frames
    assert frames is not None
    assert (frames.shape, frames.dtype) == ((2, count, BUNDLE.height, BUNDLE.width, 3), np.uint8)
    assert frames[1].mean() > frames[0].mean() + 50, "a view a file, in their order"
    assert [(file.uri, file.size, file.version) for file in prepared.inputs] == [
        (str(path), path.stat().st_size, str(path.stat().st_mtime)) for path in (drive, other)
    ]
    for file in prepared.inputs:
        assert (file.frames, file.height, file.width) == (12, BUNDLE.height, BUNDLE.width)
        assert file.fps == pytest.approx(10)


def test_of_one_video_of_all_views_the_frames_of_each_are_told(drive: Path) -> None:
    """By their numbers in the file, from first to last."""
    (told,) = prepare(with_input(drive, frames=5), BUNDLE, attempt=1).inputs
    assert told.taken == (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)


def test_a_row_may_choose_its_cameras(drive: Path) -> None:
    clip = replace(with_input(drive), views=("rear", "front_wide"))
    assert prepare(clip, BUNDLE, attempt=1).request.views == ("rear", "front_wide")
    assert prepare(with_input(drive), BUNDLE, attempt=1).request.chosen_views == ()


def test_what_was_fetched_is_gone_afterwards(drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    prepare(with_input(drive), BUNDLE, attempt=1)
    with pytest.raises(RowError):
        prepare(with_input(drive, tmp_path / "missing.mp4"), BUNDLE, attempt=1)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_embedding_is_read_as_text_and_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "e.npy"
    buffer = io.BytesIO()
    np.save(buffer, np.ones((1, 2 * 512, BUNDLE.text_width), np.float32))
    path.write_bytes(buffer.getvalue())
    clip = replace(TEXT, prompts=(), prompt_embedding=str(path))
    prepared = prepare(clip, BUNDLE, attempt=1)
    text = prepared.request.text
    assert text is not None
    assert text.negative is None, "whoever has the text encoder fills it in"
    assert [one.shape for one in text.positive] == [(512, BUNDLE.text_width)] * 2
    data = buffer.getvalue()
    assert prepared.inputs == (InputFile(str(path), len(data), hashlib.sha256(data).hexdigest()),)


def test_an_embedding_may_have_the_numbers_of_all_views_twice_as_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROOM", 2**10)
    np.save(tmp_path / "e.npy", np.ones((1, 2 * 512, BUNDLE.text_width), np.float64))
    clip = replace(TEXT, prompts=(), prompt_embedding=str(tmp_path / "e.npy"))
    assert prepare(clip, BUNDLE, attempt=1).request.text is not None
    np.save(tmp_path / "e.npy", np.ones((1, 3 * 512, BUNDLE.text_width), np.float64))
    assert "expected at most" in refused(clip)


def test_an_embedding_of_another_suffix_is_refused_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies there may have no end, and what looks at it may hang."""
    for name in ("check_size", "fetch_inputs", "read_regular"):
        monkeypatch.setattr(module, name, None)
    for uri in ("/dev/zero", "s3://b/text.bin"):
        said = refused(replace(TEXT, prompts=(), prompt_embedding=uri))
        assert said.startswith("column `prompt_embedding`: found ")
        assert uri in said


# --- whose fault it is -----------------------------------------------------------------------------------------------


def refused(clip: Clip) -> str:
    with pytest.raises(RowError) as caught:
        prepare(clip, BUNDLE, attempt=1)
    assert caught.value.failure_class == "input"
    return str(caught.value)


def test_what_is_wrong_with_an_input_names_its_column_and_what_was_found(drive: Path, tmp_path: Path) -> None:
    missing, damaged, short = (tmp_path / f"{name}.mp4" for name in ("missing", "damaged", "short"))
    damaged.write_bytes(b"no video at all")
    short.write_bytes(video(20, frames=3))
    for clip, column, found in (
        (with_input(missing), "input_video", missing),
        (with_input(drive, missing), "input_videos", missing),
        (with_input(missing, n_views=1), "input_videos", missing),
        (with_input(tmp_path), "input_video", tmp_path),
        (with_input(damaged), "input_video", damaged),
        (with_input(damaged, n_views=1), "input_videos", damaged),
        (with_input(short, frames=5), "input_video", short),
        (replace(TEXT, prompts=(), prompt_embedding=str(missing)), "prompt_embedding", missing),
    ):
        message = refused(clip)
        assert message.startswith(f"column `{column}`: ")
        assert str(found) in message
    assert refused(with_input(missing)).endswith("expected a file that exists")
    for videos, view in (((damaged, drive), "front_wide"), ((drive, damaged), "cross_right")):
        assert refused(with_input(*videos)).startswith(f"column `input_videos`: {damaged}: view {view}: ")
    assert refused(with_input(short, short, frames=5)).startswith("column `input_videos`: ")


@pytest.mark.parametrize("error", [BucketMissingError("no bucket"), OSError("no answer"), PermissionError("401")])
def test_a_store_that_does_not_answer_is_no_fault_of_the_row(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fail(uri: str) -> None:
        raise error

    monkeypatch.setattr(storage, "filesystem_of", fail)
    for clip in (
        replace(TEXT, inputs=("s3://b/in.mp4",), num_conditional_frames=1),
        replace(TEXT, prompts=(), prompt_embedding="s3://b/e.npy"),
    ):
        with pytest.raises(OSError) as caught:
            prepare(clip, BUNDLE, attempt=1)
        assert caught.value is error
