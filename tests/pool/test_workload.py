"""What becomes of a clip whose attempt failed: one test a rule of `workload.py`, without Ray and without waiting."""

from __future__ import annotations

import pytest

from cosmos_ray.errors import FailureClass, Fault
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import workload as workload_module
from cosmos_ray.pool.workload import Work, Workload, is_rows_own


def load_of(*ids: str, exhausted: bool = True, max_attempts: int = 3) -> Workload:
    load = Workload(max_attempts)
    for clip_id in ids:
        load.add(Work(Clip(clip_id, clip_id), past_attempt=0))
    load.exhausted = exhausted
    return load


def fault(failure_class: FailureClass) -> Fault:
    return Fault(failure_class, "told to")


def take(load: Workload, *beside: Work) -> Work:
    work = load.take(beside)
    assert work is not None
    return work


def fail(load: Workload, failure_class: FailureClass, times: int) -> Work:
    """The head of the queue, failed so often; the last time it was to go on or to be parked."""
    for _ in range(times):
        work = take(load)
        assert not load.failed(work, fault(failure_class))
    return work


@pytest.mark.parametrize("failure_class", ["input", "guardrail"])
def test_a_fault_of_the_rows_own_is_final(failure_class: FailureClass) -> None:
    load = load_of("a", "b")
    assert load.failed(take(load), fault(failure_class))
    assert load.outstanding == 1


@pytest.mark.parametrize("failure_class", ["gang", "oom", "timeout", "internal", "storage"])
def test_a_clip_is_tried_three_times_and_then_parked(failure_class: FailureClass) -> None:
    load = load_of("a", "b")
    work = fail(load, failure_class, times=3)
    assert (work.clip.id, work.attempts) == ("a", 3)
    assert (load.queued, load.outstanding) == (1, 2)
    assert take(load).clip.id == "b"


def test_a_model_fault_is_not_tried_again_but_waits_for_evidence_too() -> None:
    load = load_of("nan", "b")
    work = fail(load, "model", times=1)
    assert work.attempts == 1
    take(load)
    assert [(one.clip.id, why.failure_class) for one, why in load.finished()] == [("nan", "model")]
    assert load.is_done


def test_a_check_that_raised_is_unclear_until_another_clip_shows_that_the_job_is_well() -> None:
    load = load_of("raises", "good")
    raised = Fault("guardrail", "the check `x` raised ValueError", is_unclear=True)
    assert not is_rows_own(raised)
    assert not load.failed(take(load), raised)
    assert (load.queued, load.parked) == (1, 1), "it is not tried again, and waits for evidence"
    take(load)
    assert [(one.clip.id, why) for one, why in load.finished()] == [("raises", raised)]
    assert load.is_done


@pytest.mark.parametrize("failure_class", ["gang", "internal", "model"])
def test_a_parked_clip_fails_when_another_is_finished(failure_class: FailureClass) -> None:
    load = load_of("bad", "good")
    fail(load, failure_class, times=1 if failure_class == "model" else 3)
    assert load.nothing_else_left() == [], "another clip may still show that the job is well"
    take(load)
    assert [work.clip.id for work, _ in load.finished()] == ["bad"]
    assert load.is_done


def test_a_clip_fails_at_once_if_one_was_finished_between_its_attempts() -> None:
    load = load_of("bad", "good")
    fail(load, "gang", times=2)
    third = take(load)
    take(load, *[])
    assert load.finished() == []
    assert load.failed(third, fault("gang"))


def test_what_a_store_failed_gets_one_more_try_when_it_is_back() -> None:
    load = load_of("a", "b")
    fail(load, "storage", times=3)
    take(load)
    assert load.finished() == []
    again = take(load)
    assert again.clip.id == "a"
    assert again.solo
    assert load.failed(again, fault("storage")), "the store is well, so it is the row"


def test_when_nothing_else_is_left_parked_clips_fail() -> None:
    load = load_of("a", "b")
    fail(load, "gang", times=3)
    fail(load, "gang", times=3)
    assert sorted(work.clip.id for work, _ in load.nothing_else_left()) == ["a", "b"]
    assert load.is_done


def test_several_that_a_store_failed_are_tried_until_the_breaker_says_stop() -> None:
    load = load_of("a", "b")
    fail(load, "storage", times=3)
    fail(load, "storage", times=3)
    assert load.nothing_else_left() == []
    assert load.queued == 2


def test_the_only_one_left_that_a_store_fails_is_failed() -> None:
    load = load_of("a")
    fail(load, "storage", times=3)
    assert [work.clip.id for work, _ in load.nothing_else_left()] == ["a"]


def test_nothing_is_given_up_before_the_stream_has_ended() -> None:
    load = load_of("a", exhausted=False)
    fail(load, "gang", times=3)
    assert load.nothing_else_left() == []
    load.exhausted = True
    assert len(load.nothing_else_left()) == 1


def test_the_last_attempt_has_the_gang_for_itself() -> None:
    load = load_of("bad", "good", "other")
    fail(load, "gang", times=2)
    good = Work(Clip("x", "x"), 0)
    assert load.take([good]) is None, "it waits until the gang is free"
    bad = take(load)
    assert bad.solo
    assert load.take([bad]) is None, "nothing starts beside it"


def test_no_attempt_but_the_last_of_several_runs_alone() -> None:
    other = Work(Clip("x", "x"), 0)
    load = load_of("bad")
    for _ in range(2):
        work = take(load, other)
        assert not work.solo
        load.failed(work, fault("gang"))
    assert load.take([other]) is None
    assert take(load).solo
    assert not take(load_of("only", max_attempts=1), other).solo, "a first attempt shows nothing against its row"
    twice = load_of("bad", max_attempts=2)
    twice.failed(take(twice, other), fault("gang"))
    assert twice.take([other]) is None
    assert take(twice).solo


class Clock:
    """Stands in for `time.monotonic`; an hour later each time it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 3600
        return self.now


def test_only_a_clip_that_was_finished_since_the_first_fault_is_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of before shows nothing: the job may have fallen ill in between."""
    monkeypatch.setattr(workload_module, "time", Clock())
    load = load_of("good", "bad", "last")
    take(load)
    assert load.finished() == []
    work = fail(load, "gang", times=3)
    assert (work.clip.id, load.parked, load.outstanding) == ("bad", 1, 2)


def test_what_is_outstanding_goes_down_by_each_clip_that_has_ended() -> None:
    load = load_of("row", "gang", "good", "again", "more", "most")
    assert load.failed(take(load), fault("input"))
    assert load.outstanding == 5
    fail(load, "gang", times=3)
    assert (load.outstanding, load.parked, load.queued) == (5, 1, 4)
    take(load)
    assert [work.clip.id for work, _ in load.finished()] == ["gang"]
    assert (load.outstanding, load.parked, load.queued, load.is_done) == (3, 0, 3, False)
    again = take(load)
    again.attempts, again.first_fault_at = 3, -1.0
    assert load.failed(again, fault("gang")), "another was finished since its first fault"
    assert load.outstanding == 2


def test_a_clip_that_failed_goes_on_first_and_one_that_was_parked_last() -> None:
    load = load_of("a", "b", "c")
    fail(load, "storage", times=1)
    assert take(load).clip.id == "a"
    load = load_of("a", "b", "c")
    work = fail(load, "storage", times=3)
    take(load)
    assert load.finished() == []
    assert (work.attempts, load.parked) == (2, 0)
    assert [take(load).clip.id for _ in range(2)] == ["c", "a"]
    assert work.attempts == 3


def test_nothing_is_given_up_while_a_gang_has_a_clip() -> None:
    load = load_of("a", "b")
    fail(load, "gang", times=3)
    take(load)
    assert load.queued == 0
    assert load.nothing_else_left() == []


def test_of_what_is_left_only_what_a_store_failed_in_numbers_is_tried_again() -> None:
    load = load_of("gang", "store")
    fail(load, "gang", times=3)
    fail(load, "storage", times=3)
    assert sorted(work.clip.id for work, _ in load.nothing_else_left()) == ["gang", "store"]
    load = load_of("gang", "store", "store too")
    for failure_class in ("gang", "storage", "storage"):
        fail(load, failure_class, times=3)  # type: ignore[arg-type]
    assert [work.clip.id for work, _ in load.nothing_else_left()] == ["gang"]
    assert (load.queued, load.outstanding, load.parked) == (2, 2, 0)


def test_an_attempt_that_was_handed_back_does_not_count() -> None:
    load = load_of("a", "b")
    work = take(load)
    load.hand_back(work)
    assert (work.attempts, load.queued, load.outstanding) == (0, 2, 2)
    assert take(load) is work


def test_what_waits_for_a_gang_includes_what_the_stream_has_still_to_bring() -> None:
    load = Workload(max_attempts=3, expected=4)
    assert load.waiting == 4
    load.add(Work(Clip("a", "a"), past_attempt=0))
    load.skip()
    assert load.waiting == 3, "one is queued, two are to come"
    load.take([])
    assert load.waiting == 2
    load.exhausted = True
    assert load.waiting == 0, "the stream knows better than what was expected of it"


def test_a_counted_stream_that_has_brought_everything_brings_no_more_gangs() -> None:
    """Its end may be heard long after its last clip. Of a stream that was not counted, more must be supposed."""
    counted, uncounted = Workload(max_attempts=3, expected=1), Workload(max_attempts=3)
    for load in (counted, uncounted):
        load.add(Work(Clip("a", "a"), past_attempt=0))
    assert (counted.waiting, uncounted.waiting) == (1, 2)
    assert counted.has_next
    counted.exhausted = uncounted.exhausted = True
    assert (counted.waiting, uncounted.waiting) == (1, 1)
    take(counted)
    assert not counted.has_next
    assert not counted.is_done
    counted.finished()
    assert counted.is_done
