"""The line that a job says of each clip: how many are done, how it ended and where, and how long the rest takes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.clock import Clock

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.gang.clip_progress import At
from cosmos_ray.ledger.record import Record
from cosmos_ray.pool import progress as progress_module
from cosmos_ray.pool.progress import AtWork, Progress
from cosmos_ray.words import duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def made(attempt: int = 1, gang: str = "gang-7") -> Record:
    return Record("a", 0, "ok", None, attempt, None, "h", 1, gang=gang, seconds={"denoise": 12.34})


def failed() -> Record:
    return Record("b", 0, "failed", "oom", 3, "out of memory", "h", 1)


def at_work(*up: str, **at: At) -> AtWork:
    return AtWork(len(up), up, {name.replace("_", "-"): one for name, one in at.items()}, 0.0)


def test_a_line_says_how_a_clip_ended_and_where(clock: Clock) -> None:
    """The time to go is that of the gangs that are up: start-up, 500 s here, is in none."""
    said: list[str] = []
    progress = Progress(clips=10, settled=6, say=said.append)
    progress.work = lambda: at_work("gang-7")
    progress.count(failed())
    clock.now += 500
    progress.count(made())
    clock.now += 50
    progress.count(made(attempt=2))
    progress.count(made())
    assert said == [
        "[7/10] b: FAILED (oom): out of memory",
        "[8/10] a: ok, denoised in 12.3 s on gang-7; about 25s to go",
        "[9/10] a: ok, denoised in 12.3 s on gang-7, attempt 2; about 50s to go",
        "[10/10] a: ok, denoised in 12.3 s on gang-7",
    ]


def test_rows_that_fail_for_what_they_say_take_no_time(clock: Clock) -> None:
    """They are settled as they come; until then they are no work of any gang's."""
    progress = Progress(clips=10, settled=0, say=lambda line: None, invalid=5)
    progress.work = lambda: at_work("gang-7")
    for _ in range(2):
        clock.now += 60
        progress.count(made())
    assert progress.eta_s == 3 * 60
    progress.count(replace(failed(), attempt=0, failure_class="input"))
    assert progress.eta_s == 3 * 60
    assert progress.facts() == {"eta_s": 180.0, "clips_per_hour": 60.0}
    progress.count(failed())
    assert progress.eta_s == 2 * 60, "a clip that gangs have tried was one of theirs"
    unforeseen = Progress(clips=6, settled=0, say=lambda line: None, invalid=1)
    unforeseen.work = progress.work
    for record in (*[replace(failed(), attempt=0)] * 2, made(), made()):
        clock.now += 60
        unforeseen.count(record)
    assert unforeseen.eta_s == 2 * 60, "more rows than were counted have failed so: two clips are left, not three"


def test_a_record_that_does_not_say_how_long_it_took_has_its_line_too(clock: Clock) -> None:
    said: list[str] = []
    progress = Progress(clips=2, settled=0, say=said.append)
    progress.work = lambda: at_work("gang-7")
    progress.count(replace(made(), seconds={}))
    assert said == ["[1/2] a: ok, denoised in 0.0 s on gang-7"]


def test_a_heartbeat_says_what_goes_on_when_nothing_else_is_said(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three minutes of silence, and after each three more; a clip's line is as good."""
    said: list[tuple[float, str]] = []
    progress = Progress(clips=10, settled=0, say=lambda line: said.append((clock.now - 1000, line)))
    ats = {"gang_1": At("drive-7", 12, 35, 362.0), "gang_2": At("drive-8", 0, 35, None)}
    progress.work = lambda: at_work("gang-1", "gang-2", **ats)
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:  # in the middle of the second silence a clip is made
            clock.now += 100
            progress.count(made(gang="gang-1"))
            clock.now += seconds - 100
        elif len(naps) > 4:
            raise KeyboardInterrupt
        else:
            clock.now += seconds

    monkeypatch.setattr(progress_module, "asyncio", SimpleNamespace(sleep=sleep))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(progress.beat())
    times, lines = zip(*said, strict=True)
    assert times == (180.0, 280.0, 460.0, 640.0)
    assert naps[0] == progress_module.HEARTBEAT_S == 180.0
    assert lines[0] == ("[0/10] gang-1 at step 12 of 35 of drive-7 (6m02s left); gang-2 at step 0 of 35 of drive-8")
    assert lines[2].startswith("[1/10] gang-1 at step 12")
    assert lines[2].endswith(" to go")


def test_a_heartbeat_of_a_job_that_waits_and_of_one_with_many_gangs(clock: Clock) -> None:
    progress = Progress(clips=10, settled=0, say=lambda line: None)
    assert progress.line() == "[0/10] 0 gangs up, 0 waiting for GPUs or loading"
    progress.work = lambda: AtWork(3, ("gang-1",), {}, 0.0)
    assert progress.line() == "[0/10] 1 gang up, 2 waiting for GPUs or loading"
    many = {f"gang_{number}": At("c", 1, 2, None) for number in range(6)}
    progress.work = lambda: at_work(**many)
    assert progress.line().endswith("gang-3 at step 1 of 2 of c; 2 more gangs at work")
    four = {f"gang_{number}": At("c", 1, 2, None) for number in range(4)}
    progress.work = lambda: at_work(**four)
    assert progress.line().endswith("gang-3 at step 1 of 2 of c")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (61, "1m01s"), (3599.6, "1h00m"), (3661, "1h01m"), (1e6, "277h46m")],
)
def test_durations_are_shown_in_two_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


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


def test_marks_of_looks_are_told_after_warnings_and_failures_are_counted() -> None:
    """A mark is of what was made, a warning of what it was made from; a clip that failed has none of the first."""
    said: list[str] = []
    progress = Progress(5, 0, said.append)
    progress.count(replace(made(), id="c0", warnings=("caption cut",)))
    for number in (1, 2):
        progress.count(replace(made(), id=f"c{number}", marks=(f"black: {number}0 % of its frames",)))
    progress.count(failed())
    progress.count(failed())
    assert (progress.settled, progress.failed) == (5, 2)
    del said[:]
    progress.say_warnings()
    assert said == ["warning for 1 clip, as c0: caption cut", "2 clips marked, as c1: black: 10 % of its frames"]


def test_a_kind_of_mark_or_warning_is_one_line_however_many_views_have_it() -> None:
    said: list[str] = []
    progress = Progress(2, 0, said.append)
    for clip in ("c0", "c1"):
        marks = tuple(f"black: {view}: 100 % (limit 50 %)" for view in VIEWS[:4])
        warnings = tuple(f"{view}: cropped by 24 %" for view in VIEWS)
        progress.count(replace(made(), id=clip, marks=marks, warnings=warnings))
    del said[:]
    progress.say_warnings()
    assert said == [
        "warning for 2 clips, as c0: front_wide: cropped by 24 % (and 6 more like it)",
        "2 clips marked, as c0: black: front_wide: 100 % (limit 50 %) (and 3 more like it)",
    ]
