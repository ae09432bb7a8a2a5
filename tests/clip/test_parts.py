"""Frames of a video of which only parts were fetched are those of the whole file, to the byte, or it is fetched.

Legend: T frames.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.videos import encode, ffmpeg

from cosmos_ray.clip import parts as module
from cosmos_ray.clip.frames import Video, each_frame, open_video
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.parts import PartFile
from cosmos_ray.clip.samples import samples_of
from cosmos_ray.errors import RowError

H264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-g", "12")
#: What an encoder of each kind is told.
KINDS = {
    "the index at the end": H264,
    "the index first": (*H264, "-movflags", "+faststart"),
    "frames out of order": (*H264, "-bf", "3"),
    "open groups": (*H264, "-bf", "3", "-x264-params", "open-gop=1:scenecut=0"),
    "fragments": (*H264, "-bf", "2", "-movflags", "frag_keyframe+empty_moov"),
    "fragments, the first in the index": (*H264, "-movflags", "frag_keyframe"),
    "fragments with an index of them, open groups": (
        *H264, "-bf", "3", "-x264-params", "open-gop=1:scenecut=0", "-movflags", "dash+frag_keyframe+global_sidx"),
    "a fragment a frame": (*H264, "-bf", "2", "-movflags", "frag_every_frame+empty_moov+default_base_moof"),
    "HEVC": ("-pix_fmt", "yuv420p", "-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params",
             "keyint=12:bframes=3:log-level=error"),
    "MPEG-4": ("-c:v", "mpeg4", "-q:v", "3", "-g", "12", "-bf", "2"),
    "a picture a frame": ("-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "3"),
    "interlaced": (*H264, "-flags", "+ilme+ildct", "-x264-params", "tff=1"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small files have parts."""
    monkeypatch.setattr(module, "_HEAD", 8192)
    monkeypatch.setattr(module, "_AHEAD", 16)
    monkeypatch.setattr(module, "_HOP", 64)
    monkeypatch.setattr(module, "_SMALL", 0)


def noise(frames: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, 48, 64, 3), np.uint8)


class Remote:
    """A file elsewhere. asked: bytes that were asked for in parts; fetched: times that all of it was."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.data, self.asked, self.fetched = source.read_bytes(), 0, 0
        self.parts = PartFile(folder / "0.input", len(self.data), self._read, self._fetch)

    def _read(self, start: int, stop: int) -> bytes:
        self.asked += stop - start
        return self.data[start:stop]

    def _fetch(self) -> None:
        self.fetched += 1
        self.parts.path.write_bytes(self.data)


def read(video: Video, indices: list[int]) -> tuple[VideoInfo, dict[int, bytes]]:
    frames: dict[int, bytes] = {}
    info = each_frame(video, indices, lambda index, frame: frames.__setitem__(index, frame.tobytes()))
    return info, frames


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_those_of_the_whole_file(kind: str, tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mov", noise(), *KINDS[kind], fps=30)
    remote = Remote(path, tmp_path)
    assert remote.parts.lay()
    video, whole = open_video(remote.parts), open_video(path)
    assert video.info == whole.info
    assert video.seconds.tolist() == whole.seconds.tolist()
    last = [83, 86, 89, 92, 95]
    assert read(video, last) == read(whole, last)
    assert remote.fetched == 0
    assert remote.asked < 0.6 * len(remote.data)


FRAGMENTS = "frag_keyframe+empty_moov"


@pytest.mark.parametrize(
    "flags", ["+faststart", FRAGMENTS, f"{FRAGMENTS}+omit_tfhd_offset", f"{FRAGMENTS}+default_base_moof"]
)
def test_frames_in_the_middle_and_beside_a_sound_track(flags: str, tmp_path: Path) -> None:
    silent = encode(tmp_path / "silent.mp4", noise(), *H264, fps=30)
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine", "-i", silent, "-map", "0:a", "-map", "1:v", "-c:v", "copy", "-c:a", "aac",
           "-shortest", "-movflags", flags, path)  # fmt: skip
    remote = Remote(path, tmp_path)
    assert remote.parts.lay()
    assert open_video(remote.parts).info.track == 1
    assert read(open_video(remote.parts), [40, 41])[1] == read(open_video(path), [40, 41])[1]
    assert (remote.fetched, remote.asked < 0.7 * len(remote.data)) == (0, True)


def test_of_intra_refresh_which_cannot_be_begun_with_all_is_fetched(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", noise(), *H264, "-x264-params", "intra-refresh=1", fps=30)
    remote = Remote(path, tmp_path)
    assert remote.parts.lay()
    assert read(open_video(remote.parts), [95]) == read(open_video(path), [95])
    assert remote.fetched == 1


def test_what_a_hole_gives_is_not_believed(tmp_path: Path) -> None:
    """A file whose tables lead elsewhere: nothing of what was wanted is there."""
    path = encode(tmp_path / "a.mp4", noise(), *H264, fps=30)
    remote = Remote(path, tmp_path)
    assert remote.parts.lay()
    video = open_video(remote.parts)
    wrong = replace(remote.parts, read=lambda start, stop: bytes(stop - start))
    assert read(replace(video, parts=wrong), [95]) == read(open_video(path), [95])
    assert remote.fetched == 1


def test_damage_is_told_of_the_whole_file(tmp_path: Path) -> None:
    """In words that may differ from one decoding to the next: whichever thread meets it first."""
    path = encode(tmp_path / "a.mp4", noise(), *H264, fps=30)
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat")
    data[at + len(data) * 8 // 10 : at + len(data) * 9 // 10] = b"\x55" * (len(data) // 10)
    path.write_bytes(data)
    remote = Remote(path, tmp_path)
    assert remote.parts.lay()
    for video in (open_video(path), open_video(remote.parts)):
        with pytest.raises(RowError, match=r"^damaged: "):
            read(video, [95])
    assert remote.fetched == 1


@pytest.mark.parametrize("packets", [94, 95, 96, 97])
def test_where_a_frame_lies_is_only_known_of_as_many_as_there_are(packets: int, tmp_path: Path) -> None:
    """An index and a demux that count differently speak of other frames."""
    remote = Remote(encode(tmp_path / "a.mp4", noise(), *H264, fps=30), tmp_path)
    assert remote.parts.lay()
    of = open_video(remote.parts).packets
    times = np.append(of.decoded, of.decoded[-1] + 1)[:packets]
    asked = remote.asked
    begun = remote.parts.bring(replace(of, decoded=times, times=of.times[:90]), 0, 80, 89)
    assert (begun, remote.asked > asked) == ((72, True) if packets == 96 else (None, False))
    assert remote.parts.bring(of, 1, 80, 89) is None, "nor of a track that is not there"


@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov", "+faststart"])
def test_a_file_that_is_cut_has_no_parts(flags: str, tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", noise(), *H264, "-movflags", flags, fps=30)
    path.write_bytes(path.read_bytes()[:-100])
    assert not Remote(path, tmp_path).parts.lay()


def test_fragments_so_small_that_the_whole_is_nearer_have_no_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = "frag_every_frame+empty_moov"
    remote = Remote(encode(tmp_path / "a.mp4", noise(), *H264, "-movflags", flags, fps=30), tmp_path)
    for size, has_parts in ((2**10, True), (2**13, False)):
        monkeypatch.setattr(module, "_SMALL", size)
        assert remote.parts.lay() is has_parts
    assert remote.asked < 1.5 * len(remote.data)


def test_empty_boxes_are_not_fetched_and_others_of_any_size_are_not_held(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", noise(), *H264, fps=30)
    video = path.read_bytes()
    for kind, has_parts in ((b"free", True), (b"uuid", False)):
        path.write_bytes(video + box(kind, bytes(module._MAX_INDEX)))
        remote = Remote(path, tmp_path)
        assert remote.parts.lay() is has_parts
        assert remote.asked < len(video) + 3 * module._HEAD


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def table(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in (0, *numbers))


def index(sizes: bytes, chunks: bytes, runs: bytes, *more: bytes) -> bytes:
    tables = box(b"stbl", box(b"stsz", sizes), box(b"stco", chunks), box(b"stsc", runs), *more)
    return box(b"mvhd") + box(b"trak", box(b"mdia", box(b"minf", tables)))


SIZES, CHUNKS, RUNS = table(0, 5, 10, 20, 30, 40, 50), table(3, 1000, 2000, 3000), table(2, 1, 2, 1, 3, 1, 1)


def test_samples_lie_in_chunks_one_after_the_other() -> None:
    found = samples_of(index(SIZES, CHUNKS, RUNS, box(b"stss", table(2, 1, 4))), 0)
    assert found is not None
    assert found.offsets.tolist() == [1000, 1010, 2000, 2030, 3000]
    assert (found.sizes.tolist(), found.syncs.tolist()) == ([10, 20, 30, 40, 50], [0, 3])
    every = samples_of(index(table(7, 5), CHUNKS, RUNS), 0)
    assert every is not None
    assert (every.sizes.tolist(), every.syncs.tolist()) == ([7] * 5, [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    "found",
    [
        b"",
        index(SIZES, CHUNKS, RUNS)[:-20],
        index(SIZES, CHUNKS, table(2, 1, 2, 1, 3, 9, 1)),
        index(SIZES, CHUNKS, table(1, 2, 2, 1)),
        index(SIZES, CHUNKS, table(0)),
        index(table(0, 5, 10), CHUNKS, RUNS),
        index(table(1, 2**32 - 1), CHUNKS, table(1, 1, 2**32 - 1, 1)),
        index(SIZES, table(2**32 - 1, 1), RUNS),
    ],
)
def test_tables_that_do_not_fit_together_are_none(found: bytes) -> None:
    assert samples_of(found, 0) is None


def test_another_track_than_there_is_has_none() -> None:
    assert samples_of(index(SIZES, CHUNKS, RUNS), 1) is None


def test_nothing_is_written_into_a_file_that_has_a_second_name(tmp_path: Path) -> None:
    """Once the whole is there, it may be somebody else's."""
    path = encode(tmp_path / "a.mp4", noise(), *H264, fps=30)
    remote = Remote(path, tmp_path)
    assert remote.parts.lay()
    video = open_video(remote.parts)
    remote.parts.path.unlink()
    remote.parts.path.symlink_to(path)
    wrong = replace(remote.parts, read=lambda start, stop: bytes(stop - start))
    assert wrong.bring(video.packets, 0, 90, 95) is not None
    assert path.read_bytes() == remote.data


def test_packets_that_lie_in_another_order_than_they_are_decoded_are_all_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = np.arange(100)
    lie = SimpleNamespace(offsets=900 - 9 * times, sizes=np.full(100, 9), syncs=np.array([0, 50]))
    monkeypatch.setattr(module, "samples_in", lambda path, track: lie)
    (tmp_path / "a.mp4").write_bytes(bytes(2000))
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return bytes(stop - start)

    file = PartFile(tmp_path / "a.mp4", 2000, read, lambda: None)
    packets: Any = SimpleNamespace(decoded=times, times=times)
    assert file.bring(packets, 0, 2, 5) == 0
    last = 5 + module._AHEAD
    assert asked == [(900 - 9 * last, 909)]
