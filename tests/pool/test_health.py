"""When a job pauses, when it stops, and which nodes it avoids."""

from __future__ import annotations

import asyncio

import pytest
from support.clock import Clock

from cosmos_ray.config import BreakerConfig
from cosmos_ray.errors import Fault
from cosmos_ray.pool import health as health_module
from cosmos_ray.pool.health import JobFailedError, JobHealth


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health_module, "time", clock)
    return clock


def health(said: list[str] | None = None, **settings: float) -> JobHealth:
    return JobHealth(BreakerConfig.model_validate(settings), (said if said is not None else []).append)


def test_pauses_begin_with_the_third_fault_and_grow(clock: Clock) -> None:
    said: list[str] = []
    job = health(said, max_pause_s=5)
    for _ in range(6):
        job.count_fault(Fault("gang", "a rank died"))
    assert said == [f"{n} faults in a row: waiting {s} s" for n, s in ((3, 2), (4, 4), (5, 5), (6, 5))]
    assert job.pause == "gang: a rank died"
    clock.now += 5.1
    assert job.pause is None
    asyncio.run(job.wait_out_pause())


def test_faults_that_are_not_a_stores_are_counted(clock: Clock) -> None:
    job = health(max_consecutive_faults=4)
    for _ in range(3):
        job.count_fault(Fault("gang", "a rank died"))
    with pytest.raises(JobFailedError, match=r"4 faults in a row .* the last: model: NaN\. No row was failed"):
        job.count_fault(Fault("model", "NaN"))


def test_a_store_that_is_out_is_met_with_patience(clock: Clock) -> None:
    job = health(max_consecutive_faults=4, patience_s=900)
    for _ in range(89):
        job.count_fault(Fault("storage", "503"))
        clock.now += 10
    clock.now += 10
    with pytest.raises(JobFailedError, match="in 900 s, the last: storage: 503"):
        job.count_fault(Fault("storage", "503"))


def test_a_finished_clip_ends_the_row_of_faults_and_the_pause(clock: Clock) -> None:
    """A mixed stream, one bad row in three, never trips the breaker."""
    job = health(max_consecutive_faults=3)
    for _ in range(50):
        job.count_fault(Fault("model", "NaN"))
        job.count_fault(Fault("model", "NaN"))
        clock.now += 100
        job.clip_finished("node")
        assert job.pause is None


def test_a_finished_clip_ends_a_pause_at_once(clock: Clock) -> None:
    """And the next row of faults begins anew: its first two are free, and its patience counts from its own begin."""
    said: list[str] = []
    job = health(said, patience_s=100)
    for _ in range(4):
        job.count_fault(Fault("storage", "503"))
    assert job.pause == "storage: 503"
    clock.now += 1
    job.clip_finished("node")
    assert job.pause is None
    clock.now += 99
    job.count_fault(Fault("storage", "503"))
    job.count_fault(Fault("storage", "503"))
    assert job.pause is None
    job.count_fault(Fault("storage", "503"))
    assert said[-1] == "3 faults in a row: waiting 2 s"


def test_pauses_double_up_to_their_limit(clock: Clock) -> None:
    said: list[str] = []
    job = health(said)
    for _ in range(9):
        job.count_fault(Fault("storage", "503"))
    assert [line.split("waiting ")[1] for line in said] == [*("2 s", "4 s", "8 s", "16 s", "32 s"), "60 s", "60 s"]


def test_two_faults_far_apart_stop_no_job(clock: Clock) -> None:
    """However patient it is: work went on between them."""
    job = health(patience_s=900)
    job.count_fault(Fault("storage", "503"))
    clock.now += 10_000
    job.count_fault(Fault("storage", "503"))
    with pytest.raises(JobFailedError, match="3 faults in a row without a clip finished, in 10000 s"):
        job.count_fault(Fault("storage", "503"))


def test_a_stores_faults_are_not_counted_among_the_others(clock: Clock) -> None:
    job = health(max_consecutive_faults=3)
    for failure_class in ("storage", "gang", "storage", "storage", "oom", "storage"):
        job.count_fault(Fault(failure_class, "told to"))  # type: ignore[arg-type]
    with pytest.raises(JobFailedError, match="7 faults in a row"):
        job.count_fault(Fault("internal", "told to"))


def test_a_pause_is_waited_out_a_second_at_a_time_so_that_a_finished_clip_ends_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = health(max_pause_s=2.5)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds
        if len(slept) == 4:
            job.clip_finished("node")

    monkeypatch.setattr(health_module.asyncio, "sleep", sleep)
    for _ in range(4):
        job.count_fault(Fault("storage", "503"))
    asyncio.run(job.wait_out_pause())
    assert slept == [1.0, 1.0, 0.5]
    job.count_fault(Fault("storage", "503"))
    asyncio.run(job.wait_out_pause())
    assert slept == [1.0, 1.0, 0.5, 1.0]


def test_a_pause_that_ends_between_two_looks_is_not_slept_backwards(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = health()
    for _ in range(3):
        job.count_fault(Fault("storage", "503"))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(health_module.asyncio, "sleep", sleep)
    times = iter([clock.now, clock.now + 5, clock.now + 5])
    monkeypatch.setattr(clock, "monotonic", lambda: next(times))
    asyncio.run(job.wait_out_pause())
    assert slept == [0.0]


def lose_gang(job: JobHealth, clock: Clock, node: str) -> None:
    """A gang that had come to `node` just now."""
    came = clock.now
    clock.now += 1
    job.gang_broke(node, came, Fault("gang", "a rank died"))


def test_two_gangs_lost_in_a_row_make_a_bad_node(clock: Clock) -> None:
    said: list[str] = []
    job = health(said)
    lose_gang(job, clock, "bad")
    lose_gang(job, clock, "good")
    job.clip_finished("good")
    lose_gang(job, clock, "good")
    assert job.nodes_to_avoid(["bad", "good"]) == []
    lose_gang(job, clock, "bad")
    assert job.bad_nodes == job.nodes_to_avoid(["bad", "good"]) == ["bad"]
    assert job.nodes_to_avoid(["good", "new"]) == [], "who is gone need not be avoided"
    assert said == ["node bad broke 2 gangs in a row: avoided while there are others"]
    assert job.nodes_to_avoid(["bad"]) == [], "a bad node is better than none"
    job.clip_finished("bad")
    assert job.nodes_to_avoid(["bad", "good"]) == []


def test_nodes_are_named_by_what_their_id_begins_with_and_avoided_in_order(clock: Clock) -> None:
    said: list[str] = []
    job = health(said, max_consecutive_faults=99)
    for node in ("b" * 40, "a" * 40, ""):
        for _ in range(3):
            lose_gang(job, clock, node)
    assert job.bad_nodes == ["a" * 40, "b" * 40], "a gang that came to no node says nothing against one"
    warnings = [line for line in said if line.startswith("node ") and "avoided" in line]
    assert warnings[0] == f"node {'b' * 8} broke 2 gangs in a row: avoided while there are others"
    assert len(warnings) == 3, "once for each"
    assert job.nodes_to_avoid(["a" * 40, "b" * 40]) == []
    assert job.nodes_to_avoid(["a" * 40, "b" * 40, "c"]) == ["a" * 40, "b" * 40]


@pytest.mark.parametrize(("apart", "is_another"), [(29.9, False), (30.0, True)])
def test_gangs_that_were_up_together_break_together_within_half_a_minute(
    clock: Clock, apart: float, is_another: bool
) -> None:
    job = health(max_consecutive_faults=2)
    came = clock.now - 60
    job.gang_broke("node", came, Fault("gang", "a rank died"))
    clock.now += apart
    if is_another:
        with pytest.raises(JobFailedError):
            job.gang_broke("node", came, Fault("gang", "a rank died"))
    else:
        job.gang_broke("node", came, Fault("gang", "a rank died"))
        assert job.bad_nodes == []


def test_a_gang_that_came_when_the_other_had_broken_breaks_for_itself(clock: Clock) -> None:
    job = health(max_consecutive_faults=2)
    job.gang_broke("node", clock.now - 60, Fault("gang", "a rank died"))
    came = clock.now
    clock.now += 1
    with pytest.raises(JobFailedError):
        job.gang_broke("node", came, Fault("gang", "a rank died"))


def test_a_clip_that_was_finished_on_a_node_makes_the_next_fault_there_a_new_one(clock: Clock) -> None:
    job = health(max_consecutive_faults=1, patience_s=0)
    came = clock.now - 60
    with pytest.raises(JobFailedError):
        job.gang_broke("node", came, Fault("gang", "a rank died"))
    job.clip_finished("node")
    clock.now += 1
    with pytest.raises(JobFailedError):
        job.gang_broke("node", came, Fault("gang", "a rank died"))


def test_gangs_that_go_with_their_node_are_one_fault(clock: Clock) -> None:
    """Eight gangs of one GPU on each of two nodes: losing both is two faults, far from the nine that stop a job."""
    said: list[str] = []
    job = health(said)
    came = clock.now - 600
    for node in ("one", "two"):
        for _ in range(8):
            clock.now += 0.5
            job.gang_broke(node, came, Fault("gang", "its node died"))
    assert job.pause is None
    assert job.bad_nodes == []
    assert said == []


def test_a_gang_that_is_sent_to_the_dead_node_is_no_second_fault(clock: Clock) -> None:
    """Ray notices the death after a while; a gang that was asked for meanwhile ends with it."""
    job = health(max_consecutive_faults=2)
    job.gang_broke("node", clock.now - 600, Fault("gang", "the gang died"))
    for _ in range(2):
        asked = clock.now
        clock.now += 50
        job.gang_broke("node", asked, Fault("gang", "did not start: its node died"), node_is_dead=True)
    assert job.bad_nodes == []


def test_a_node_that_dies_under_its_first_gang_is_a_fault(clock: Clock) -> None:
    job = health(max_consecutive_faults=2)
    job.gang_broke("one", clock.now, Fault("gang", "did not start: its node died"), node_is_dead=True)
    with pytest.raises(JobFailedError, match="2 faults in a row"):
        job.gang_broke("two", clock.now, Fault("gang", "did not start: its node died"), node_is_dead=True)


def test_gangs_of_a_node_that_break_one_after_the_other_are_faults_each(clock: Clock) -> None:
    job = health(max_consecutive_faults=3)
    came = clock.now
    for _ in range(2):
        clock.now += 600
        job.gang_broke("node", came, Fault("gang", "a rank died"))
    assert job.bad_nodes == ["node"]
    clock.now += 600
    with pytest.raises(JobFailedError, match="3 faults in a row"):
        job.gang_broke("node", came, Fault("gang", "a rank died"))


def test_a_pause_for_a_store_ends_when_it_answers_again(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again and again while the pause lasts, and only then."""
    monkeypatch.setattr(health_module, "PROBE_S", 0.001)
    said: list[str] = []
    job, asked = health(said), list[float]()
    out = [True, True, True]

    def answers(limit_s: float) -> bool:
        asked.append(limit_s)
        return not out or not out.pop()

    async def watch() -> None:
        watching = asyncio.create_task(job.watch_stores())
        await asyncio.sleep(0.01)
        assert not asked, "nothing is paused"
        for _ in range(9):
            job.count_fault(Fault("storage", "503"), answers)
        assert job.pause == "storage: 503"
        await asyncio.wait_for(job.wait_out_pause(), 300)
        watching.cancel()

    asyncio.run(watch())
    assert len(asked) == 4
    assert said[0] == "3 faults in a row: waiting 2 s, or until the store answers"
    assert said[-1] == "the store answers again"
    assert clock.now == 1000.0, "the pause had a minute to go"


def faults(job: JobHealth, count: int, answers: bool) -> None:
    """So many of a store that is looked at after each."""
    for _ in range(count):
        job.count_fault(Fault("storage", "503"), lambda _: answers)
        job._looked(job._pause, answers)


def test_a_store_that_answers_and_fails_all_the_same_makes_pauses_longer(clock: Clock) -> None:
    job = health(patience_s=10_000)
    job.count_fault(Fault("storage", "503"))
    job.count_fault(Fault("storage", "503"))
    for pause in (2, 4, 8, 16, 32, 60, 60):
        faults(job, 1, answers=True)
        clock.now += pause - 0.1
        assert job.pause is not None
        clock.now += 0.2
        assert job.pause is None


def test_a_store_that_was_out_long_and_is_back_before_it_is_asked_costs_two_seconds(clock: Clock) -> None:
    """However long the pauses have become."""
    job = health(patience_s=10_000)
    for _ in range(8):
        faults(job, 1, answers=False)
        clock.now += 61
    faults(job, 1, answers=True)
    clock.now += 2.1
    assert job.pause is None


def test_a_fault_during_a_pause_does_not_forget_that_the_store_was_out(clock: Clock) -> None:
    """Three clips of a gang fail one after the other; the store is seen out once, and then back."""
    job = health()
    faults(job, 3, answers=False)
    job.count_fault(Fault("storage", "503"), lambda _: True)
    job._looked(job._pause, True)
    assert job.pause is None


def test_a_pause_for_no_store_is_kept(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "PROBE_S", 0.001)
    job = health()
    for _ in range(4):
        job.count_fault(Fault("storage", "503"), lambda _: True)
    job.count_fault(Fault("gang", "a rank died"))

    async def watch() -> None:
        watching = asyncio.create_task(job.watch_stores())
        await asyncio.sleep(0.02)
        watching.cancel()

    asyncio.run(watch())
    clock.now += 7.9
    assert job.pause == "gang: a rank died"


def test_a_store_that_is_looked_at_again_and_again_has_shown_nothing_once(clock: Clock) -> None:
    """In one pause; and a finished clip ends what was shown."""
    job = health(patience_s=10_000)
    for _ in range(7):
        job.count_fault(Fault("storage", "503"), lambda _: True)
    for pause in (2, 4):
        for _ in range(5):
            job._looked(job._pause, True)
        clock.now += pause - 0.1
        assert job.pause is not None
        clock.now += 0.2
        assert job.pause is None
        job.count_fault(Fault("storage", "503"), lambda _: True)
    job.clip_finished("node")
    for _ in range(7):
        job.count_fault(Fault("storage", "503"), lambda _: True)
    job._looked(job._pause, True)
    clock.now += 2.1
    assert job.pause is None, "as at first"


def test_gangs_that_break_one_after_the_other_within_half_a_minute_of_each_are_one_fault(clock: Clock) -> None:
    """A node with eight gangs may take longer than that to lose them all."""
    job, came = health(max_consecutive_faults=2), clock.now - 600
    for _ in range(4):
        job.gang_broke("node", came, Fault("gang", "a rank died"))
        clock.now += 20
    assert job.bad_nodes == []
