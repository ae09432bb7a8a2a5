"""Previews: made of frames that are in memory anyway, stored beside the clip, and never a reason to lose it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path

import numpy as np
import pytest

from cosmos_ray.config import GangConfig
from cosmos_ray.gang.commit import Made, clip_folder
from cosmos_ray.gang.delivery import Delivery
from cosmos_ray.gang.prepare import Prepared
from cosmos_ray.gang.previews import leave_small, previews_in
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.tidy import clean, remove_other_attempts
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage

CLIP = Clip("a", "a", ("A street.",), n_views=2, row_hash="r" * 64)
FRAMES = np.zeros((3, 16, 32, 3), np.uint8)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    return Storage(str(tmp_path / "out"))


def made(storage: Storage, attempt: int = 1, mark: str = "", small: bool = True) -> Record:
    """As ranks and leader do it."""
    spec = GangSpec(load_bundle("fake"), 2, "cpu", "reference", storage.uri, 1, GangConfig())

    async def deliver() -> Record:
        delivery = Delivery(storage, spec)
        place = await delivery.place(CLIP, attempt)
        files = []
        for view in CLIP.cameras:
            Path(place, f"{view}.mp4").write_bytes(b"video")
            path = f"{clip_folder(CLIP, attempt)}/{view}.mp4"
            files.append(FileEntry(view, path, 5, hashlib.sha256(b"video").hexdigest()))
            if small:
                leave_small(place, view, FRAMES)
        prepared = Prepared(None, ())  # type: ignore[arg-type]
        done = Made(CLIP, attempt, prepared, "gang-0001", "node", "2026-01-01", 0, {"denoise": 2.0}, tuple(files))
        return await delivery.made(place, done, mark)

    return asyncio.run(deliver())


def test_they_are_stored_with_the_clip_and_its_record_names_them(storage: Storage) -> None:
    record = made(storage)
    assert [one.path for one in record.previews] == ["previews/a/1.mp4", "previews/a/1.jpg"]
    for one in record.previews:
        data = storage.read(one.path)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one.size, one.sha256)
    assert set(storage.list("clips")) == {
        *("clips/a/1/clip.json", "clips/a/1/cross_right.mp4", "clips/a/1/front_wide.mp4"),
    }
    assert Ledger(storage).find("a", 0) == record


def test_a_clip_without_small_frames_is_a_clip(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        record = made(storage, small=False)
    assert (record.status, record.previews) == ("ok", ())
    assert "a: no preview" in caplog.text


def test_a_rank_whose_disk_is_full_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leave_small(str(tmp_path / "nowhere"), "rear", FRAMES)
    assert "no small frames of rear" in caplog.text
    assert previews_in(str(tmp_path), "a", 1, ["rear"], 10) == ()


def test_an_attempt_of_another_number_takes_its_previews_with_it(storage: Storage) -> None:
    storage.write("_cosmos_ray/attempts/a.1", b"another's")
    record = made(storage, mark="1/gang-0001/x")
    assert [one.path for one in record.previews] == ["previews/a/2.mp4", "previews/a/2.jpg"]
    assert all(storage.exists(one.path) for one in record.previews)


def test_those_of_other_attempts_are_removed(storage: Storage) -> None:
    storage.write("previews/a/1.mp4", b"of an attempt that was cut off")
    record = made(storage, attempt=2)
    remove_other_attempts(storage, record, 1)
    assert set(storage.list("previews")) == {"previews/a/2.jpg", "previews/a/2.mp4"}


def test_cleaning_removes_those_that_no_record_names(storage: Storage) -> None:
    made(storage)
    for path in ("previews/a/2.mp4", "previews/b/1.jpg"):
        storage.write(path, b"x")
    clean(storage)
    assert set(storage.list("previews")) == {"previews/a/1.jpg", "previews/a/1.mp4"}


def test_a_preview_shows_its_views_in_the_rigs_order_whatever_the_rows(tmp_path: Path) -> None:
    """Pages put their names beside it."""
    views = ("front_wide", "cross_right", "rear")
    made = []
    for order in (views, views[::-1]):
        for level, view in enumerate(views):
            leave_small(str(tmp_path), view, FRAMES + np.uint8(80 * level))
        made.append(previews_in(str(tmp_path), "a", 1, order, 10))
        assert not list(tmp_path.glob("*.npy")), "the small frames have had their use"
    assert made[0] == made[1]
    assert len(made[0]) == 2
