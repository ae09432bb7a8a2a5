"""A pool from its first clip to its last, with leaders that are no actors: who makes what, what each gang is told, and
that nothing is left behind. Without Ray."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, RayError, RayTaskError
from support.leaders import Leader, Leaders, makes_it
from support.pool_scene import Scene

from cosmos_ray.errors import Fault, UsageError
from cosmos_ray.gang.leader import Outcome
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import placement, pool, unfinished
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.metrics import HANDED_BACK
from cosmos_ray.pool.resident import Resident


@pytest.fixture
def leaders(monkeypatch: pytest.MonkeyPatch) -> Leaders:
    return Leaders(monkeypatch)


def test_every_clip_is_made_once_and_rows_with_faults_by_nobody(tmp_path: Path, leaders: Leaders) -> None:
    scene = Scene(tmp_path, expected_clips=4)
    scene.run("a", "b", "bad", "c")
    assert scene.outcomes() == [
        ("a", "ok", 1, "gang-0001"),
        ("b", "ok", 1, "gang-0001"),
        ("bad", "failed", 0, None),
        ("c", "ok", 1, "gang-0001"),
    ]
    (leader,) = leaders.all
    assert leader.options == {"num_cpus": 2}
    assert leader.told[0] == ("start", ())
    assert sorted(leader.told[1:]) == [("run", "a", 1), ("run", "b", 1), ("run", "c", 1)]
    assert scene.said[0] == "gang-0001 is up: 2 ranks on node node0001, loaded in 2.0 s ()"
    assert scene.said[-1] == "gang-0001 is released: no clip is left for it"
    assert (scene.metrics.of("gang_started"), scene.metrics.of("gang_died")) == ([2.0], [])
    assert scene.pool._load._to_come == 0, "a row with faults is one of those that were to come"
    assert scene.pool._gpu_time._given_back_s > 0
    scene.leaves_nothing(leaders)


def test_no_more_gangs_than_are_allowed_and_than_there_are_clips(tmp_path: Path, leaders: Leaders) -> None:
    for most, clips, gangs in ((2, "abcdef", 2), (4, "ab", 2)):
        leaders.all.clear()
        scene = Scene(tmp_path / f"{most}", max_gangs=most, min_gangs=2, expected_clips=len(clips), clips_in_flight=1)
        scene.run(*clips)
        assert len(leaders.all) == gangs
        assert [one.name for one in leaders.all] == [f"gang-{number:04d}" for number in range(1, gangs + 1)]
        assert len(scene.records) == len(clips)
        scene.leaves_nothing(leaders)


async def _breaks_at_b(leader: Leader, clip: Clip, attempt: int) -> Outcome:
    """The first attempt at `b` takes its gang with it."""
    if clip.id == "b" and attempt == 1:
        leader.breaks("rank 1 died")
        raise ActorDiedError
    return await makes_it(leader, clip, attempt)


def test_clips_of_a_gang_that_dies_go_to_another_which_hears_of_the_dead(tmp_path: Path, leaders: Leaders) -> None:
    leaders.makes = _breaks_at_b
    scene = Scene(tmp_path, clips_in_flight=1)
    scene.run("a", "b", "c")
    assert scene.outcomes() == [
        ("a", "ok", 1, "gang-0001"),
        ("b", "ok", 2, "gang-0002"),
        ("c", "ok", 1, "gang-0002"),
    ]
    assert [one.told[0] for one in leaders.all] == [("start", ()), ("start", ("rank of gang-0001",))]
    assert scene.metrics.of("gang_died") == ["gang"]
    assert scene.pool._health._strikes == {"node0001": 1, "node0002": 0}
    assert scene.metrics.of("attempt_ended") == ["ok", "gang", "ok", "ok"]
    assert any(line.startswith("gang-0001 broke: gang: ") for line in scene.said)
    scene.leaves_nothing(leaders)


def test_a_gang_that_has_spares_is_made_again_where_it_was(tmp_path: Path, leaders: Leaders) -> None:
    """Under another name, by the same leader, whose GPUs are never given up."""
    leaders.makes = _breaks_at_b
    scene = Scene(tmp_path, "always", clips_in_flight=1)
    scene.run("a", "b", "c")
    assert scene.outcomes() == [
        ("a", "ok", 1, "gang-0001"),
        ("b", "ok", 2, "gang-0002"),
        ("c", "ok", 1, "gang-0002"),
    ]
    (leader,) = leaders.all
    assert [told for told in leader.told if told[0] != "run"] == [("start", ()), ("renew", "gang-0002")]
    assert scene.metrics.of("gang_started") == [2.0, 2.0]
    assert scene.said[-1] == "gang-0002 is released: no clip is left for it"
    scene.leaves_nothing(leaders)


def test_a_gang_that_does_not_start_is_tried_again_elsewhere(tmp_path: Path, leaders: Leaders) -> None:
    """Twice on one node is enough of it."""

    async def loads(leader: Leader) -> None:
        if leader.name <= "gang-0002":
            raise ActorDiedError

    async def node(leader: Leader) -> str:
        return "other" if leader.options.get("label_selector") else "node0001"

    leaders.loads, leaders.node = loads, node
    scene = Scene(tmp_path)
    scene.run("a")
    assert scene.outcomes() == [("a", "ok", 1, "gang-0003")]
    assert [one.options.get("label_selector") for one in leaders.all] == [
        None,
        None,
        {"ray.io/node-id": "!in(node0001)"},
    ]
    assert len([told for told in scene.metrics.told if told[0] == "gang_did_not_start"]) == 2
    assert scene.said[0].startswith("gang-0001 did not start: ")
    scene.leaves_nothing(leaders)


def test_what_no_gang_can_be_made_of_is_the_jobs_own_fault(tmp_path: Path, leaders: Leaders) -> None:
    """Another gang would meet the same."""

    async def loads(leader: Leader) -> None:
        raise RayTaskError("start", "traceback", UsageError("weights of another model"))

    leaders.loads = loads
    scene = Scene(tmp_path)
    with pytest.raises(UsageError, match=r"^weights of another model$"):
        scene.run("a")
    assert len(leaders.all) == 1
    scene.leaves_nothing(leaders)


def test_a_gang_whose_node_is_drained_while_it_starts_is_nobodys_fault(tmp_path: Path, leaders: Leaders) -> None:
    async def loads(leader: Leader) -> None:
        if leader.name == "gang-0001":
            scene.pool._draining = leaders.draining = {"node0001": 0.0}
            raise ActorDiedError

    leaders.loads = loads
    scene = Scene(tmp_path)
    scene.run("a")
    assert scene.said[0] == "gang-0001 did not start: its node node0001 is being drained"
    assert (scene.pool._health._faults, scene.metrics.of("gang_did_not_start")) == (0, [])
    assert scene.outcomes() == [("a", "ok", 1, "gang-0002")]
    scene.leaves_nothing(leaders)


@pytest.mark.parametrize("is_heard", [True, False], ids=["its leader hands the clip back", "its leader dies first"])
def test_a_gang_on_a_node_that_goes_leaves_and_its_clip_has_not_been_tried(
    tmp_path: Path, leaders: Leaders, is_heard: bool
) -> None:
    async def makes(leader: Leader, clip: Clip, attempt: int) -> Outcome:
        if leader.name == "gang-0001":
            scene.pool._draining = leaders.draining = {"node0001": 0.0}
            scene.pool._changed.tell()
            while ("leave", None) not in leader.told:
                await asyncio.sleep(0)
            leader.breaks("its node is gone")
            if is_heard:
                return Outcome()
            await asyncio.sleep(0.05)
            raise ActorDiedError
        return await makes_it(leader, clip, attempt)

    leaders.makes = makes
    scene = Scene(tmp_path, resident=Resident())
    scene.run("a")
    assert scene.outcomes() == [("a", "ok", 2, "gang-0002")], "its number is used"
    assert scene.metrics.of("attempt_ended") == [HANDED_BACK, "ok"]
    assert scene.metrics.of("gang_died") == []
    assert "gang-0001 is released: its node goes" in scene.said
    assert scene.pool._health._strikes["node0001"] == 0
    scene.leaves_nothing(leaders, kept=(leaders.all[1],))


def test_a_budget_that_is_spent_ends_the_job_with_what_is_left(tmp_path: Path, leaders: Leaders) -> None:
    async def makes(leader: Leader, clip: Clip, attempt: int) -> Outcome:
        scene.pool._gpu_time._given_back_s += 900.0  # of two ranks: half an hour
        return await makes_it(leader, clip, attempt)

    leaders.makes = makes
    scene = Scene(tmp_path, max_gpu_hours=1.0, clips_in_flight=1, expected_clips=4)
    with pytest.raises(JobFailedError, match=r"the budget \(--max-gpu-hours 1\) is spent with 2 clips left; the same"):
        scene.run(*"abcd")
    assert [one.id for one in scene.records] == ["a", "b"]
    assert scene.said[-1] == "gang-0001 is released: the budget is spent"
    scene.leaves_nothing(leaders)


def test_a_stop_says_what_is_unfinished_and_gives_everything_back(
    tmp_path: Path, leaders: Leaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "_GONE_S", 0.05)

    async def makes(leader: Leader, clip: Clip, attempt: int) -> Outcome:
        running[0].cancel()
        await asyncio.Event().wait()
        raise AssertionError

    async def rows() -> AsyncIterator[Clip]:
        yield Clip("a", "a", num_steps=2, n_views=1)

    async def job() -> None:
        running.append(asyncio.ensure_future(scene.pool.run(rows())))
        with contextlib.suppress(asyncio.CancelledError):
            await running[0]

    running: list[asyncio.Future[None]] = []
    leaders.makes = makes
    scene = Scene(tmp_path)
    asyncio.run(job())
    assert (scene.records, scene.said[-1]) == ([], "gang-0001 is stopped in the middle of a (attempt 1)")
    scene.leaves_nothing(leaders)


def test_where_there_is_no_time_to_ask_the_ledger_what_is_in_flight_is_said_at_once(
    tmp_path: Path, leaders: Leaders
) -> None:
    async def makes(leader: Leader, clip: Clip, attempt: int) -> Outcome:
        scene.pool.say_in_flight()
        return await makes_it(leader, clip, attempt)

    leaders.makes = makes
    scene = Scene(tmp_path)
    scene.run("a")
    words = "gang-0001 is stopped in the middle of a (attempt 1): those that were committed at last, the next run finds"
    assert words in scene.said


def test_a_gang_that_loads_for_nothing_is_released(tmp_path: Path, leaders: Leaders) -> None:
    """Another gang has taken the last clip meanwhile."""

    async def loads(leader: Leader) -> None:
        if leader.name == "gang-0002":
            await asyncio.Event().wait()

    leaders.loads = loads
    scene = Scene(tmp_path, max_gangs=2, min_gangs=2, clips_in_flight=3, expected_clips=2)
    scene.run("a", "b")
    assert "gang-0002 is released while it loads: no clip is left for it" in scene.said
    assert {gang for *_, gang in scene.outcomes()} == {"gang-0001"}
    scene.leaves_nothing(leaders)


def test_the_next_job_takes_up_the_gang_that_has_nothing_left_to_do(tmp_path: Path, leaders: Leaders) -> None:
    """And no gang that broke."""
    resident = Resident()
    first, second = Scene(tmp_path / "1", resident=resident), Scene(tmp_path / "2", resident=resident)
    first.run("a")
    (leader,) = leaders.all
    first.leaves_nothing(leaders, kept=(leader,))
    second.run("b")
    assert leaders.all == [leader]
    assert leader.told[-2:] == [("take_up", "gang-0001"), ("run", "b", 1)]
    assert second.said[0] == "gang-0001 is up: it was kept, with its model loaded; no kernels"
    second.leaves_nothing(leaders, kept=(leader,))
    elsewhere = Scene(tmp_path / "4", resident=resident)
    elsewhere.pool._names = 4
    elsewhere.pool._draining = leaders.draining = {"node0001": 0.0}
    elsewhere.run("c")
    assert [one.is_killed for one in leaders.all] == [True, False], "the one on a node that goes is not taken up"
    leaders.makes, leaders.draining = _breaks_at_b, {}
    third = Scene(tmp_path / "3", resident=resident, clips_in_flight=1)
    third.run("b")
    assert [one.is_killed for one in leaders.all] == [True, True, False]
    assert third.outcomes() == [("b", "ok", 2, "gang-0002")]


def test_a_clip_that_nobody_can_make_fails_and_the_job_ends(tmp_path: Path, leaders: Leaders) -> None:
    """Once another clip was made the row is to blame."""

    async def makes(leader: Leader, clip: Clip, attempt: int) -> Outcome:
        if clip.id == "b":
            leader.breaks("rank 0 died")
            raise ActorDiedError
        return await makes_it(leader, clip, attempt)

    leaders.makes = makes
    scene = Scene(tmp_path, clips_in_flight=1, max_attempts=2)
    scene.run("b", "a")
    assert scene.outcomes() == [("a", "ok", 1, "gang-0003"), ("b", "failed", 2, None)]
    assert [one.failure_class for one in scene.records if one.id == "b"] == ["gang"]
    scene.leaves_nothing(leaders)


def test_the_only_clip_fails_when_nothing_else_is_left_to_try(tmp_path: Path, leaders: Leaders) -> None:
    async def makes(leader: Leader, clip: Clip, attempt: int) -> Outcome:
        return Outcome(fault=Fault("oom", "too large"))

    leaders.makes = makes
    scene = Scene(tmp_path, max_attempts=2)
    scene.run("a")
    assert scene.outcomes() == [("a", "failed", 2, None)]
    assert (scene.records[0].failure_class, scene.records[0].error) == ("oom", "too large")
    scene.leaves_nothing(leaders)


def test_a_node_that_dies_while_a_gang_starts_is_the_one_to_avoid(
    tmp_path: Path, leaders: Leaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray may say which it was, where the leader never came to tell."""

    async def node(leader: Leader) -> str:
        if leader.name == "gang-0001":
            raise ActorDiedError
        return "node0002"

    async def died(leader: Leader, error: RayError) -> str:
        return "dead"

    monkeypatch.setattr(pool, "node_that_died", died)
    leaders.node = node
    scene = Scene(tmp_path)
    scene.run("a")
    assert scene.said[0] == "gang-0001 did not start: its node died"
    assert scene.pool._health._strikes == {"dead": 1, "node0002": 0}
    assert scene.outcomes() == [("a", "ok", 1, "gang-0002")]


def test_what_a_gang_took_to_come_is_known_to_the_next_demand(tmp_path: Path, leaders: Leaders) -> None:
    async def node(leader: Leader) -> str:
        await asyncio.sleep(0.02)
        return "node"

    async def loads(leader: Leader) -> None:
        await asyncio.sleep(0.2)

    leaders.node, leaders.loads = node, loads
    scene = Scene(tmp_path)
    scene.run("a")
    assert scene.pool._demand.placing_s >= 0.02
    assert scene.pool._demand.loading_s >= 0.2


def test_a_job_without_any_gang_waits_no_longer_than_it_is_told(
    tmp_path: Path, leaders: Leaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def node(leader: Leader) -> str:
        await asyncio.Event().wait()
        return ""

    leaders.node = node
    monkeypatch.setattr(placement, "what_is_on_offer", lambda *asked: f"{asked} is not there")
    scene = Scene(tmp_path)
    object.__setattr__(scene.pool._spec.settings, "placement_timeout_s", 0.5)
    with pytest.raises(JobFailedError, match=r"no gang in 1 s .*: a gang needs 2 free CPUs on one node; \('CPU', 2\)"):
        scene.run("a")
    scene.leaves_nothing(leaders)
