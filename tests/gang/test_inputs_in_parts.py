"""Of a large video in a store a gang reads what its frames are decoded from, and no more."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from support.videos import encode

from cosmos_ray.clip import parts
from cosmos_ray.errors import RowError
from cosmos_ray.gang import inputs
from cosmos_ray.gang.prepare import take_inputs
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.store import traffic
from cosmos_ray.store.storage import Stat, Storage

SIZE = (64, 112)
H264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-g", "12")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small files have parts."""
    monkeypatch.setattr(inputs, "LARGE", 50_000)
    monkeypatch.setattr(parts, "_HEAD", 8192)
    monkeypatch.setattr(parts, "_HOP", 1024)
    monkeypatch.setattr(parts, "_SMALL", 0)
    monkeypatch.setattr(parts, "_AHEAD", 16)


def recorded(path: Path, *how: str) -> Path:
    """Four seconds."""
    frames = np.random.default_rng(0).integers(0, 256, (120, 64, 112, 3), np.uint8)
    return encode(path, frames, *H264, *how, fps=30)


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return recorded(tmp_path / "drive.mp4")


def clip_of(*uris: str) -> Clip:
    return Clip("a", "a", inputs=uris, num_conditional_frames=5, n_views=len(uris))


def read_by(clip: Clip) -> tuple[list[bytes], int]:
    """(conditioning frames, bytes read)."""
    traffic.take()
    _, found = take_inputs(clip, SIZE)
    assert found is not None
    return [frames.tobytes() for frames in found.frames], traffic.take().read


def test_a_file_on_disk(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = drive.stat().st_size
    in_parts, few = read_by(clip_of(str(drive), str(drive)))
    monkeypatch.setattr(inputs, "LARGE", size + 1)
    whole, all_of_it = read_by(clip_of(str(drive), str(drive)))
    assert in_parts == whole
    assert all_of_it == 2 * size
    assert few < 2 * 0.5 * size


@pytest.mark.slow
@pytest.mark.parametrize("how", ["-bf 0", "-movflags frag_keyframe+empty_moov", "-bf 3 -x264-params open-gop=1"])
def test_an_object_in_a_bucket(how: str, tmp_path: Path, s3: str) -> None:
    drive = recorded(tmp_path / "drive.mp4", *how.split())
    Storage(s3).write_file("drive.mp4", drive)
    found, few = read_by(clip_of(f"{s3}/drive.mp4"))
    assert found == read_by(clip_of(str(drive)))[0]
    assert few < 0.5 * drive.stat().st_size


@pytest.mark.parametrize("more", [0, 1], ids=["as large", "larger"])
def test_a_file_that_is_replaced_while_it_is_read_is_read_again_by_another_attempt(
    drive: Path, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    size = drive.stat().st_size
    monkeypatch.setattr(inputs, "stat_of", Mock(side_effect=[Stat(size, "one"), Stat(size + more, "two")]))
    with pytest.raises(OSError, match=r"drive.mp4 was replaced while it was read"):
        take_inputs(clip_of(str(drive)), SIZE)


def test_a_large_file_that_is_cut_is_refused_in_the_words_of_a_small_one(
    drive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive.write_bytes(drive.read_bytes()[:-500])
    said = []
    for large in (50_000, 10**9):
        monkeypatch.setattr(inputs, "LARGE", large)
        with pytest.raises(RowError, match="truncated") as raised:
            take_inputs(clip_of(str(drive)), SIZE)
        said.append(str(raised.value))
    assert said[0] == said[1]
