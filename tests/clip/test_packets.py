"""What a demux tells of frames and of where decoding can begin: from its lines, without a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cosmos_ray.clip import packets
from cosmos_ray.clip.ffmpeg import FfmpegFailed
from cosmos_ray.clip.packets import Packets, packets_of
from cosmos_ray.errors import RowError

#: Stream, times (decoded, shown), duration, size, sum, marks: 1 a key frame, 4 one that is hidden.
LINES = b"""#tb 0: 1/1000
0, 150,   -100,  50, 9, 0x0, F=0x5
0,   0,    100,  50, 9, 0x0
1,   0,    100,  50, 9, 0x0
0,  400, NOPTS,  40, 9, 0x0, F=0x1
0,  50,    300,  50, 9, 0x0, F=0x0
0, 100,    200,  60, 9, 0x0, F=0x0
""".splitlines(keepends=True)


class Demux:
    """Stands in for ffmpeg. refuses: an argument that it fails on. partial: what it says of the file."""

    def __init__(self, refuses: str = "", said: Sequence[str] = ()) -> None:
        self.refuses, self.said = refuses, said

    @contextmanager
    def __call__(self, arguments: Sequence[str], errors: list[str]) -> Iterator[list[bytes]]:
        errors += self.said
        if self.refuses in arguments:
            raise FfmpegFailed(["no such filter"])
        yield [line for line in LINES if line[:1] != b"1" or "-bsf:v:1" in arguments]


def found(
    monkeypatch: pytest.MonkeyPatch, codec: str, most: int = 100, demux: Demux | None = None, exact: Sequence[int] = ()
) -> Packets:
    """exact: packets that a look into doubtful key frames would find to begin with."""

    def recovery_points(_path: Path, _track: int, doubtful: np.ndarray, total: int) -> np.ndarray:
        assert (doubtful.tolist(), total) == ([0, 2], 5), "key frames that are no entries yet"
        return np.array(exact, np.int64)

    monkeypatch.setattr(packets, "recovery_points", recovery_points)
    monkeypatch.setattr(packets, "piped", demux or Demux())
    return packets_of(Path("a.mp4"), 0, codec, most)


def test_frames_come_in_the_order_they_are_shown_and_hidden_ones_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    of = found(monkeypatch, "mpeg4", most=4)
    assert (of.times.tolist(), of.base, of.last_duration) == ([100, 200, 300, 400], Fraction(1, 1000), 40)
    assert of.decoded.tolist() == [-100, 100, 400, 300, 200]
    assert of.entries.tolist() == [-100, 100, 400], "key frames, hidden ones too"


def test_of_some_codecs_not_every_key_frame_is_one_to_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for codec in ("h264", "hevc"):
        assert found(monkeypatch, codec).entries.tolist() == [100]
        assert found(monkeypatch, codec, demux=Demux(refuses="-bsf:v:1")).entries.tolist() == [], "nobody knows"
    assert found(monkeypatch, "h264", exact=[2]).entries.tolist() == [100, 400], "which looking into it tells"


def test_what_cannot_be_read_whole_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RowError, match="damaged: no such filter"):
        found(monkeypatch, "mpeg4", demux=Demux(refuses="-copyts"))
    with pytest.raises(RowError, match="damaged: stream 0, offset 0x30: partial file"):
        found(monkeypatch, "mpeg4", demux=Demux(said=["stream 0, offset 0x30: partial file"]))
    with pytest.raises(RowError, match=r"found more than 3 frames, .*inputs.max_frames"):
        found(monkeypatch, "mpeg4", most=3)


def test_of_two_frames_at_the_last_moment_the_first_ones_own_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only the last moment's: frames come in the order of decoding."""

    @contextmanager
    def demux(_arguments: Sequence[str], _errors: list[str]) -> Iterator[list[bytes]]:
        yield [f"0, {time}, {time}, {own}, 9, 0x0, F=0x1".encode() for time, own in ((0, 5), (9, 6), (9, 7), (4, 8))]

    monkeypatch.setattr(packets, "piped", demux)
    of = packets_of(Path("a.mp4"), 0, "mpeg4", 9)
    assert (of.times.tolist(), of.last_duration, of.are_distinct) == ([0, 4, 9, 9], 6, False)


def shown(*times: int, last: int) -> Packets:
    nothing = np.array([], np.int64)
    return Packets(np.array(times, np.int64), nothing, Fraction(1, 1000), last, nothing)


def test_a_rate_is_the_mean_with_the_last_frames_own_time() -> None:
    assert shown(0, 100, 200, 300, last=100).fps == 10
    assert shown(0, 100, 200, 300, last=50).fps == pytest.approx(4 / 0.35)
    assert shown(0, 100, 200, 300, last=0).fps == 10, "as long as the others"
    assert shown(0, 100, 200, 600, last=0).fps == pytest.approx(4 / 0.7), "as long as the usual one, not as the last"
    assert shown(0, 300, 400, 500, last=0).fps == 20 / 3, "nor as the first"
    assert (shown(7, last=40).fps, shown(7, last=0).fps) == (25, 0)


def test_a_rate_varies_where_a_gap_is_off_by_more_than_a_fifth() -> None:
    assert not shown(0, 100, 200, 320, last=100).is_variable
    assert shown(0, 100, 200, 321, last=100).is_variable
    assert shown(0, 100, 200, 279, last=100).is_variable
    assert not shown(0, last=0).is_variable


def test_a_time_names_a_frame_unless_two_have_it() -> None:
    assert shown(0, 1, 2, last=1).are_distinct
    assert not shown(0, 1, 1, last=1).are_distinct
