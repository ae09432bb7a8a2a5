"""The gang pool: the driver's own loop that hands clips to gangs and takes them back from dead ones.

Plain asyncio, no threads of its own. Each gang has a task (`_serve`): make a leader, keep a few clips in flight on it,
and when it breaks give its clips to whichever gang is free. `_scale` replaces it if it is still wanted. What the rules
are is for others to say: how many gangs to have (`demand.py`), where (`placement.py`), how one that is up is watched
(`watched.py`), what becomes of a clip whose attempt failed (`workload.py`, `settlement.py`), when the job is to pause
or to stop (`health.py`).
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from cosmos_ray.errors import Fault, UsageError
from cosmos_ray.gang.deadline import Pace, denoise_work
from cosmos_ray.gang.inputs import inputs_answer
from cosmos_ray.gang.leader import Outcome
from cosmos_ray.gang.processes import GangInfo, RankProcess
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import ray_words
from cosmos_ray.pool.changes import Changes
from cosmos_ray.pool.cluster import draining_nodes
from cosmos_ray.pool.demand import Demand
from cosmos_ray.pool.gpu_time import GpuTime
from cosmos_ray.pool.health import JobFailedError, JobHealth, store_is_out
from cosmos_ray.pool.marks import Marks
from cosmos_ray.pool.metrics import HANDED_BACK, JobMetrics, Levels
from cosmos_ray.pool.placement import Placement, node_that_died
from cosmos_ray.pool.pool_config import PoolConfig
from cosmos_ray.pool.progress import AtWork
from cosmos_ray.pool.renewal import renewed
from cosmos_ray.pool.resident import Resident
from cosmos_ray.pool.settlement import Settlement
from cosmos_ray.pool.steps import Steps
from cosmos_ray.pool.unfinished import Unfinished
from cosmos_ray.pool.watched import WatchedGang
from cosmos_ray.pool.workload import Work, Workload, is_rows_own
from cosmos_ray.words import counted, node_name

_DRAIN_POLL_S = 1.0


class GangPool:
    """Runs all of a job's clips. `on_record` hears of every commit, `on_event` of gangs coming and going.

    resident: where gangs come from that another job has left, and where those go that have nothing left to do.
    """

    def __init__(
        self,
        spec: GangSpec,
        ledger: Ledger,
        config: PoolConfig,
        past_attempts: Callable[[str], int],
        on_record: Callable[[Record], None],
        metrics: JobMetrics,
        on_event: Callable[[str], None],
        resident: Resident | None = None,
    ) -> None:
        self._resident = resident
        self._spec, self._ledger, self._config = spec, ledger, config
        self._past_attempts, self._on_record, self._say = past_attempts, on_record, on_event
        self._metrics = metrics
        self._load = Workload(config.max_attempts, config.expected_clips)
        self._demand = Demand(config.min_gangs, config.max_gangs)
        self._health = JobHealth(config.breaker, on_event)
        self._placement = Placement(spec, self._health, on_event)
        self._settlement = Settlement(ledger, spec.epoch, self._load, self._settled, on_event, spec.patience_s)
        self._marks = Marks(ledger, spec.epoch)
        self._unfinished = Unfinished(ledger, self._settled, on_event)
        self._gpu_time = GpuTime(spec.gang_size, config.max_gpu_hours)
        self._changed = Changes()  # of the workload
        self._serving: set[asyncio.Task[None]] = set()  # a task a gang, from the demand for its GPUs to their release
        self._names = 0
        self._pace = Pace()  # as measured last, so that a new gang's first clip has a deadline to the point
        self._nodes: dict[str, str] = {}  # of gangs that are placed, by name
        self._up: dict[str, WatchedGang] = {}  # gangs that are loaded
        self._steps = Steps({})
        self._draining: dict[str, float] = {}
        self._dead_ranks: collections.deque[RankProcess] = collections.deque(maxlen=256)

    async def run(self, clips: AsyncIterator[Clip]) -> None:
        """Settle every clip. Raises JobFailedError, LeaseLost or UsageError when the job itself cannot go on."""
        watching = [
            asyncio.create_task(self._watch_draining()),
            asyncio.create_task(self._metrics.keep(self._levels)),
            asyncio.create_task(self._steps.follow(lambda: self._up)),
            asyncio.create_task(self._health.watch_stores()),
        ]
        parts = [asyncio.create_task(self._feed(clips)), asyncio.create_task(self._scale())]
        try:
            await asyncio.gather(*parts)
        finally:
            tasks = [*watching, *parts, *self._serving, *self._settlement.storing]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._unfinished.tell()
            self._marks.close()
            self._settlement.close()
            self._metrics.sample(self._levels())

    def describe(self) -> dict[str, Any]:
        """For `status`: gangs and their nodes, nodes that are avoided, why the job pauses (None: it does not)."""
        return {
            "gangs": dict(self._nodes),
            "at": self._steps.as_json(),
            "avoided_nodes": self._health.bad_nodes,
            "draining_nodes": sorted(self._draining),
            "pause": self._health.pause,
        }

    def work(self) -> AtWork:
        """What a person sees while the job goes on."""
        return AtWork(len(self._serving), tuple(self._up), dict(self._steps.at), self._gpu_time.seconds)

    def say_in_flight(self) -> None:
        """Which clips a stop finds unfinished, where it takes too long to ask the ledger. From any thread."""
        self._unfinished.tell_at_once(list(self._up.values()))

    def _levels(self) -> Levels:
        stages = collections.Counter(waiting=self._load.queued, parked=self._load.parked)
        for gang in self._up.values():
            stages.update(gang.stages)
        return Levels(
            stages=stages,
            gangs={"wanted": len(self._serving), "placed": len(self._nodes), "up": len(self._up)},
            paused=self._health.pause is not None,
            nodes_avoided=len(self._health.bad_nodes),
            held_gpu_seconds=self._gpu_time.seconds,
        )

    async def _feed(self, clips: AsyncIterator[Clip]) -> None:
        """Keep the queue a little longer than what the gangs can hold; the stream waits meanwhile."""
        room = self._config.max_gangs * self._config.clips_in_flight * 2
        async for clip in clips:
            work = Work(clip, self._past_attempts(clip.id))
            if clip.error is not None:
                self._load.skip()
                await self._settlement.failed(work, Fault("input", clip.error))
                continue
            self._load.add(work)
            self._changed.tell()
            while self._load.queued >= room:
                await self._changed.wait(timeout_s=1.0)
        self._load.exhausted = True
        self._changed.tell()

    async def _scale(self) -> None:
        """As many gangs as the work is worth; ends when every clip is settled."""
        while not self._is_all_done():
            self._settlement.check()
            for task in [task for task in self._serving if task.done()]:
                self._serving.remove(task)
                task.result()  # its fault is the job's
            if self._is_all_done():
                return
            if not self._serving:
                for work, fault in self._load.nothing_else_left():
                    await self._settlement.failed(work, fault)
                if self._gpu_time.is_spent and not self._load.is_done:
                    raise JobFailedError(
                        f"the budget (--max-gpu-hours {self._config.max_gpu_hours:g}) is spent with "
                        f"{counted(self._load.waiting, 'clip')} left; the same command goes on from here, with a "
                        "budget of its own"
                    )
            if not self._is_idle():
                for _ in range(self._demand.to_make(len(self._up), self._load.waiting) - len(self._serving)):
                    task = asyncio.create_task(self._serve())
                    task.add_done_callback(lambda _: self._changed.tell())
                    self._serving.add(task)
            await self._changed.wait(timeout_s=0.5)

    def _is_all_done(self) -> bool:
        return self._load.is_done and not self._serving and not self._settlement.storing

    def _is_idle(self) -> bool:
        """There is nothing that a gang could start."""
        return not self._load.has_next or self._gpu_time.is_spent

    def _is_wanted(self, name: str) -> bool:
        """Is this gang, which waits for its GPUs, still worth waiting for?"""
        asked_for = len(self._nodes) + self._placement.waiting
        surplus = asked_for - self._demand.to_keep(len(self._up), self._load.waiting)
        return not self._is_idle() and not self._placement.is_among_last(name, surplus)

    async def _watch_draining(self) -> None:
        """Which nodes are about to go (preempted, scaled down), and when."""
        while True:
            self._draining = await asyncio.to_thread(draining_nodes)
            await asyncio.sleep(_DRAIN_POLL_S)

    async def _serve(self) -> None:
        """One gang, until it breaks or there is no clip for it."""
        await self._health.wait_out_pause()
        if self._is_idle():
            return
        name = self._new_name()
        gang, is_whole = await self._take_up(name), False
        leader = gang.leader if gang else self._placement.make_leader(name)
        try:
            gang = gang or await self._start(name, leader)
            while gang is not None:
                self._up[name] = gang
                is_whole = await self._work(gang)
                again = None if is_whole else await self._renew(gang)
                if again is None:
                    break
                self._gone(name)
                name, gang = again.name, again
        finally:
            if gang and is_whole and self._resident:
                self._resident.keep(gang, self._spec)
            else:
                self._dead_ranks.extend(gang.info.ranks if gang else ())
                ray.kill(leader)
            self._gone(name)

    async def _renew(self, gang: WatchedGang) -> WatchedGang | None:
        """Another gang on the GPUs of this one, which broke; None if it is to be placed and made anew."""
        self._up.pop(gang.name, None)
        is_well = self._health.pause is None and gang.info.node not in {*self._health.bad_nodes, *self._draining}
        if not self._spec.has_spares or gang.leaving or not is_well or self._is_idle():
            return None
        limit_s = self._spec.settings.load_timeout_s
        again = await renewed(gang, self._new_name(), self._pace, limit_s, self._is_idle, self._say)
        if again is not None:
            self._nodes[again.name] = again.info.node
            self._gpu_time.taken(again.name)
            self._metrics.gang_started(again.info.load_seconds)
        return again

    def _new_name(self) -> str:
        self._names += 1
        return f"gang-{self._names:04d}"

    def _gone(self, name: str) -> None:
        self._gpu_time.given_back(name)
        self._up.pop(name, None)
        self._nodes.pop(name, None)

    async def _take_up(self, name: str) -> WatchedGang | None:
        """One that is loaded already."""
        gang = await self._resident.take_up(name, self._spec, self._draining) if self._resident else None
        if gang is not None:
            self._nodes[name] = gang.info.node
            self._gpu_time.taken(name)
            self._say(f"{name} is up: it was kept, with its model loaded; {gang.info.kernels or 'no kernels'}")
        return gang

    async def _start(self, name: str, leader: Any) -> WatchedGang | None:
        """The gang, loaded and ready; None if it did not come up, or is not wanted any more."""
        asked, node = time.monotonic(), ""
        try:
            node = await self._placement.node_of(name, leader, lambda: self._is_wanted(name), lambda: bool(self._nodes))
            if not node:
                return None
            placed = time.monotonic()
            self._nodes[name] = node
            self._gpu_time.taken(name)
            loading = asyncio.ensure_future(leader.start.remote(list(self._dead_ranks), self._pace))
            while not (await asyncio.wait({loading}, timeout=1.0))[0]:
                if self._is_idle():
                    loading.cancel()
                    self._say(f"{name} is released while it loads: no clip is left for it")
                    return None
            info: GangInfo = loading.result()
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            if isinstance(cause, UsageError):
                raise cause from None
            if node in self._draining:
                self._say(f"{name} did not start: its node {node_name(node)} is being drained")
                return None
            dead = await node_that_died(leader, error)
            fault = Fault("gang", f"{name} did not start: {'its node died' if dead else ray_words.why(cause)}")
            self._say(fault.message)
            self._metrics.gang_did_not_start()
            self._health.gang_broke(dead or node, asked, fault, node_is_dead=bool(dead))
            return None
        self._demand.gang_came(placed - asked, time.monotonic() - placed)
        self._say(
            f"{name} is up: {counted(self._spec.gang_size, 'rank')} on node {node_name(node)}, {info.how_loaded()}"
        )
        self._metrics.gang_started(info.load_seconds)
        return WatchedGang(name, leader, info, placed)

    async def _work(self, gang: WatchedGang) -> bool:
        """Keep the gang busy until it breaks, its node goes, or there is nothing left for it; True in the last case."""
        gone = asyncio.create_task(gang.until_gone())
        try:
            while True:
                gang.leave_if_it_must(self._gpu_time.is_spent, self._draining, self._say)
                while work := self._take(gang):
                    gang.running[asyncio.create_task(self._attempt(gang, work))] = work
                if not gang.running and (gang.leaving or self._is_idle()):
                    self._say(f"{gang.name} is released: {gang.leaving or 'no clip is left for it'}")
                    return not gang.leaving
                changes = asyncio.create_task(self._changed.wait(timeout_s=1.0))
                await asyncio.wait({*gang.running, gone, changes}, return_when=asyncio.FIRST_COMPLETED)
                changes.cancel()
                is_gone = gone.done()
                if is_gone and gang.running:
                    await asyncio.wait(gang.running, timeout=1.0)  # its clips may tell more than its death does
                fault = await self._settle(gang)
                if fault is None and is_gone and not gang.leaving:
                    fault = Fault("gang", gone.result())
                if fault is not None:
                    self._say(f"{gang.name} broke: {fault.failure_class}: {fault.message}")
                    self._metrics.gang_died(fault.failure_class)
                    self._health.gang_broke(gang.info.node, gang.since, fault)
                    await self._give_up_all(gang, fault)
                    return False
        except asyncio.CancelledError:
            self._unfinished.add(gang)
            raise
        finally:
            for task in (gone, *gang.running):
                task.cancel()

    def _take(self, gang: WatchedGang) -> Work | None:
        """The next clip this gang may start now."""
        in_flight = len(gang.running) - min(gang.waiting, self._spec.settings.clips_waiting)
        full = in_flight >= self._config.clips_in_flight
        if full or gang.leaving or self._gpu_time.is_spent or self._health.pause is not None:
            return None
        if gang.running and self._load.waiting <= self._gangs_without_a_clip():
            return None  # it would only prepare it: the clip is for a gang that can begin it
        return self._load.take(gang.running.values())

    def _gangs_without_a_clip(self) -> int:
        """Gangs that wait for one, or are still to come."""
        return len(self._serving) - sum(bool(gang.running) for gang in self._up.values())

    async def _attempt(self, gang: WatchedGang, work: Work) -> Outcome:
        self._changed.tell()  # there is room in the queue
        mark = await self._marks.begin(work, gang.name)
        outcome: Outcome = await gang.leader.run.remote(work.clip, work.past_attempt, mark)
        return outcome

    async def _settle(self, gang: WatchedGang) -> Fault | None:
        """Deal with attempts that have ended; the fault, if one has broken the gang."""
        breaking: Fault | None = None
        for work, outcome in gang.attempts_that_ended():
            self._metrics.exchanged("gang", outcome.traffic)
            if outcome.record is not None:
                self._metrics.attempt_ended("ok")
                await self._finished(gang, work, outcome.record)
            elif outcome.fault is None or (outcome.broken and gang.leaving):
                self._metrics.attempt_ended(HANDED_BACK)
                self._load.hand_back(work)
            elif outcome.store_is_out:
                raise store_is_out(outcome.fault.message)
            else:
                if outcome.broken:  # a broken gang is counted once, not once a clip
                    breaking = outcome.fault if breaking is None or breaking.failure_class == "gang" else breaking
                elif not is_rows_own(outcome.fault):
                    self._health.count_fault(outcome.fault, self._answers(work, outcome.fault))
                self._metrics.attempt_ended(outcome.fault.failure_class)
                await self._settlement.after_fault(work, outcome.fault, outcome.tries)
        return breaking

    def _answers(self, work: Work, fault: Fault) -> Callable[[float], bool] | None:
        """Whom to ask whether the store that has failed an attempt is back: those of the clip's inputs."""
        return partial(inputs_answer, work.clip, self._spec.source) if fault.failure_class == "storage" else None

    async def _finished(self, gang: WatchedGang, work: Work, record: Record) -> None:
        self._health.clip_finished(gang.info.node)
        seconds = record.seconds
        publish = sum(seconds.get(phase, 0.0) for phase in ("decode", "encode", "put"))
        if record.attempt == 1:  # a later one may have gone on from a stored state
            done = denoise_work(work.clip, self._spec.bundle, self._spec.approximations.guided_share)
            self._pace = Pace(seconds.get("denoise", 0.0) / done, publish)
            self._demand.clip_made(seconds.get("denoise", 0.0))
        self._metrics.made(work.clip, record)
        await self._settlement.finished(record)

    async def _give_up_all(self, gang: WatchedGang, fault: Fault) -> None:
        """Clips still in flight on a gang that is gone have had an attempt too."""
        for task, work in reversed(gang.running.items()):
            task.cancel()
            self._metrics.attempt_ended("gang")
            await self._settlement.after_fault(work, Fault("gang", fault.message))
        gang.running.clear()

    def _settled(self, record: Record) -> None:
        self._on_record(record)
        self._metrics.settled(record)
        self._changed.tell()
