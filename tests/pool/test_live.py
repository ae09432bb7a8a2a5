"""What a terminal shows of a job, at any width: the bar, the numbers, a line a gang."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.text import Text

from cosmos_ray.gang.clip_progress import At
from cosmos_ray.job.say import display_for, say
from cosmos_ray.ledger.record import Record
from cosmos_ray.pool import live
from cosmos_ray.pool import progress as progress_module
from cosmos_ray.pool.live import Display
from cosmos_ray.pool.progress import AtWork, Progress

WORK = AtWork(
    4,
    ("gang-0002", "gang-0001", "gang-0003"),
    {"gang-0001": At("drive-7", 12, 35, 62.0), "gang-0002": At("drive-" + "8" * 93 + ".seed-7", 0, 35, None)},
    1.5 * 3600,
)


@pytest.fixture(autouse=True)
def _a_clip_every_forty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(1000, 100_000, 40))
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: float(next(times))))


def picture(width: int, height: int = 24, work: AtWork = WORK, made: int = 6) -> list[str]:
    """The lines of a display on a terminal of that size: 6 of 10 clips, one of them failed."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    display, progress = Display(console), Progress(10, 0, lambda line: None)
    progress.work = lambda: work
    for number in range(made):
        status, failed_as = ("failed", "oom") if number == 0 else ("ok", None)
        seconds = {"denoise": 40.0}
        progress.count(Record(str(number), 0, status, failed_as, 1, "e", "h", 1, gang="gang-0001", seconds=seconds))
    display._progress = progress
    with console.capture() as taken:
        console.print(display.picture())
    return taken.get().splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_all_is_there_and_fits(width: int) -> None:
    bar, numbers, first, second, third, waiting = (line.rstrip() for line in picture(width))
    assert set(bar) <= set("━╸╺ ")
    assert numbers.startswith("6 of 10 clips · ")
    for part in (" to go", "clips an hour", "1.50 GPU-hours", "1 failed"):
        assert part in numbers
    assert "drive-7" in first
    assert first.startswith("gang-0001")
    assert first.endswith("step 12 of 35  1m02s left")
    assert second.startswith("gang-0002  drive-888")
    assert "888.seed-7  " in second, "clips of one row differ in the last letters of their ids"
    assert ("…" in second) == (width == 80)
    assert "step 0 of 35" in second
    assert third == "gang-0003  between two clips"
    assert waiting.endswith("1 gang waiting for GPUs or loading")
    assert all(len(line) <= width for line in picture(width))


def test_gangs_beyond_the_terminals_height_are_counted() -> None:
    many = AtWork(30, tuple(f"gang-{number:04d}" for number in range(30)), {}, 0.0)
    lines = picture(80, height=12, work=many)
    assert len(lines) == 2 + 4 + 1
    assert lines[-1].strip() == "and 26 more gangs"


def test_before_the_first_clip_there_is_no_time() -> None:
    assert "time to go not known yet" in picture(80, work=AtWork(1, (), {}, 0.0), made=0)[1]


def test_a_display_is_for_a_terminal_and_for_lines_that_go_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert display_for(say) is None, "what a test says goes to a file"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(display_for(say), Display)
    assert display_for(lambda message: None) is None


def test_what_is_said_is_a_line_of_its_own_and_moves_no_cursor() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    with console.capture() as taken:
        Display(console).say("a\x1b[2Jb [bold]" + "x" * 60)
    assert taken.get().count("\n") == 1
    assert r"a\x1b[2Jb [bold]xxx" in taken.get()


def on_a_terminal(written: str) -> list[str]:
    """What stands there after this: lines, with what was erased gone."""
    rows, row = [""], 0
    for code, text in re.findall(r"\x1b\[([0-9?]*[A-Za-z])|([^\x1b]+)", written):
        if code == "2K":
            rows[row] = ""
        elif code.endswith("A"):
            row -= int(code[:-1])
        for part in re.split(r"(\n)", text.replace("\r", "")):
            row += part == "\n"
            rows += [""] * (row - len(rows) + 1)
            rows[row] += part.rstrip("\n")
    return [line.strip() for line in rows if line.strip()]


def test_lines_that_are_said_while_the_picture_changes_leave_none_of_it_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The picture has another height each time, as gangs come and go."""
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    display, drawn, said = Display(console), 0, 0

    def picture() -> Text:
        nonlocal drawn
        drawn += 1
        return Text("\n".join(["picture"] * (1 + drawn % 4)))

    monkeypatch.setattr(display, "picture", picture)
    monkeypatch.setattr(live, "_TIMES_A_SECOND", 1e5)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with display.shows(Progress(1, 0, lambda line: None)):
            while said < 600 or drawn <= 50:  # a busy machine draws more seldom
                display.say(f"line {said}")
                said += 1
    finally:
        sys.setswitchinterval(usual)
    assert [line.split(" ", 1)[1] for line in on_a_terminal(console.file.getvalue())] == [
        f"line {number}" for number in range(said)
    ]
