"""What the pool decides of its gangs and of what they answer, one rule a test. Without Ray: nothing is placed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.config import BreakerConfig, GangConfig
from cosmos_ray.errors import Fault
from cosmos_ray.gang.deadline import Pace, denoise_work
from cosmos_ray.gang.leader import Outcome
from cosmos_ray.gang.processes import GangInfo
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool import pool as module
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.metrics import HANDED_BACK
from cosmos_ray.pool.pool import GangPool
from cosmos_ray.pool.pool_config import PoolConfig
from cosmos_ray.pool.progress import AtWork
from cosmos_ray.pool.watched import WatchedGang
from cosmos_ray.pool.workload import Work
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.traffic import Traffic

NODE = GangInfo("node", (), 1.0, {})


class Metrics:
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self.told.append((name, *values))

    def of(self, name: str) -> list[Any]:
        return [values[0] if len(values) == 1 else values for called, *values in self.told if called == name]


class Scene:
    """A pool of gangs of two CPU ranks, with clips in its queue, as if it ran."""

    def __init__(self, folder: Path, *clips: str, **spec: Any) -> None:
        self.said: list[str] = []
        self.records: list[Record] = []
        self.metrics = Metrics()
        settings = GangConfig(clips_waiting=2, spare_ranks="always")
        self.spec = GangSpec(load_bundle("fake"), 2, "cpu", "reference", str(folder), 1, settings, **spec)
        config = PoolConfig(1, 4, 3, 3, BreakerConfig(), max_gpu_hours=1.0)
        ledger, metrics = Ledger(Storage(str(folder))), self.metrics
        self.pool = GangPool(
            self.spec,
            ledger,
            config,
            {"b": 4}.get,
            self.records.append,
            metrics,
            self.said.append,  # type: ignore[arg-type]
        )
        for clip in clips:
            self.pool._load.add(Work(clip_of(clip), past_attempt=0))

    def gang(self, name: str = "gang-0001", **fields: Any) -> WatchedGang:
        """One that is up."""
        gang = WatchedGang(name, None, NODE, 0.0, **fields)
        self.pool._up[name] = gang
        self.pool._nodes[name] = "node"
        self.pool._serving.add(name)  # type: ignore[arg-type]
        return gang

    def taken(self, gang: WatchedGang) -> str | None:
        work = self.pool._take(gang)
        if work is None:
            return None
        gang.running[object()] = work  # type: ignore[index]
        return work.clip.id

    def settled(self, *outcomes: Outcome, leaving: str = "") -> tuple[Fault | None, list[Work]]:
        """What the pool makes of attempts that ended so."""
        gang, works = self.gang(leaving=leaving), []

        async def settle() -> Fault | None:
            for outcome in outcomes:
                work = self.pool._load.take(())
                assert work is not None
                work.past_attempt += 1
                works.append(work)
                gang.running[asyncio.create_task(_of(outcome))] = work
            await asyncio.wait(gang.running)
            return await self.pool._settle(gang)

        return asyncio.run(settle()), works


def clip_of(name: str) -> Clip:
    return Clip(name, name, num_steps=2, n_views=1)


async def _of(outcome: Outcome) -> Outcome:
    return outcome


def made(clip: str, attempt: int = 1, **seconds: float) -> Record:
    return Record(clip, 0, "ok", None, attempt, None, "h", 1, gang="gang-0001", seconds=seconds)


# --- which clip a gang may start


def test_a_gang_has_a_few_clips_and_those_that_wait_for_the_store_beside(tmp_path: Path) -> None:
    """Of these only so many: a disk has an end."""
    scene = Scene(tmp_path, *(f"c{number}" for number in range(20)))
    gang = scene.gang()
    assert [scene.taken(gang) for _ in range(4)] == ["c0", "c1", "c2", None]
    gang.waiting = 1
    assert [scene.taken(gang) for _ in range(2)] == ["c3", None]
    gang.waiting = 9
    assert [scene.taken(gang) for _ in range(2)] == ["c4", None]


def test_no_clip_is_started_by_a_gang_that_leaves_nor_in_a_pause_nor_without_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, "a", "b")
    assert scene.pool._take(scene.gang(leaving="its node goes")) is None
    gang = scene.gang()
    for _ in range(3):
        scene.pool._health.count_fault(Fault("gang", "died"))
    assert scene.pool._take(gang) is None
    scene.pool._health.clip_finished("node")
    scene.pool._gpu_time._given_back_s = 1800.0  # of two ranks
    assert scene.pool._take(gang) is None
    scene.pool._gpu_time._given_back_s = 1799.0
    assert scene.taken(gang) == "a"


def test_the_last_clips_are_for_gangs_that_have_none(tmp_path: Path) -> None:
    """One that has a clip would only prepare another: unless more wait than gangs, it is left to those."""
    scene = Scene(tmp_path, "a", "b", "c")
    scene.pool._load.exhausted = True
    first, second = scene.gang("gang-0001"), scene.gang("gang-0002")
    assert [scene.taken(first) for _ in range(3)] == ["a", "b", None]
    assert scene.taken(second) == "c"


def test_a_gang_that_waits_for_gpus_is_wanted_while_it_is_worth_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "a", "b")
    pool = scene.pool
    pool._load.exhausted = True
    pool._placement._waiting = ["gang-1", "gang-2", "gang-3"]
    assert [pool._is_wanted(name) for name in pool._placement._waiting] == [True, True, False]
    pool._gpu_time._given_back_s = 1800.0
    assert not pool._is_wanted("gang-1")


# --- what becomes of what gangs answer


def test_a_clip_that_is_made_is_recorded_and_sets_the_pace(tmp_path: Path) -> None:
    """Not where it went on from a stored state: that says little of how long a clip takes."""
    scene = Scene(tmp_path, "a", "b")
    pool, clip = scene.pool, clip_of("a")
    pool._health.gang_broke("node", 0.0, Fault("gang", "died"))
    seconds = {"denoise": 30.0, "decode": 1.0, "encode": 2.0, "put": 4.0, "wait": 99.0}
    traffic = Traffic(5, 6, 7)
    fault, (work, later) = scene.settled(
        Outcome(made("a", **seconds), traffic=traffic), Outcome(made("b", attempt=2, denoise=5.0))
    )
    assert (fault, [record.id for record in scene.records]) == (None, ["a", "b"])
    assert pool._pace == Pace(30.0 / denoise_work(clip, scene.spec.bundle), 7.0)
    assert (pool._demand.clip_s, pool._demand._clips) == (30.0, 1)
    assert pool._health._strikes["node"] == 0
    assert scene.metrics.of("attempt_ended") == ["ok", "ok"]
    assert scene.metrics.of("exchanged") == [["gang", traffic], ["gang", Traffic()]]
    assert scene.metrics.of("made") == [[work.clip, scene.records[0]], [later.clip, scene.records[1]]]
    assert scene.metrics.of("settled") == scene.records
    assert pool._load.outstanding == 0


@pytest.mark.parametrize(
    ("outcome", "leaving"),
    [(Outcome(), ""), (Outcome(fault=Fault("gang", "died"), broken=True), "its node goes")],
    ids=["handed back", "its gang left"],
)
def test_a_clip_that_comes_back_has_not_been_tried(tmp_path: Path, outcome: Outcome, leaving: str) -> None:
    scene = Scene(tmp_path, "a")
    fault, (work,) = scene.settled(outcome, leaving=leaving)
    assert (fault, work.attempts, scene.pool._load.queued) == (None, 0, 1)
    assert scene.metrics.of("attempt_ended") == [HANDED_BACK]
    assert scene.pool._health._faults == 0


def test_a_store_that_is_out_for_too_long_ends_the_job(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "a")
    with pytest.raises(JobFailedError, match=r"the output cannot be stored, the last: storage: 503"):
        scene.settled(Outcome(fault=Fault("storage", "503"), store_is_out=True))


def test_faults_are_counted_against_the_job_unless_the_row_is_to_blame(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "a", "b")
    fault, _ = scene.settled(Outcome(fault=Fault("input", "no such file")), Outcome(fault=Fault("oom", "too large")))
    assert (fault, scene.pool._health._faults, scene.pool._health._why) == (None, 1, "oom: too large")
    assert scene.metrics.of("attempt_ended") == ["input", "oom"]
    assert [(record.id, record.failure_class) for record in scene.records] == [("a", "input")]
    assert scene.said[-1] == "b: attempt 1 failed (oom): too large"


def test_only_for_a_store_is_somebody_asked_whether_it_is_back(tmp_path: Path) -> None:
    scene, work = Scene(tmp_path, manifest="/m"), Work(Clip("a", "a"), 1)
    asked = scene.pool._answers(work, Fault("storage", "503"))
    assert asked is not None
    assert asked(1.0), "it has no inputs"
    assert scene.pool._answers(work, Fault("oom", "too large")) is None


def test_a_gang_breaks_once_and_for_what_says_the_most(tmp_path: Path) -> None:
    """Its clips fail each with it; that it died says less than why one of them did."""
    died, hung = Fault("gang", "died"), Fault("timeout", "step 3 took too long")
    for order in ((died, hung), (hung, died)):
        scene = Scene(tmp_path, "a", "b")
        fault, _ = scene.settled(*(Outcome(fault=one, broken=True) for one in order))
        assert fault == hung
        assert scene.pool._health._faults == 0, "it is the gang's that is counted"
        assert sorted(scene.metrics.of("attempt_ended")) == ["gang", "timeout"]


def test_clips_of_a_gang_that_is_gone_have_been_tried_and_go_on_in_their_order(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "a", "b", "c")
    gang, cancelled = scene.gang(), []

    class Attempt:
        def cancel(self) -> None:
            cancelled.append(self)

    for _ in range(2):
        work = scene.pool._load.take(())
        assert work is not None
        gang.running[Attempt()] = work  # type: ignore[index]
    asyncio.run(scene.pool._give_up_all(gang, Fault("timeout", "hung")))
    assert (len(cancelled), gang.running) == (2, {})
    assert scene.metrics.of("attempt_ended") == ["gang", "gang"]
    assert [(work.clip.id, work.attempts) for work in scene.pool._load._queue] == [("a", 1), ("b", 1), ("c", 0)]
    assert all("failed (gang): hung" in line for line in scene.said)


# --- rows, gangs that come back, and what is told of them


def test_rows_with_faults_fail_as_they_come_and_others_wait_until_there_is_room(tmp_path: Path) -> None:
    """The queue is twice what the gangs can hold: 4 gangs of 3 clips."""
    scene = Scene(tmp_path)
    load = scene.pool._load
    brought: list[str] = []

    async def rows() -> AsyncIterator[Clip]:
        yield Clip("b", "b", error="no prompt")
        for number in range(30):
            brought.append(f"c{number}")
            yield Clip(f"c{number}", f"c{number}")

    async def feed() -> None:
        feeding = asyncio.create_task(scene.pool._feed(rows()))
        while load.queued < 24:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (len(brought), load.queued, load.exhausted, feeding.done()) == (24, 24, False, False)
        while not feeding.done():
            load.take(())
            scene.pool._changed.tell()
            await asyncio.sleep(0)
        await feeding

    asyncio.run(feed())
    assert (len(brought), load.exhausted, load.outstanding) == (30, True, 31 - 1)
    (record,) = scene.records
    assert (record.id, record.failure_class, record.error, record.attempt) == ("b", "input", "no prompt", 4)


@pytest.mark.parametrize(
    "why_not", ["", "no spares", "it leaves", "a pause", "a bad node", "a drained node", "no clip"]
)
def test_a_gang_that_broke_is_made_again_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why_not: str
) -> None:
    """Unless that would not help."""
    scene = Scene(tmp_path, "a")
    pool, gang = scene.pool, scene.gang()
    asked: list[Any] = []

    def renewed(*given: Any) -> Coroutine[Any, Any, WatchedGang]:
        async def answer() -> WatchedGang:
            asked.append(given)
            return WatchedGang(given[1], None, GangInfo("node", (), 6.5, {}), 0.0)

        return answer()

    monkeypatch.setattr(module, "renewed", renewed)
    if why_not == "no spares":
        pool._spec = GangSpec(**{**scene.spec.__dict__, "settings": GangConfig(spare_ranks="never")})
    elif why_not == "it leaves":
        gang.leaving = "the budget is spent"
    elif why_not == "a pause":
        for _ in range(3):
            pool._health.count_fault(Fault("gang", "died"))
    elif why_not == "a bad node":
        pool._health._strikes["node"] = 2
    elif why_not == "a drained node":
        pool._draining = {"node": 0.0}
    elif why_not == "no clip":
        pool._load.take(())
        pool._load.exhausted = True
    again = asyncio.run(pool._renew(gang))
    assert "gang-0001" not in pool._up
    if why_not:
        assert (again, asked) == (None, [])
        return
    assert again is not None
    assert asked == [(gang, "gang-0001", pool._pace, scene.spec.settings.load_timeout_s, pool._is_idle, pool._say)]
    assert pool._nodes["gang-0001"] == "node"
    assert "gang-0001" in pool._gpu_time._since
    assert scene.metrics.of("gang_started") == [6.5]


def test_what_is_told_of_a_job_that_works(tmp_path: Path) -> None:
    """To `status`, to metrics, and on a terminal: each what it asks for."""
    scene = Scene(tmp_path, "a", "b")
    pool = scene.pool
    scene.gang("gang-0001", stages={"denoising": 1, "prepared": 2})
    scene.gang("gang-0002", stages={"denoising": 1})
    pool._nodes["gang-0003"] = "other"
    for name in ("gang-0003", "gang-0004"):
        pool._serving.add(name)  # type: ignore[arg-type]
    pool._draining = {"z": 0.0, "other": 1.0}
    pool._health._strikes["bad"] = 2
    pool._gpu_time._given_back_s = 50.0
    assert pool.describe() == {
        "gangs": {"gang-0001": "node", "gang-0002": "node", "gang-0003": "other"},
        "at": {},
        "avoided_nodes": ["bad"],
        "draining_nodes": ["other", "z"],
        "pause": None,
    }
    levels = pool._levels()
    assert levels.stages == {"waiting": 2, "parked": 0, "denoising": 2, "prepared": 2}
    assert levels.gangs == {"wanted": 4, "placed": 3, "up": 2}
    assert (levels.paused, levels.nodes_avoided, levels.held_gpu_seconds) == (False, 1, 100.0)
    assert pool.work() == AtWork(4, ("gang-0001", "gang-0002"), {}, 100.0)
    for _ in range(3):
        pool._health.count_fault(Fault("oom", "too large"))
    assert pool.describe()["pause"] == "oom: too large"
    assert pool._levels().paused
