"""Whole jobs of a pool without Ray, one gang and one clip at a time: all that is said, told, counted and recorded."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from support.leaders import Leader, Leaders, makes_it
from support.pool_scene import Scene
from support.surfaces import assert_as_it_was, masked

from cosmos_ray.errors import Fault
from cosmos_ray.gang.leader import Outcome
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.stop import Stop, goes_on
from cosmos_ray.store.traffic import Traffic

#: What comes of the first attempts at a clip, by how its name begins, and at how many.
ANSWERS: dict[str, tuple[Outcome, int]] = {
    "input": (Outcome(fault=Fault("input", "no video")), 1), "model": (Outcome(fault=Fault("model", "not finite")), 9),
    "oom": (Outcome(fault=Fault("oom", "no memory"), traffic=Traffic(5, 3, 1)), 1),
    "verdict": (Outcome(fault=Fault("model", "black", is_verdict=True)), 1), "unclear": (
        Outcome(fault=Fault("guardrail", "a check raised", is_unclear=True)), 9),
    "back": (Outcome(), 1), "broken": (Outcome(fault=Fault("timeout", "a step hung"), broken=True), 1),
    "out": (Outcome(fault=Fault("storage", "503"), store_is_out=True), 1),
}  # fmt: skip
JOBS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "all is well": (("a", "b", "c"), {}), "faults of rows": (("input", "a", "bad", "verdict"), {}),
    "tried again": (("oom", "a", "back", "b"), {}), "the same again": (("model", "a", "unclear", "b"), {}),
    "one attempt": (("oom", "a"), {"max_attempts": 1}), "a gang breaks": (("a", "broken", "b"), {}),
    "a leader dies": (("a", "dies", "b"), {}), "no store": (("a", "out", "b"), {}), "no clips": ((), {}),
    "no budget": (("a", "b"), {"max_gpu_hours": 1e-12}),
}  # fmt: skip


async def makes(leader: Leader, clip: Clip, attempt: int) -> Outcome:
    outcome, times = ANSWERS.get(clip.id, (None, 0))
    if clip.id == "dies" and attempt == 1:
        leader.breaks("rank 1 died")
        raise ActorDiedError
    if outcome is not None and attempt <= times:
        if outcome.broken:
            leader.breaks("rank 0 died")
        return outcome
    return await makes_it(leader, clip, attempt)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_is_as_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, settings = JOBS[name]
    leaders = Leaders(monkeypatch, makes)
    scene = Scene(tmp_path, **{"clips_in_flight": 1, **settings})
    ended = "well"
    try:
        scene.run(*clips)
    except JobFailedError as error:
        ended = str(error)
    records = [
        f"{one.id} {one.status} {one.failure_class} {one.attempt} {one.error} {one.gang}" for one in scene.records
    ]
    told = [(metric, *(getattr(one, "id", one) for one in values)) for metric, *values in scene.metrics.told]
    # A row with a fault of its own is settled whenever it comes.
    lines = [f"ended: {ended}", *sorted(records), *(f"said: {words}" for words in scene.said)]
    lines += sorted(f"counted: {one}" for one in told if one[0] != "sample")
    for leader in leaders.all:
        lines.append(f"{leader.name} {leader.options} killed {leader.is_killed}: {leader.told}")
    described = scene.pool.describe()
    lines.append(f"described: {described}")
    assert_as_it_was(f"pool/job_{name.replace(' ', '_')}.txt", masked("\n".join(lines), tmp_path))


def test_a_stop_that_takes_too_long_tells_what_is_in_flight_first(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    @contextlib.contextmanager
    def job(heard: Any, last: Any, end: Any) -> Any:
        told.append(str(heard("stopped by SIGTERM")))
        last()
        yield

    monkeypatch.setattr("cosmos_ray.pool.stop.signals.job", job)
    stop = Stop()
    stop.on_stop = lambda: told.append("in flight")
    with stop.heeds_signals(lambda: told.append("released")):
        told.append("at work")
    assert told == ["False", "in flight", "released", "at work"]
    assert str(stop._why) == goes_on("stopped by SIGTERM") == "stopped by SIGTERM; the same command goes on from here"
