"""The gang pool: the driver's own loop that hands clips to gangs and takes them back from dead ones.

Plain asyncio, no threads of its own. Each slot runs one gang after the other (`_serve`): make a leader, keep a few
clips in flight on it, and when it breaks give its clips to whichever gang is free. What becomes of a clip whose attempt
failed is the workload's to say (`workload.py`), when the job is to pause or to stop is its health's (`health.py`).
"""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from cosmos_ray.cluster import draining_nodes, nodes_with, what_nodes_have
from cosmos_ray.commit import now
from cosmos_ray.config import BreakerConfig
from cosmos_ray.deadline import Pace, denoise_work
from cosmos_ray.errors import LeaseLost, UsageError
from cosmos_ray.gang import GangInfo, Outcome, RankProcess, first_line, leader_actor
from cosmos_ray.health import JobFailedError, JobHealth
from cosmos_ray.lease import check_epoch
from cosmos_ray.ledger import Ledger, Record
from cosmos_ray.manifest import Clip
from cosmos_ray.metrics import HANDED_BACK, JobMetrics, Levels
from cosmos_ray.spec import GangSpec
from cosmos_ray.tidy import remove_other_attempts
from cosmos_ray.workload import OWN_FAULTS, Fault, Work, Workload

log = logging.getLogger(__name__)

#: A leader that waits longer for its GPUs than this is reported, with what the cluster offers.
_PLACEMENT_NOTICE_S = 30.0
_PING_S = 10.0
_PING_TIMEOUT_S = 60.0
_DRAIN_POLL_S = 1.0


@dataclass
class _Gang:
    """One gang as the pool sees it. leaving: its node is being drained, it takes no more clips."""

    name: str
    leader: Any
    info: GangInfo
    leaving: bool = False
    stages: dict[str, int] = field(default_factory=dict)  # as the leader answered last
    running: dict[asyncio.Task[Outcome], Work] = field(default_factory=dict)


@dataclass(frozen=True)
class PoolConfig:
    min_gangs: int
    max_gangs: int
    clips_in_flight: int
    max_attempts: int
    breaker: BreakerConfig
    max_gpu_hours: float | None = None


class GangPool:
    """Runs all of a job's clips. `on_record` hears of every commit, `on_event` of gangs coming and going."""

    def __init__(
        self,
        spec: GangSpec,
        ledger: Ledger,
        config: PoolConfig,
        past_attempts: Callable[[str], int],
        on_record: Callable[[Record], None],
        metrics: JobMetrics,
        on_event: Callable[[str], None] = log.info,
    ) -> None:
        self._spec, self._ledger, self._config = spec, ledger, config
        self._past_attempts, self._on_record, self._say = past_attempts, on_record, on_event
        self._load = Workload(config.max_attempts)
        self._health = JobHealth(config.breaker, on_event)
        self._metrics = metrics
        self._waiters: set[asyncio.Future[None]] = set()
        self._slots: dict[int, asyncio.Task[None]] = {}
        self._names = 0
        self._resource = "GPU" if spec.device == "cuda" else "CPU"
        self._pace = Pace()  # as measured last, so that a new gang's first clip has a deadline to the point
        self._gpu_seconds = 0.0
        self._gangs: dict[str, tuple[str, float]] = {}  # placed now: name -> (node, since when)
        self._up: dict[str, _Gang] = {}  # loaded now
        self._draining: dict[str, float] = {}
        self._dead_ranks: collections.deque[RankProcess] = collections.deque(maxlen=256)

    async def run(self, clips: AsyncIterator[Clip]) -> None:
        """Settle every clip. Raises JobFailedError, LeaseLost or UsageError when the job itself cannot go on."""
        watching = [
            asyncio.create_task(self._watch_draining()),
            asyncio.create_task(self._metrics.keep(self._levels)),
        ]
        parts = [asyncio.create_task(self._feed(clips)), asyncio.create_task(self._scale())]
        try:
            await asyncio.gather(*parts)
        finally:
            tasks = [*watching, *parts, *self._slots.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._metrics.sample(self._levels())

    def describe(self) -> dict[str, Any]:
        """For `status`: gangs and their nodes, nodes that are avoided, why the job pauses (None: it does not)."""
        return {
            "gangs": {name: node for name, (node, _) in self._gangs.items()},
            "avoided_nodes": self._health.bad_nodes,
            "draining_nodes": sorted(self._draining),
            "pause": self._health.pause,
        }

    def _levels(self) -> Levels:
        stages = collections.Counter(waiting=self._load.queued, parked=self._load.parked)
        for gang in self._up.values():
            stages.update(gang.stages)
        return Levels(
            stages=stages,
            gangs={"wanted": len(self._slots), "placed": len(self._gangs), "up": len(self._up)},
            paused=self._health.pause is not None,
            nodes_avoided=len(self._health.bad_nodes),
            held_gpu_seconds=self._gpu_seconds_held(),
        )

    async def _feed(self, clips: AsyncIterator[Clip]) -> None:
        """Keep the queue a little longer than what the gangs can hold; the stream waits meanwhile."""
        room = self._config.max_gangs * self._config.clips_in_flight * 2
        async for clip in clips:
            work = Work(clip, self._past_attempts(clip.id))
            if clip.error is not None:
                await self._record_failure(work, Fault("input", clip.error))
                continue
            self._load.add(work)
            self._notify()
            while self._load.queued >= room:
                await self._changes(timeout_s=1.0)
        self._load.exhausted = True
        self._notify()

    async def _scale(self) -> None:
        """As many gangs as there is work for, within MIN:MAX; ends when every clip is settled."""
        while not (self._load.is_done and not self._slots):
            for number, task in list(self._slots.items()):
                if task.done():
                    del self._slots[number]
                    task.result()  # a slot's fault is the job's
            if not self._slots:
                for work, fault in self._load.nothing_else_left():
                    await self._record_failure(work, fault)
                if self._budget_is_spent():
                    raise JobFailedError(
                        f"the budget of {self._config.max_gpu_hours:g} GPU-hours is spent; the same command with a "
                        "larger one goes on from here"
                    )
            for _ in range(self._wanted_gangs() - len(self._slots)):
                number = min(set(range(self._config.max_gangs)) - set(self._slots))
                self._slots[number] = asyncio.create_task(self._serve())
            await self._changes(timeout_s=0.5)  # a slot that ends does not notify

    def _wanted_gangs(self) -> int:
        if self._idle():
            return 0
        needed = max(self._config.min_gangs, self._load.outstanding if self._load.queued else 0)
        return min(self._config.max_gangs, needed)

    async def _changes(self, timeout_s: float) -> None:
        """Return when the workload has changed, or after a while."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            self._waiters.discard(waiter)

    def _notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _watch_draining(self) -> None:
        """Which nodes are about to go (preempted, scaled down), and when."""
        while True:
            self._draining = await asyncio.to_thread(draining_nodes)
            await asyncio.sleep(_DRAIN_POLL_S)

    async def _serve(self) -> None:
        """One slot: a gang, and another when it breaks, until there is no clip for it."""
        while not self._idle():
            await self._health.wait_out_pause()
            self._names += 1
            name = f"gang-{self._names:04d}"
            leader = self._make_leader(name)
            gang: _Gang | None = None
            try:
                gang = await self._start(name, leader)
                if gang is not None:
                    self._up[name] = gang
                    await self._work(gang)
            finally:
                if gang is not None:
                    self._dead_ranks.extend(gang.info.ranks)
                ray.kill(leader)
                self._up.pop(name, None)
                _, since = self._gangs.pop(name, ("", time.monotonic()))
                self._gpu_seconds += (time.monotonic() - since) * self._spec.gang_size

    def _idle(self) -> bool:
        """There is nothing that a gang could start."""
        return not self._load.has_next or self._budget_is_spent()

    def _make_leader(self, name: str) -> Any:
        size = self._spec.gang_size
        options: dict[str, Any] = {"num_gpus": size} if self._spec.device == "cuda" else {"num_cpus": size}
        if avoided := self._health.nodes_to_avoid(nodes_with(self._resource, size)):
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(avoided)})"}
        return leader_actor.options(**options).remote(name, self._spec)

    async def _start(self, name: str, leader: Any) -> _Gang | None:
        """The gang, loaded and ready; None if it did not come up."""
        node = ""
        try:
            node = await self._placed(name, leader)
            if not node:
                return None
            self._gangs[name] = (node, time.monotonic())
            info = await leader.start.remote(list(self._dead_ranks), self._pace)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            if isinstance(cause, UsageError):
                raise cause from None
            if node in self._draining:
                self._say(f"{name} did not start: its node {node[:8]} is being drained")
                return None
            fault = Fault("gang", f"{name} did not start: {first_line(cause)}")
            self._say(fault.message)
            self._metrics.gang_did_not_start()
            self._health.strike(node)
            self._health.count_fault(fault)
            return None
        self._say(f"{name} is up: {self._spec.gang_size} ranks on node {node[:8]}, loaded in {info.load_seconds:.1f} s")
        self._metrics.gang_started(info.load_seconds)
        return _Gang(name, leader, info)

    async def _placed(self, name: str, leader: Any) -> str:
        """The leader's node, once it has its GPUs; "" if the work ended first. Tells a person what it waits for."""
        answer = asyncio.ensure_future(leader.node.remote())
        since = time.monotonic()
        while True:
            done, _ = await asyncio.wait({answer}, timeout=1.0)
            if done:
                return str(answer.result())
            if self._idle():
                answer.cancel()
                return ""
            if time.monotonic() - since < _PLACEMENT_NOTICE_S:
                continue
            since = time.monotonic()
            needs = f"{self._spec.gang_size} free {self._resource}s"
            self._say(f"{name} waits for a node with {needs}; {what_nodes_have(self._resource)}")

    async def _work(self, gang: _Gang) -> None:
        """Keep the gang busy until it breaks, its node goes, or there is nothing left for it."""
        broken = asyncio.ensure_future(gang.leader.until_broken.remote())
        pinging = asyncio.create_task(self._ping(gang))
        try:
            while True:
                self._leave_if_drained(gang)
                while work := self._take(gang):
                    gang.running[asyncio.create_task(self._attempt(gang, work))] = work
                if not gang.running and (gang.leaving or self._idle()):
                    self._say(
                        f"{gang.name} is released: {'its node goes' if gang.leaving else 'no clip is left for it'}"
                    )
                    return
                changes = asyncio.create_task(self._changes(timeout_s=1.0))
                waiting = {*gang.running, broken, pinging, changes}
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                changes.cancel()
                gone = broken if broken in done else pinging if pinging in done else None
                if gone and gang.running:
                    await asyncio.wait(gang.running, timeout=1.0)  # its clips may tell more than its death does
                fault = await self._settle(gang, [task for task in gang.running if task.done()])
                if fault is None and gone and not gang.leaving:
                    fault = Fault("gang", _reason(gone))
                if fault is not None:
                    self._say(f"{gang.name} broke: {fault.failure_class}: {fault.message}")
                    self._metrics.gang_died(fault.failure_class)
                    self._health.strike(gang.info.node)
                    self._health.count_fault(fault)
                    await self._give_up_all(gang, fault)
                    return
        except asyncio.CancelledError:
            if gang.running:
                clips = ", ".join(f"{work.clip.id} (attempt {work.past_attempt})" for work in gang.running.values())
                self._say(f"{gang.name} is stopped in the middle of {clips}")
            raise
        finally:
            for task in {broken, pinging, *gang.running}:
                task.cancel()

    def _leave_if_drained(self, gang: _Gang) -> None:
        ends_at = self._draining.get(gang.info.node)
        if ends_at is None or gang.leaving:
            return
        gang.leaving = True
        notice_s = ends_at - time.time() if ends_at else None
        self._say(
            f"{gang.name} leaves: node {gang.info.node[:8]} is being drained"
            + (f", gone in {notice_s:.0f} s" if notice_s is not None else "")
        )
        gang.leader.leave.remote(notice_s)

    def _take(self, gang: _Gang) -> Work | None:
        """The next clip this gang may start now."""
        full = len(gang.running) >= self._config.clips_in_flight
        if full or gang.leaving or self._budget_is_spent() or self._health.pause is not None:
            return None
        return self._load.take(gang.running.values())

    def _budget_is_spent(self) -> bool:
        if self._config.max_gpu_hours is None:
            return False
        return self._gpu_seconds_held() >= self._config.max_gpu_hours * 3600

    def _gpu_seconds_held(self) -> float:
        live = sum(time.monotonic() - since for _, since in self._gangs.values()) * self._spec.gang_size
        return self._gpu_seconds + live

    async def _attempt(self, gang: _Gang, work: Work) -> Outcome:
        self._notify()  # there is room in the queue
        owner = f"{self._spec.epoch}/{gang.name}"
        work.past_attempt = await asyncio.to_thread(self._ledger.begin_attempt, work.clip.id, work.past_attempt, owner)
        outcome: Outcome = await gang.leader.run.remote(work.clip, work.past_attempt)
        return outcome

    async def _settle(self, gang: _Gang, tasks: list[asyncio.Task[Outcome]]) -> Fault | None:
        """Deal with attempts that have ended; the fault, if one has broken the gang."""
        breaking: Fault | None = None
        for task in tasks:
            work = gang.running.pop(task)
            try:
                outcome = task.result()
            except RayTaskError as error:
                if isinstance(error.cause, LeaseLost):
                    raise error.cause from None
                outcome = Outcome(fault=Fault("internal", first_line(error.cause)))
            except RayError as error:
                outcome = Outcome(fault=Fault("gang", f"the gang died: {first_line(error)}"), broken=True)
            except OSError as error:
                outcome = Outcome(fault=Fault("storage", f"{type(error).__name__}: {error}"))
            if outcome.record is not None:
                self._metrics.attempt_ended("ok", outcome.read_bytes)
                await self._finished(gang, work, outcome.record)
            elif outcome.fault is None or (outcome.broken and gang.leaving):
                self._metrics.attempt_ended(HANDED_BACK)
                self._load.hand_back(work)
            else:
                if outcome.broken:  # a broken gang is counted once, not once a clip
                    breaking = outcome.fault if breaking is None or breaking.failure_class == "gang" else breaking
                elif outcome.fault.failure_class not in OWN_FAULTS:
                    self._health.count_fault(outcome.fault)
                self._metrics.attempt_ended(outcome.fault.failure_class)
                await self._after_fault(work, outcome.fault)
        return breaking

    async def _finished(self, gang: _Gang, work: Work, record: Record) -> None:
        self._health.clip_finished(gang.info.node)
        seconds = record.seconds
        publish = sum(seconds.get(phase, 0.0) for phase in ("decode", "encode", "put"))
        if record.attempt == 1:  # a later one may have gone on from a stored state
            self._pace = Pace(seconds.get("denoise", 0.0) / denoise_work(work.clip, self._spec.bundle), publish)
        self._metrics.made(work.clip, record)
        await self._settled(record)
        for parked, fault in self._load.finished():
            await self._record_failure(parked, fault)

    async def _give_up_all(self, gang: _Gang, fault: Fault) -> None:
        """Clips still in flight on a gang that is gone have had an attempt too."""
        for task, work in reversed(gang.running.items()):
            task.cancel()
            self._metrics.attempt_ended("gang")
            await self._after_fault(work, Fault("gang", fault.message))
        gang.running.clear()

    async def _after_fault(self, work: Work, fault: Fault) -> None:
        if self._load.failed(work, fault):
            await self._record_failure(work, fault)
        else:
            self._say(f"{work.clip.id}: attempt {work.past_attempt} failed ({fault.failure_class}): {fault.message}")

    async def _record_failure(self, work: Work, fault: Fault) -> None:
        """Commit the failure of a clip. It is the driver that speaks for clips whose gangs cannot."""
        clip = work.clip
        record = Record(
            id=clip.id,
            generation=clip.generation,
            status="failed",
            failure_class=fault.failure_class,
            attempt=work.past_attempt,
            error=fault.message,
            row_hash=clip.row_hash,
            epoch=self._spec.epoch,
            finished=now(),
        )
        try:
            committed = await asyncio.to_thread(self._commit, record)
        except OSError as error:
            raise JobFailedError(f"the outcome of {clip.id} cannot be stored: {error}") from error
        await self._settled(committed)

    def _commit(self, record: Record) -> Record:
        check_epoch(self._ledger.storage, self._spec.epoch)
        return self._ledger.commit(record)

    async def _settled(self, record: Record) -> None:
        if record.attempt > 1:
            await asyncio.to_thread(remove_other_attempts, self._ledger.storage, record, self._spec.epoch)
        self._on_record(record)
        self._metrics.settled(record)
        self._notify()

    async def _ping(self, gang: _Gang) -> None:
        """Raises TimeoutError when the leader no longer answers (stopped, or its node cut off)."""
        while True:
            await asyncio.sleep(_PING_S)
            gang.stages = await asyncio.wait_for(gang.leader.stages.remote(), _PING_TIMEOUT_S)


def _reason(task: asyncio.Future[Any]) -> str:
    error = task.exception()
    if isinstance(error, TimeoutError):
        return "its leader does not answer"
    return first_line(error) if error else str(task.result())
