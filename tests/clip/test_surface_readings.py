"""Which ways of reading a video's frames are tried one after the other, what of them is believed, and what is said in
the end: over tables of what a decoder may do.

ffmpeg is a table: for each way (from the entry before the frames, from the first packet, counted) what comes of it.
The text is `tests/golden-surfaces/clip/readings.txt`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from support.surfaces import assert_as_it_was

from cosmos_ray.clip import frames as module
from cosmos_ray.clip.accept import Treatment
from cosmos_ray.clip.ffmpeg import FfmpegFailed
from cosmos_ray.clip.frames import Video, each_frame
from cosmos_ray.clip.info import VideoInfo
from cosmos_ray.clip.packets import Packets
from cosmos_ray.clip.parts import PartFile
from cosmos_ray.errors import RowError

TIMES = np.arange(40) * 500 + 1000
PACKETS = Packets(TIMES, TIMES[::10], Fraction(1, 5000), 500, TIMES)
PLAIN = Treatment(2, 4, (2, 4))
INFO = VideoInfo(40, 2, 4, 10.0, track=2, codec="h264")


@dataclass(frozen=True)
class Outcome:
    """What ffmpeg does. shift: of the times that it tells, in halves of the file's units; left_out: of the frames seen,
    from the end; begins: how many frames late; fewer: frames than asked for."""

    shift: int = 0
    begins: int = 0
    left_out: tuple[int, ...] = ()
    fewer: int = 0
    fields: str = "P"
    size: str = "4x2"
    errors: tuple[str, ...] = ()
    ends: str = ""


RIGHT = Outcome()
#: By the way: late (from the entry before), first (from the first packet), counted. What is not there is right.
TABLE: dict[str, dict[str, Outcome]] = {
    "all is well": {},
    "times that are rounded": {"late": Outcome(shift=1)},
    "times off by more": {"late": Outcome(shift=3)},
    "times off by more, before": {"late": Outcome(shift=-3)},
    "times of the frame after": {"late": Outcome(shift=1000)},
    "a frame is missing": {"late": Outcome(left_out=(2,))},
    "a frame is missing, and then again": {"late": Outcome(left_out=(2,)), "first": Outcome(left_out=(3,))},
    "begins after the entry": {"late": Outcome(begins=1)},
    "begins an entry before": {"late": Outcome(begins=-10)},
    "begins between two entries": {"late": Outcome(begins=-5)},
    "fewer frames": {"late": Outcome(fewer=1)},
    "fewer frames each time": {way: Outcome(fewer=1) for way in ("late", "first", "counted")},
    "fails late": {"late": Outcome(ends="failed")},
    "fails": {"late": Outcome(ends="failed"), "first": Outcome(ends="failed")},
    "fails counted": {**{way: Outcome(fewer=1) for way in ("late", "first")}, "counted": Outcome(ends="failed")},
    "slow": {"late": Outcome(ends="slow")},
    "fields, the upper first": {"late": Outcome(fields="T")},
    "fields, the lower first, not exact": {"late": Outcome(fields="B", fewer=1), "first": Outcome(fields="B")},
    "another size": {"late": Outcome(size="8x2")},
    "concealed": {"late": Outcome(errors=("error while decoding MB 3 4, bytestream -7",))},
    "an error that is none": {"late": Outcome(errors=("error while decoding a message",))},
}


class Player:
    """tried: the ways, and what was shown to be kept."""

    def __init__(self, outcomes: dict[str, Outcome], indices: Sequence[int], packets: Packets) -> None:
        self.outcomes, self.indices, self.packets = outcomes, indices, packets
        self.tried: list[str] = []

    @contextmanager
    def piped(self, arguments: Sequence[str], errors: list[str], on_log: Any, _memory: int) -> Iterator[IO[bytes]]:
        graph = arguments[arguments.index("-vf") + 1]
        way = "late" if "-ss" in arguments else "first" if "between(t" in graph else "counted"
        self.tried.append(way + ("+fields" if "bwdif" in graph else ""))
        of = self.outcomes.get(way, RIGHT)
        if of.ends == "slow":
            raise subprocess.TimeoutExpired("ffmpeg", 1)
        if of.ends:
            raise FfmpegFailed(["no frame!"])
        entries = np.flatnonzero(np.isin(TIMES[: self.indices[0] + 1], self.packets.entries))
        begun = int(entries[-1]) if way == "late" else 0
        seen = list(TIMES[max(begun + of.begins, 0) : self.indices[-1] + 1])
        for place in of.left_out:
            seen = [*seen[:-place], *seen[len(seen) - place + 1 :]]
        errors.extend(of.errors)
        on_log("config in time_base: 1/10000, frame_rate: 10/1")
        for number, time in enumerate(seen):
            on_log(f"n: {number} pts: {2 * time + of.shift} pts_time:1 fmt:yuv420p s:{of.size} i:{of.fields} iskey:1")
        count = len(self.indices) - of.fewer
        yield BytesIO(b"".join(bytes([index]) * 24 for index in self.indices[:count]))


def shown(video: Video, player: Player) -> str:
    kept: dict[int, int] = {}
    try:
        info = each_frame(video, player.indices, lambda index, frame: kept.__setitem__(index, int(frame[0, 0, 0])))
    except RowError as error:
        return f"{error} ({error.failure_class})"
    return f"{kept} {info.field_order} {info.conversions}"


@pytest.mark.parametrize("kind", ["whole", "parts"])
def test_what_is_tried_and_believed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "deinterlacer", lambda: "bwdif=a")
    lines = []
    whole = Video(Path("/a/x.mp4"), INFO, PACKETS, PLAIN)
    for name, outcomes in TABLE.items():
        for indices in ([32, 33], [39], [3], [30]):
            player = Player(outcomes, indices, PACKETS)
            fetched: list[str] = []
            asked: list[tuple[int, int]] = []
            parts = PartFile(whole.path, 9, lambda *_: b"", lambda fetched=fetched: fetched.append("all"))  # type: ignore[misc]

            def bring(_parts: PartFile, _packets: Packets, _track: int, first: int, last: int) -> int:
                asked.append((first, last))  # noqa: B023
                return first // 10 * 10

            monkeypatch.setattr(PartFile, "bring", bring)
            monkeypatch.setattr(module, "packets_of", lambda *_: PACKETS)
            monkeypatch.setattr(module, "open_video", lambda *_: whole)
            monkeypatch.setattr(module, "piped", player.piped)
            video = whole if kind == "whole" else replace(whole, parts=parts)
            found = shown(video, player)
            lines.append(f"{name}, {indices}: {player.tried} {asked} {fetched} {found}")
    assert_as_it_was(f"clip/readings_{kind}.txt", "\n".join(lines))


def test_a_picture_that_is_cut_is_none() -> None:
    data = bytes(range(60))
    for kept, count in ((60, 2), (48, 2), (47, 1), (25, 1), (23, 0), (0, 0)):
        found = list(module._frames(BytesIO(data[:kept]), PLAIN))
        assert [frame.tobytes() for frame in found] == [data[24 * k : 24 * k + 24] for k in range(count)]


def test_where_parts_tell_nothing_the_whole_is_looked_into_as_the_job_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def look(path: Path, most: int) -> Video:
        asked.append((path.name, most))
        if len(asked) == 1:
            raise RowError("nothing")
        return Video(path, INFO, PACKETS, PLAIN)

    monkeypatch.setattr(module, "_look", look)
    parts = PartFile(Path(__file__), 9, lambda *_: b"", lambda: None)
    found = module.open_video(parts, 7)
    assert (found.parts, asked) == (None, [(Path(__file__).name, 7)] * 2)
    assert module.open_video(parts, 8).parts is parts


def test_where_what_was_fetched_has_no_place_to_begin_all_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key frame that is none to begin with: the entry before it lies where nothing is."""
    for last_entry, fetched_from, tried in ((20, 30, 1), (30, 30, 0), (20, 0, 0), (20, 20, 0)):
        packets = replace(PACKETS, entries=TIMES[: last_entry + 1 : 10])
        player = Player({}, [32, 33], packets)
        fetched: list[int] = []
        parts = PartFile(Path("/a/x.mp4"), 9, lambda *_: b"", lambda fetched=fetched: fetched.append(1))  # type: ignore[misc]
        monkeypatch.setattr(PartFile, "bring", lambda *_, begun=fetched_from: begun)
        monkeypatch.setattr(module, "packets_of", lambda *_, packets=packets: packets)
        monkeypatch.setattr(module, "open_video", lambda *_, packets=packets: Video(Path("/a"), INFO, packets, PLAIN))
        monkeypatch.setattr(module, "piped", player.piped)
        found = shown(Video(Path("/a/x.mp4"), INFO, packets, PLAIN, parts), player)
        assert (found, len(fetched)) == ("{32: 32, 33: 33} unknown ()", tried)


def test_of_a_file_whose_times_name_no_frame_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = replace(PACKETS, times=np.repeat(TIMES[:20], 2))
    player = Player({}, [3, 4], twice)
    monkeypatch.setattr(module, "piped", player.piped)
    assert shown(Video(Path("/a/x.mp4"), INFO, twice, PLAIN), player) == "{3: 3, 4: 4} unknown ()"
    assert player.tried == ["counted"]
