"""The pool's plain rules over the whole of small spaces, and walks through them, each step as it was. No Ray."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from support.clock import Clock
from support.surfaces import assert_as_it_was, masked

from cosmos_ray.config import BreakerConfig
from cosmos_ray.errors import FAILURE_CLASSES, Fault
from cosmos_ray.gang.clip_progress import At, at_of
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import forecast, gpu_time, health, progress, ray_words, workload
from cosmos_ray.pool.demand import Demand
from cosmos_ray.pool.forecast import Forecast
from cosmos_ray.pool.gpu_time import GpuTime
from cosmos_ray.pool.health import JobFailedError, JobHealth
from cosmos_ray.pool.live import Display
from cosmos_ray.pool.progress import AtWork, Progress
from cosmos_ray.pool.watched import WatchedGang
from cosmos_ray.pool.workload import Work, Workload, is_rows_own


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (forecast, gpu_time, health, progress, workload):
        monkeypatch.setattr(module, "time", clock, raising=False)
    return clock


def test_how_many_gangs_are_wanted() -> None:
    """A line a state of what was measured; in it a number for 0, 1, 2, 3, 8 and 30 clips that wait."""
    lines = []
    for clips, (placing, loading), (least, most) in itertools.product(
        ((), (10.0,), (10.0, 40.0)), ((0.0, 0.0), (60.0, 30.0)), ((0, 4), (1, 1), (2, 9))
    ):
        demand = Demand(least, most)
        demand.gang_came(placing, loading)
        for seconds in clips:
            demand.clip_made(seconds)
        lines.append(f"{least}:{most}, clips of {clips}, {placing:g} s to place, {loading:g} s to load")
        for up in (0, 1, 2, 4):
            make, keep = ([wanted(up, n) for n in (0, 1, 2, 3, 8, 30)] for wanted in (demand.to_make, demand.to_keep))
            lines.append(f"  {up} up: make {make} keep {keep}")
    assert_as_it_was("pool/demand.txt", "\n".join(lines))


def test_how_long_a_job_still_takes(clock: Clock) -> None:
    found, lines = Forecast(), []
    happened = [
        ("a", 0, 9.0),
        ("b", 3, 12.0),
        ("a", 10, 9.0),
        ("b", 18, 12.0),
        ("a", 21, 9.0),
        ("c", 22, 0.0),
        ("c", 30, 5.0),
    ]
    for gang, now, seconds in happened:
        found.finished(gang, now, seconds)
        for gangs in ((), ("a",), ("a", "b"), ("a", "new"), ("a", "b", "c")):
            left = [found.seconds_left(clips, gangs, now + 2) for clips in (0, 1, 2, 7, 2000, 2001)]
            lines.append(f"{now} {gangs}: {rounded(left)}, an hour {rounded([found.clips_per_hour(gangs)])}")
    for number in range(25):
        found.finished("a", 100 + number**2, 1.0)
    lines.append(str(rounded([found.clips_per_hour(("a",))])))
    assert_as_it_was("pool/forecast.txt", "\n".join(lines))


def rounded(values: list[float | None]) -> list[float | None]:
    return [None if one is None else round(one, 3) for one in values]


def test_whose_fault_it_is() -> None:
    lines = [
        f"{name}, verdict {verdict}, unclear {unclear}: {is_rows_own(Fault(name, 'why', verdict, unclear))}"
        for name in FAILURE_CLASSES for verdict in (False, True) for unclear in (False, True)
    ]  # fmt: skip
    assert_as_it_was("pool/faults.txt", "\n".join(lines))


def state_of(load: Workload) -> str:
    return (
        f"queued {load.queued}, parked {load.parked}, outstanding {load.outstanding}, waiting {load.waiting}, "
        f"next {load.has_next}, done {load.is_done}"
    )


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_what_becomes_of_clips(clock: Clock, attempts: int) -> None:
    """Walks of thirty steps, drawn once: clips come, are taken, fail in every way, are finished."""
    lines = []
    for seed in range(6):
        draw = random.Random(seed)
        load, running, came = Workload(attempts, expected=seed % 3 * 4), list[Work](), 0
        for _ in range(30):
            clock.now += 1
            step = draw.choice(
                ["add", "add", "take", "take", "beside", "fail", "fail", "ok", "back", "none left", "skip"]
            )
            said: Any = ""
            if step == "add" and came < 6:
                load.add(Work(Clip(f"c{came}", f"c{came}"), 0))
                came += 1
            elif step == "skip" and not load.exhausted:
                load.skip()
            elif step in ("take", "beside"):
                work = load.take(running if step == "beside" else ())
                said = f"{work.clip.id}, attempt {work.attempts}, alone {work.solo}" if work else None
                running += [work] if work else []
            elif step in ("fail", "ok", "back") and running:
                work = running.pop(0)
                if step == "fail":
                    name = draw.choice(["input", "model", "oom", "storage", "gang", "timeout"])
                    is_recorded = load.failed(work, Fault(name, "why"))  # type: ignore[arg-type]
                    said = f"{work.clip.id} by {name}: {is_recorded}"
                elif step == "ok":
                    said = [f"{one.clip.id} {fault.failure_class}" for one, fault in load.finished()]
                else:
                    load.hand_back(work)
            elif step == "none left" and came == 6:
                load.exhausted = True
                said = [f"{one.clip.id} {fault.failure_class}" for one, fault in load.nothing_else_left()]
            else:
                continue
            lines.append(f"{seed} {step}: {said}; {state_of(load)}")
    assert_as_it_was(f"pool/workload_{attempts}.txt", "\n".join(lines))


def test_when_a_job_pauses_and_ends(clock: Clock) -> None:
    """Walks as above, of faults, finished clips, gangs that break, stores that are looked at, and time."""
    lines = []
    for seed in range(8):
        draw, said = random.Random(seed), list[str]()
        job = JobHealth(BreakerConfig(max_consecutive_faults=5, max_pause_s=20, patience_s=90), said.append)
        for _ in range(25):
            step = draw.choice(["fault", "store", "store", "broke", "dead", "ok", "wait", "wait", "look", "looks well"])
            node = draw.choice(["n1", "n2"])
            try:
                if step == "fault":
                    job.count_fault(Fault("oom", "no memory"))
                elif step == "store":
                    job.count_fault(Fault("storage", "503"), lambda seconds: True)
                elif step in ("broke", "dead"):
                    job.gang_broke(node, clock.now - draw.choice([5, 50]), Fault("gang", "died"), step == "dead")
                elif step == "ok" and not seed % 2:
                    job.clip_finished(node)
                elif step == "wait":
                    clock.now += draw.choice([0.5, 3, 31])
                else:
                    job._looked(job._pause, step == "looks well")
            except JobFailedError as error:
                lines.append(f"{seed} {step}: ends: {error}")
                break
            avoided = job.nodes_to_avoid(["n1", "n2"]), job.nodes_to_avoid(["n1"]), job.bad_nodes
            paused = f"pause {job.pause}, until {job._paused_until:g}"
            lines.append(f"{seed} {step} {node}: {said}; {paused}, avoids {avoided}")
            said.clear()
    assert_as_it_was("pool/health.txt", "\n".join(lines))


def test_gpu_time_is_from_placement_to_release(clock: Clock) -> None:
    time, lines = GpuTime(2, 0.01), []
    for gang, does, wait in (("a", "taken", 5), ("b", "taken", 3), ("a", "given_back", 7), ("a", "given_back", 1),
                             ("c", "given_back", 0), ("b", "given_back", 9), ("c", "taken", 0.5)):  # fmt: skip
        getattr(time, does)(gang)
        clock.now += wait
        lines.append(f"{gang} {does}, {wait} s: {time.seconds:g} {time.is_spent} {GpuTime(2, None).is_spent}")
    assert_as_it_was("pool/gpu_time.txt", "\n".join(lines))


def outcomes() -> Iterator[Record]:
    for number in range(9):
        failed = number % 4 == 2
        yield Record(
            f"c{number}", 0, "failed" if failed else "ok", "oom" if failed else None, (1, 2, 1, 0)[number % 4],
            "no memory" if failed else None, "h", 1, gang=f"gang-{number % 2}",
            seconds={} if failed else {"denoise": 10.0 + number}, warnings=("doubtful",) if number % 2 else (),
            marks=("black 1.0",) if number % 3 == 0 else (),
        )  # fmt: skip


def test_what_is_said_and_shown_of_progress(clock: Clock) -> None:
    said: list[str] = []
    shown = Progress(12, 2, said.append, invalid=1)
    wide, narrow = (Console(width=width, height=12, color_system=None, force_terminal=False) for width in (100, 60))
    lines = [shown.line(), str(shown.facts())]
    at = {f"gang-{n}": At(f"c{n}", n, 9, None if n % 2 else 65.0 * n) for n in range(6)}
    for number, record in enumerate(outcomes()):
        clock.now += 30 + number
        ups = tuple(f"gang-{n}" for n in range(number))
        work = AtWork(number + 1, ups, {name: at[name] for name in ups[: number // 2]}, 3600.0 * number)
        shown.work = lambda work=work: work  # type: ignore[misc]
        shown.count(record)
        lines += [*said, shown.line(), str(shown.facts())]
        said.clear()
        for console in (wide, narrow):
            display = Display(console)
            display._progress = shown
            with console.capture() as captured:
                console.print(display.picture())
            lines += [f"  | {line.rstrip()}" for line in captured.get().splitlines()]
    shown.say_warnings()
    assert_as_it_was("pool/progress.txt", "\n".join([*lines, *said]))


def test_where_a_clip_is() -> None:
    clip = Clip("a", "a", num_steps=10)
    lines = [
        f"step {step}, ends {ends}: {at_of(clip, step, 100.0, ends, 130.0)}"
        for step in (0, 1, 5, 10, 11) for ends in (None, 120.0, 160.0)
    ]  # fmt: skip
    assert_as_it_was("pool/at.txt", "\n".join(lines))


def test_when_a_gang_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosmos_ray.pool.watched.time", SimpleNamespace(time=lambda: 500.0))
    lines = []
    for leaving, spent, draining in itertools.product(
        ("", "before"), (False, True), ({}, {"n": 0.0}, {"n": 530.0}, {"m": 1.0})
    ):
        told: list[Any] = []
        leader = SimpleNamespace(leave=SimpleNamespace(remote=lambda notice, told=told: told.append(notice)))
        gang = WatchedGang("g", leader, SimpleNamespace(node="n"), 0.0, leaving)  # type: ignore[arg-type]
        gang.leave_if_it_must(spent, draining, told.append)
        lines.append(f"leaving {leaving!r}, spent {spent}, draining {draining}: {gang.leaving!r} {told}")
    assert_as_it_was("pool/leaving.txt", "\n".join(lines))


DIED = (
    "(raylet) A worker died or was killed while executing a task by an unexpected system error. To troubleshoot the "
    "problem, check the logs. RayTask ID: ff Worker ID: aa Node ID: bb Worker IP address: 127.0.0.1 Worker port: 1 "
    "Worker PID: 42 Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a\nconnection "
    "error code 2. Some common causes include: (1) the process was killed."
)
SAID = (DIED, DIED.replace("Some common causes", "If the process was killed"), "anything else", "", "Worker PID: 4")


def test_rays_words_in_a_line() -> None:
    lines = [str(ray_words.one_line(said)) for said in SAID]
    for words in ("one line", "The actor died because of an error raised in its creation task, x\n at y\nValueError: z",
                  "first\nsecond", "", "\n\n  padded  \n"):  # fmt: skip
        lines.append(ray_words.why(RuntimeError(words)))
    assert_as_it_was("pool/ray_words.txt", masked("\n".join(lines)))
