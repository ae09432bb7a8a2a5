"""Small files that ask for much: memory, time, room. They are refused, or cost what any file may cost."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.videos import encode
from support.waiting import PATIENCE_S

from cosmos_ray.clip import colour, container, frames, memory, pictures, resize
from cosmos_ray.clip.container import check_container
from cosmos_ray.clip.encode import encode_png
from cosmos_ray.clip.ffmpeg import FfmpegFailed, ffmpeg_path, piped, run
from cosmos_ray.clip.frames import read_frames
from cosmos_ray.clip.memory import ALL, room_for, to_decode
from cosmos_ray.clip.pictures import look, read_picture
from cosmos_ray.errors import RowError
from cosmos_ray.limits import TimeIsUp, time_limit

RNG = np.random.default_rng(0)
NOISE = ("-f", "lavfi", "-i", "color=gray:s=1920x1080:d=1")

#: Memory of this process and of the largest it ran, MB, after seven videos were read at once. The system refuses this
#: process more than is promised.
_READ = """
import resource, sys
from pathlib import Path
from cosmos_ray.clip.conditioning import read_conditioning
from cosmos_ray.clip.request import VIEWS

def megabytes(what):
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[what].split()[0]) // 1024

most = (megabytes("VmData") + 1024) * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
found = read_conditioning([Path(sys.argv[1])] * 7, VIEWS, 1, (704, 1280), 10)
assert found.frames.shape == (7, 1, 704, 1280, 3)
assert "scaled to 3840x2160 first" in found.infos[0].conversions
print(megabytes("VmHWM"))  # ru_maxrss has that of whoever began this process, too
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_large_pictures_take_the_memory_that_the_page_says(tmp_path: Path) -> None:
    """Of 8K, a kilobyte a frame: whole they were once 6.9 GB here, and 2.2 GB in ffmpeg."""
    source = ("-f", "lavfi", "-i", "color=gray:s=7680x4320:r=10:d=0.4", "-pix_fmt", "yuv420p")
    subprocess.run(
        [ffmpeg_path(), "-loglevel", "error", *source, "-c:v", "libx264", "-preset", "ultrafast", tmp_path / "8k.mp4"],
        check=True,
    )
    assert (tmp_path / "8k.mp4").stat().st_size < 100_000
    command = [sys.executable, "-c", _READ, str(tmp_path / "8k.mp4")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    here, ffmpeg = map(int, said.split())
    assert here < 500
    assert ffmpeg * 2**20 < to_decode(7680 * 4320, 3840 * 2160, is_deep=False)


def test_an_ffmpeg_has_the_memory_that_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(FfmpegFailed, match="it takes more than 40 MB"):
        run((*NOISE, "-f", "rawvideo", "pipe:1"), memory=40 * 2**20)
    with (
        pytest.raises(FfmpegFailed, match="it takes more than 40 MB"),
        piped((*NOISE, "-f", "rawvideo", "pipe:1"), memory=40 * 2**20) as out,
    ):
        out.read()
    video = encode(tmp_path / "a.mp4", RNG.integers(0, 256, (3, 64, 96, 3), np.uint8))
    assert read_frames(video, [2]).shape == (1, 64, 96, 3)


def test_inputs_take_no_more_memory_where_there_are_many_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node of 64 each video was damaged: the encoder of raw pictures began as many threads."""
    of_128_cores = tmp_path / "ffmpeg"
    of_128_cores.write_text(f'#!/bin/sh\nexec {ffmpeg_path()} -cpucount 128 "$@"\n')
    of_128_cores.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(of_128_cores))
    drawn = RNG.integers(0, 256, (3, 64, 96, 3), np.uint8)
    assert read_frames(encode(tmp_path / "a.mp4", drawn), [2]).shape == (1, 64, 96, 3)
    assert np.array_equal(read_picture(encode_png(drawn[0])), drawn[0])


def test_all_ffmpegs_at_once_have_no_more_than_is_said() -> None:
    """Whoever asks waits until there is room: two by two."""
    used, most, lock, pair = 0, 0, threading.Lock(), threading.Barrier(2, timeout=PATIENCE_S)

    def take() -> None:
        nonlocal used, most
        with room_for(ALL // 2):
            with lock:
                used += 1
                most = max(most, used)
            pair.wait()
            time.sleep(0.01)  # in which a third would come in if it could
            with lock:
                used -= 1

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
    assert memory._free == ALL
    with room_for(10 * ALL), time_limit(0.05), pytest.raises(TimeIsUp, match="waiting for memory"), room_for(1):
        pass
    assert memory._free == ALL


@pytest.mark.parametrize("band", [1, 7, 10**6])
def test_a_picture_is_the_same_however_many_rows_are_worked_on(monkeypatch: pytest.MonkeyPatch, band: int) -> None:
    picture = RNG.integers(0, 256, (100, 90, 3), np.uint8)
    deep = RNG.integers(0, 65536, (100, 90, 3), np.uint16)
    clear = RNG.integers(0, 256, (100, 90, 4), np.uint8)

    def made() -> list[bytes]:
        return [
            resize.resize_crop(picture[None], (48, 64)).tobytes(),
            resize.fit_frame(picture, (48, 64), "stretch").tobytes(),
            colour.to_bt709(deep, "smpte2084", "bt2020").tobytes(),
            pictures._on_black(clear).tobytes(),
        ]

    before = made()
    for module in (resize, colour, pictures):
        monkeypatch.setattr(module, "BAND", band)
    assert made() == before


def box(kind: bytes, body: bytes = b"") -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def test_a_file_of_empty_boxes_is_not_walked_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(box(b"ftyp", b"isom\0\0\0\0") + box(b"free") * 300_000)
    with pytest.raises(RowError, match="too many boxes: found more than 250000"):
        check_container(tmp_path / "a.mp4")


def test_an_index_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not read in one piece: what says that a video is encrypted may lie across two."""
    with (tmp_path / "a.mp4").open("wb") as file:
        file.write(box(b"ftyp", b"isom\0\0\0\0") + (2**30).to_bytes(4, "big") + b"moov")
        file.truncate(24 + 2**30)
    with pytest.raises(RowError, match=rf"an index \(box 'moov'\) of {2**30} bytes, expected at most"):
        check_container(tmp_path / "a.mp4")
    monkeypatch.setattr(container, "_MAX_INDEX", 100)
    (tmp_path / "c.mp4").write_bytes(box(b"ftyp", b"isom") + box(b"moov", bytes(42)) * 3 + box(b"mdat"))
    with pytest.raises(RowError, match="of 150 bytes, expected at most 100"):
        check_container(tmp_path / "c.mp4")
    (tmp_path / "c.mp4").write_bytes(box(b"ftyp", b"isom") + box(b"moov", bytes(42)) * 2 + box(b"mdat"))
    assert check_container(tmp_path / "c.mp4") == "mp4"
    monkeypatch.undo()
    monkeypatch.setattr(container, "_PIECE", 64)
    for shift in range(64):
        index = box(b"moov", bytes(100 + shift) + b"stsd" + bytes(12) + b"encv" + bytes(50))
        (tmp_path / "b.mp4").write_bytes(box(b"ftyp", b"isom\0\0\0\0") + index + box(b"mdat"))
        with pytest.raises(RowError, match="encrypted"):
            check_container(tmp_path / "b.mp4")


def test_a_table_of_samples_that_claims_billions_costs_nothing(tmp_path: Path) -> None:
    """Of one size each, which takes no room in the file."""
    video = bytearray(encode(tmp_path / "a.mp4", RNG.integers(0, 256, (4, 64, 96, 3), np.uint8)).read_bytes())
    at = video.index(b"stsz") + 8
    video[at : at + 8] = (1).to_bytes(4, "big") + (2**31 - 1).to_bytes(4, "big")
    (tmp_path / "b.mp4").write_bytes(video)
    with pytest.raises(RowError, match=r"damaged|takes more than|truncated"):
        read_frames(tmp_path / "b.mp4", [0])


def test_hours_are_not_decoded_for_one_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = encode(tmp_path / "a.mp4", RNG.integers(0, 256, (30, 64, 96, 3), np.uint8), "-g", "1000")
    monkeypatch.setattr(frames, "MAX_DECODED", 20 * 64 * 96)
    assert read_frames(video, [19]).any()
    with pytest.raises(RowError, match=r"too much to decode: 25 frames of 96x64 from the last key .* at most 20"):
        read_frames(video, [24])
    near = encode(tmp_path / "b.mp4", RNG.integers(0, 256, (30, 64, 96, 3), np.uint8), "-g", "10", "-bf", "0")
    assert read_frames(near, [24]).any(), "it is counted from the key frame before"


def test_a_picture_cut_into_millions_is_not_gone_through(tmp_path: Path) -> None:
    png = encode_png(RNG.integers(0, 256, (8, 8, 3), np.uint8))
    (tmp_path / "a.png").write_bytes(png[:33] + (bytes(4) + b"juNk" + bytes(4)) * 150_000 + png[33:])
    with pytest.raises(RowError, match="truncated: the PNG does not end"):
        look(tmp_path / "a.png")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8" + b"\xff" * 1_000_000 + b"\xff\xd9")
    with pytest.raises(RowError, match="a JPEG without a picture's header"):
        look(tmp_path / "a.jpg")


def test_a_file_that_is_no_picture_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "hole.jpg").open("wb") as file:
        file.truncate(400 * 2**20)
    with pytest.raises(RowError, match="not a JPEG or PNG: no known kind of file"):
        look(tmp_path / "hole.jpg")
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(RowError, match="too large: a file of"):
        look(tmp_path / "large.jpg")
