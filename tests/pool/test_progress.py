"""The line that a job says of each clip: how many are done, how it ended and where, and how long the rest takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cosmos_ray.ledger.record import Record
from cosmos_ray.pool import progress as progress_module
from cosmos_ray.pool.progress import Progress


class Clock:
    """Stands in for `time.monotonic`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def made(attempt: int = 1) -> Record:
    return Record("a", 0, "ok", None, attempt, None, "h", 1, gang="gang-7", seconds={"denoise": 12.34})


def failed() -> Record:
    return Record("b", 0, "failed", "oom", 3, "out of memory", "h", 1)


def test_a_line_says_how_a_clip_ended_and_where(clock: Clock) -> None:
    said: list[str] = []
    progress = Progress(clips=10, settled=6, say=said.append)
    progress.count(failed())
    clock.now += 30
    progress.count(made())
    clock.now += 50
    progress.count(made(attempt=2))
    progress.count(made())
    assert said == [
        "[7/10] b: FAILED (oom): out of memory",
        "[8/10] a: ok, denoised in 12.3 s on gang-7; about 1m00s to go",
        "[9/10] a: ok, denoised in 12.3 s on gang-7, attempt 2; about 40s to go",
        "[10/10] a: ok, denoised in 12.3 s on gang-7",
    ]


def test_the_time_left_follows_the_last_clips_that_were_made(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was slow at first, and rows that fail at once, do not count for ever."""
    monkeypatch.setattr(progress_module, "_RATE_CLIPS", 3)
    said: list[str] = []
    progress = Progress(clips=100, settled=0, say=said.append)
    for seconds in (5000, 10, 10):
        clock.now += seconds
        progress.count(made())
    progress.count(failed())
    assert said[-1].endswith("out of memory; about 16m00s to go"), "96 are left, ten seconds each"


def test_a_record_that_does_not_say_how_long_it_took_has_its_line_too(clock: Clock) -> None:
    said: list[str] = []
    Progress(clips=1, settled=0, say=said.append).count(replace(made(), seconds={}))
    assert said == ["[1/1] a: ok, denoised in 0.0 s on gang-7"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (61, "1m01s"), (3599.6, "1h00m"), (3661, "1h01m"), (1e6, "277h46m")],
)
def test_durations_are_shown_in_two_units(clock: Clock, seconds: float, shown: str) -> None:
    said: list[str] = []
    progress = Progress(clips=2, settled=0, say=said.append)
    clock.now += seconds
    progress.count(made())
    assert said[0].endswith(f"; about {shown} to go")


def test_warnings_are_told_once_a_kind_with_an_example_at_the_end() -> None:
    said: list[str] = []
    progress = Progress(3, 0, said.append)
    for number, warnings in enumerate([("rear: cropped by 24 %", "caption cut"), ("rear: cropped by 31 %",), ()]):
        progress.count(replace(made(), id=f"c{number}", warnings=warnings))
    del said[:]
    progress.say_warnings()
    assert said == [
        "warning for 2 clips, as c0: rear: cropped by 24 %",
        "warning for 1 clip, as c0: caption cut",
    ]
