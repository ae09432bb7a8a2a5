"""Leaders that wait for their GPUs: what they ask for, what is said meanwhile, and when it ends. Without Ray: no
cluster, and a clock that goes on by a second at each look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from cosmos_ray.config import BreakerConfig, GangConfig
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool import placement as module
from cosmos_ray.pool.health import JobFailedError, JobHealth
from cosmos_ray.pool.placement import Placement, node_that_died

SPEC = GangSpec(load_bundle("fake"), 4, "cuda", "reference", "/out", 1, GangConfig(placement_timeout_s=3600))


class Scene:
    """Leaders by name, and what the cluster offers."""

    def __init__(self) -> None:
        self.now, self.offer = 1000.0, "no node has GPUs"
        self.said: list[tuple[int, str]] = []
        self.made: list[tuple[dict[str, Any], str]] = []
        self.asked: list[tuple[str, int]] = []
        self.health = JobHealth(BreakerConfig(), lambda _: None)
        self.placement = self.placing(SPEC)

    def placing(self, spec: GangSpec) -> Placement:
        return Placement(spec, self.health, lambda line: self.said.append((round(self.now - 1000), line)))

    async def wait(self, futures: set[asyncio.Future[str]], timeout: float) -> tuple[set[Any], set[Any]]:
        assert timeout == 1.0
        self.now += timeout
        await asyncio.sleep(0)
        return {one for one in futures if one.done()}, {one for one in futures if not one.done()}

    async def wait_for(self, answer: asyncio.Future[str], seconds: float) -> str:
        if not answer.done():
            self.now += seconds
            raise TimeoutError
        return await answer

    async def asleep(self, seconds: float) -> None:
        self.now += seconds

    def what_is_on_offer(self, resource: str, size: int) -> str:
        self.asked.append((resource, size))
        return self.offer

    def options(self, **options: Any) -> Any:
        return SimpleNamespace(remote=lambda name, spec: self.made.append((options, name)))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene()

    async def to_thread(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    mine = SimpleNamespace(
        ensure_future=asyncio.ensure_future, wait=scene.wait, to_thread=to_thread, sleep=scene.asleep,
        wait_for=scene.wait_for,
    )  # fmt: skip
    monkeypatch.setattr(module, "asyncio", mine)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: scene.now))
    monkeypatch.setattr(module, "what_is_on_offer", scene.what_is_on_offer)
    monkeypatch.setattr(module, "nodes_with", lambda resource, size: ["bad", "good"] if (resource, size) else [])
    monkeypatch.setattr(module, "leader_actor", SimpleNamespace(options=scene.options))
    return scene


class Leader:
    """Answers with its node, or an error, when it has been asked to."""

    def __init__(self, *answers: str | Exception | None) -> None:
        self.answers, self.futures = list(answers), list[asyncio.Future[str]]()
        self.node = SimpleNamespace(remote=self.ask)

    def ask(self) -> asyncio.Future[str]:
        answer = asyncio.get_running_loop().create_future()
        said = self.answers.pop(0) if self.answers else None
        if isinstance(said, Exception):
            answer.set_exception(said)
        elif said is not None:
            answer.set_result(said)
        self.futures.append(answer)
        return answer


def node_of(scene: Scene, leader: Leader, seconds: float, have_gangs: Callable[[], bool] = lambda: True) -> str:
    """Wanted for so many seconds."""
    end = scene.now + seconds
    return asyncio.run(scene.placement.node_of("gang-1", leader, lambda: scene.now < end, have_gangs))


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_a_gang_asks_for_all_its_gpus_at_once_or_on_cpus_for_as_many(scene: Scene) -> None:
    scene.placement.make_leader("a")
    scene.placing(replace(SPEC, device="cpu", gang_size=2)).make_leader("b")
    assert scene.made == [({"num_gpus": 4}, "a"), ({"num_cpus": 2}, "b")]


def test_nodes_that_break_gangs_are_left_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(scene.health, "nodes_to_avoid", lambda nodes: asked.append(nodes) or ["bad", "ill"])  # type: ignore[func-returns-value]
    scene.placement.make_leader("a")
    assert scene.made == [({"num_gpus": 4, "label_selector": {"ray.io/node-id": "!in(bad,ill)"}}, "a")]
    assert asked == [["bad", "good"]]


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_leader_that_answers_is_placed(scene: Scene) -> None:
    assert node_of(scene, Leader("node-7"), 60) == "node-7"
    assert node_of(scene, Leader("node-7"), 0) == "node-7", "it is there: whether it is wanted is asked of a gang next"
    assert scene.placement.waiting == 0
    assert scene.said == []


def test_one_that_is_not_wanted_any_more_takes_its_question_back(scene: Scene) -> None:
    leader = Leader()
    assert node_of(scene, leader, 5) == ""
    assert leader.futures[0].cancelled()
    assert (scene.placement.waiting, scene.now) == (0, 1005.0)


def test_one_that_dies_while_it_waits_says_why_and_is_forgotten(scene: Scene) -> None:
    with pytest.raises(RayError):
        node_of(scene, Leader(ActorDiedError()), 60)
    assert scene.placement.waiting == 0


def test_who_waits_the_least_is_told_from_those_before(scene: Scene) -> None:
    scene.placement._waiting[:] = ["a", "b", "c"]
    assert [scene.placement.is_among_last("b", count) for count in (0, 1, 2, 3)] == [False, False, True, True]
    assert [scene.placement.is_among_last("c", count) for count in (0, 1)] == [False, True]
    assert not scene.placement.is_among_last("d", 3)
    assert scene.placement.waiting == 3


def test_after_half_a_minute_it_is_said_what_is_missing_and_again_when_that_changes(scene: Scene) -> None:
    """Else every ten minutes. How long it has waited is no change."""
    offers = {100: "a node has 2", 101: "a node has 2", 102: "no node has GPUs"}

    def is_wanted() -> bool:
        scene.offer = offers.get(round(scene.now - 1000), scene.offer)
        return scene.now < 2000

    asyncio.run(scene.placement.node_of("gang-1", Leader(), is_wanted, lambda: True))
    need = "a gang needs 4 free GPUs on one node"
    assert scene.said == [
        (30, f"gang-1 waiting for 30 s: {need}; no node has GPUs"),
        (100, f"gang-1 waiting for 100 s: {need}; a node has 2"),
        (102, f"gang-1 waiting for 102 s: {need}; no node has GPUs"),
        (702, f"gang-1 waiting for 702 s: {need}; no node has GPUs"),
    ]
    assert set(scene.asked) == {("GPU", 4)}


def test_the_one_that_waits_longest_speaks_for_all(scene: Scene) -> None:
    scene.placement._waiting[:] = ["older"]
    node_of(scene, Leader(), 60)
    assert scene.said == []
    scene.placement._waiting[:] = []

    async def behind_it() -> None:
        asking = asyncio.ensure_future(
            scene.placement.node_of("gang-1", Leader(), lambda: scene.now < 1100, lambda: True)
        )
        await asyncio.sleep(0)
        scene.placement._waiting.extend(["gang-2", "gang-3", "gang-4"])
        await asking

    asyncio.run(behind_it())
    assert scene.placement._waiting == ["gang-2", "gang-3", "gang-4"]
    assert [line.split(":")[0] for _, line in scene.said] == ["gang-1, gang-2, gang-3 … waiting for 30 s"]
    scene.said.clear()
    scene.now += 700
    scene.placement._waiting[:] = ["gang-1", "gang-2", "gang-3"]
    asyncio.run(scene.placement._tell(30))
    asyncio.run(scene.placement._tell(31))
    assert [line.split(":")[0] for _, line in scene.said] == ["gang-1, gang-2, gang-3 waiting for 30 s"]


def test_a_job_that_never_has_a_gang_ends_and_one_that_has_them_waits_on(scene: Scene) -> None:
    """Counted from the last moment that it had one."""
    assert node_of(scene, Leader(), 5000) == ""
    had_until = scene.now + 100
    with pytest.raises(JobFailedError, match=r"^no gang in 3600 s .*: a gang needs 4 free GPUs .*no node has GPUs\."):
        node_of(scene, Leader(), 5000, have_gangs=lambda: scene.now < had_until)
    assert scene.now == pytest.approx(had_until + 3600, abs=1.5)
    assert scene.placement.waiting == 0


# --- dead nodes ------------------------------------------------------------------------------------------------------


class Died(RayError):
    pass


DEAD = Died("The actor died because its node has died. Node Id: abc123 (ip 1.2.3.4)")


@pytest.mark.parametrize(
    ("error", "leader", "node"),
    [
        (DEAD, Leader(), "abc123"),
        (Died("out of memory"), Leader(), ""),
        (ActorUnavailableError("gone?", b"1" * 16), Leader(DEAD), "abc123"),
        (ActorUnavailableError("gone?", b"1" * 16), Leader(ActorUnavailableError("still", b"1" * 16), DEAD), "abc123"),
        (ActorUnavailableError("gone?", b"1" * 16), Leader("it lives"), ""),
        (ActorUnavailableError("gone?", b"1" * 16), Leader(TimeoutError()), ""),
        (ActorUnavailableError("gone?", b"1" * 16), Leader(Died("its worker was killed")), ""),
    ],
    ids=["said", "other", "noticed", "noticed late", "lives", "silent", "worker"],
)
def test_a_dead_node_is_told_from_a_dead_leader(scene: Scene, error: RayError, leader: Leader, node: str) -> None:
    assert asyncio.run(node_that_died(leader, error)) == node


def test_a_leader_that_stays_unavailable_is_not_asked_for_ever(scene: Scene) -> None:
    leader = Leader(*[ActorUnavailableError("gone?", b"1" * 16)] * 1000)
    assert asyncio.run(node_that_died(leader, ActorUnavailableError("gone?", b"1" * 16))) == ""
    assert len(leader.futures) == 130, "every half second of the 65 in which Ray notices"
