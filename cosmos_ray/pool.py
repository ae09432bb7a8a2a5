"""The gang pool: the driver's own loop that hands clips to gangs and takes them back from dead ones.

Plain asyncio, no threads of its own. Each slot runs one gang after the other (`_serve`): make a leader, keep a few
clips in flight on it, and when it breaks put its clips back at the head of the queue for whichever gang is free.

* A clip that was in flight when its gang broke counts an attempt, whether it was to blame or not. On its last attempt
  it runs alone in its gang, so that a row which kills gangs takes no other with it.
* A fault that is not the row's own (`storage`, `internal`, `gang`) fails a row only when there is evidence that the job
  is well: a clip finished since. A clip that has had its attempts is parked until then, or until nothing else is left
  to try; if the job is ill, the breaker stops it first and no row is failed.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from cosmos_ray.commit import now
from cosmos_ray.config import BreakerConfig
from cosmos_ray.errors import JOB_WIDE_CLASSES, FailureClass, LeaseLost, UsageError
from cosmos_ray.gang import GangInfo, Outcome, RankProcess, first_line, leader_actor
from cosmos_ray.health import JobFailedError, JobHealth
from cosmos_ray.lease import check_epoch
from cosmos_ray.ledger import Ledger, Record
from cosmos_ray.manifest import Clip
from cosmos_ray.spec import GangSpec

log = logging.getLogger(__name__)

#: A leader that waits longer for its GPUs than this is reported, with what the cluster offers.
_PLACEMENT_NOTICE_S = 30.0
_PING_S = 10.0
_PING_TIMEOUT_S = 60.0


@dataclass
class _Work:
    """A clip with its history in this run."""

    clip: Clip
    past_attempt: int
    attempts: int = 0
    first_fault_at: float = 0.0
    solo: bool = False


@dataclass
class _Gang:
    """One gang as the pool sees it."""

    name: str
    leader: Any
    info: GangInfo
    running: dict[asyncio.Task[Outcome], _Work] = field(default_factory=dict)


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
        on_event: Callable[[str], None] = log.info,
    ) -> None:
        self._spec, self._ledger, self._config = spec, ledger, config
        self._past_attempts, self._on_record, self._say = past_attempts, on_record, on_event
        self._queue: collections.deque[_Work] = collections.deque()
        self._parked: list[tuple[_Work, Outcome]] = []  # out of attempts, waiting for evidence that the job is well
        self._outstanding = 0  # taken from the stream and not settled: queued, in flight or parked
        self._exhausted = False  # the stream has ended
        self._changed = asyncio.Condition()
        self._slots: dict[int, asyncio.Task[None]] = {}
        self._names = 0
        self._health = JobHealth(config.breaker, on_event)
        self._gpu_seconds = 0.0
        self._step_seconds = 0.0  # as measured last, so that a new gang's first clip has a deadline to the point
        self._live_since: dict[str, float] = {}
        self._dead_ranks: collections.deque[RankProcess] = collections.deque(maxlen=256)

    async def run(self, clips: AsyncIterator[Clip]) -> None:
        """Settle every clip. Raises JobFailedError, LeaseLost or UsageError when the job itself cannot go on."""
        parts = [asyncio.create_task(self._feed(clips)), asyncio.create_task(self._scale())]
        try:
            await asyncio.gather(*parts)
        finally:
            tasks = [*parts, *self._slots.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _feed(self, clips: AsyncIterator[Clip]) -> None:
        """Keep the queue a little longer than what the gangs can hold; the stream waits meanwhile."""
        room = self._config.max_gangs * self._config.clips_in_flight * 2
        async for clip in clips:
            work = _Work(clip, self._past_attempts(clip.id))
            if clip.error is not None:
                await self._fail(work, "input", clip.error)
                continue
            async with self._changed:
                self._queue.append(work)
                self._outstanding += 1
                self._changed.notify_all()
                await self._changed.wait_for(lambda: len(self._queue) < room)
        async with self._changed:
            self._exhausted = True
            self._changed.notify_all()

    async def _scale(self) -> None:
        """As many gangs as there is work for, within MIN:MAX; ends when every clip is settled."""
        while not (self._exhausted and self._outstanding == 0 and not self._slots):
            for number, task in list(self._slots.items()):
                if task.done():
                    del self._slots[number]
                    task.result()  # a slot's fault is the job's
            if self._exhausted and not self._slots and self._outstanding == len(self._parked):
                await self._fail_parked()
            if self._budget_is_spent() and not self._slots:
                raise JobFailedError(
                    f"the budget of {self._config.max_gpu_hours:g} GPU-hours is spent; the same command with a larger "
                    "one goes on from here"
                )
            for _ in range(self._wanted_gangs() - len(self._slots)):
                number = min(set(range(self._config.max_gangs)) - set(self._slots))
                self._slots[number] = asyncio.create_task(self._serve())
            await self._changes(timeout_s=0.5)  # a slot that ends does not notify

    def _wanted_gangs(self) -> int:
        if self._idle():
            return 0
        needed = max(self._config.min_gangs, self._outstanding if self._queue else 0)
        return min(self._config.max_gangs, needed)

    async def _changes(self, timeout_s: float) -> None:
        """Return when the queue or the count of outstanding clips has changed, or after a while."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait(), timeout_s)
            except TimeoutError:
                return

    async def _serve(self) -> None:
        """One slot: a gang, and another when it breaks, until there is no clip for it."""
        while not self._idle():
            self._names += 1
            name = f"gang-{self._names:04d}"
            leader = self._make_leader(name)
            gang: _Gang | None = None
            try:
                gang = await self._start(name, leader)
                if gang is not None:
                    await self._work(gang)
            finally:
                if gang is not None:
                    self._dead_ranks.extend(gang.info.ranks)
                ray.kill(leader)
                since = self._live_since.pop(name, time.monotonic())
                self._gpu_seconds += (time.monotonic() - since) * self._spec.gang_size

    def _idle(self) -> bool:
        """There is nothing that a gang could start."""
        return (not self._queue and self._exhausted) or self._budget_is_spent()

    def _make_leader(self, name: str) -> Any:
        size = self._spec.gang_size
        options: dict[str, Any] = {"num_gpus": size} if self._spec.device == "cuda" else {"num_cpus": size}
        avoided = self._health.nodes_to_avoid(node["NodeID"] for node in ray.nodes() if node["Alive"])
        if avoided:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(avoided)})"}
        return leader_actor.options(**options).remote(name, self._spec)

    async def _start(self, name: str, leader: Any) -> _Gang | None:
        """The gang, loaded and ready; None if it did not come up."""
        node = ""
        try:
            node = await self._placed(name, leader)
            if not node:
                return None
            self._live_since[name] = time.monotonic()
            info = await leader.start.remote(list(self._dead_ranks), self._step_seconds)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            if isinstance(cause, UsageError):
                raise cause from None
            self._say(f"{name} did not start: {first_line(cause)}")
            self._health.strike(node)
            await self._health.count_fault(f"{name} did not start: {first_line(cause)}")
            return None
        self._say(f"{name} is up: {self._spec.gang_size} ranks on node {node[:8]}, loaded in {info.load_seconds:.1f} s")
        return _Gang(name, leader, info)

    async def _placed(self, name: str, leader: Any) -> str:
        """The leader's node, once it has its GPUs; "" if the work ended first. Tells a person what it waits for."""
        answer = asyncio.ensure_future(_as_coroutine(leader.node.remote()))
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
            kind = "GPU" if self._spec.device == "cuda" else "CPU"
            nodes = [int(node["Resources"].get(kind, 0)) for node in ray.nodes() if node["Alive"]]
            self._say(
                f"{name} waits for a node with {self._spec.gang_size} free {kind}s; "
                f"the cluster's nodes have {', '.join(map(str, sorted(nodes, reverse=True))) or 'none'} in all"
            )

    async def _work(self, gang: _Gang) -> None:
        """Keep the gang busy until it breaks or there is nothing left for it."""
        broken = asyncio.ensure_future(_as_coroutine(gang.leader.until_broken.remote()))
        pinging = asyncio.create_task(self._ping(gang))
        try:
            while True:
                while work := self._take(gang):
                    gang.running[asyncio.create_task(self._attempt(gang, work))] = work
                if not gang.running and self._idle():
                    self._say(f"{gang.name} is released: no clip is left for it")
                    return
                changes = asyncio.create_task(self._changes(timeout_s=1.0))
                waiting = {*gang.running, broken, pinging, changes}
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                changes.cancel()
                gone = broken if broken in done else pinging if pinging in done else None
                if gone and gang.running:
                    await asyncio.wait(gang.running, timeout=1.0)  # its clips may tell more than its death does
                why = await self._settle(gang, [task for task in gang.running if task.done()])
                if why is None and gone:
                    why = _reason(gone)
                if why is not None:
                    self._say(f"{gang.name} broke: {why}")
                    self._health.strike(gang.info.node)
                    await self._take_back_all(gang, why)
                    await self._health.count_fault(why)
                    return
        finally:
            for task in {broken, pinging, *gang.running}:
                task.cancel()

    def _take(self, gang: _Gang) -> _Work | None:
        """The next clip this gang may start now; a clip on its last attempt gets the gang for itself."""
        if not self._queue or len(gang.running) >= self._config.clips_in_flight or self._budget_is_spent():
            return None
        if any(work.solo for work in gang.running.values()):
            return None
        if self._is_last_attempt(self._queue[0]) and gang.running:
            return None
        work = self._queue.popleft()
        work.solo = self._is_last_attempt(work)
        return work

    def _is_last_attempt(self, work: _Work) -> bool:
        return work.attempts > 0 and work.attempts + 1 >= self._config.max_attempts

    def _budget_is_spent(self) -> bool:
        if self._config.max_gpu_hours is None:
            return False
        live = sum(time.monotonic() - since for since in self._live_since.values()) * self._spec.gang_size
        return self._gpu_seconds + live >= self._config.max_gpu_hours * 3600

    async def _attempt(self, gang: _Gang, work: _Work) -> Outcome:
        async with self._changed:
            self._changed.notify_all()  # there is room in the queue
        owner = f"{self._spec.epoch}/{gang.name}"
        work.attempts += 1
        work.past_attempt = await asyncio.to_thread(self._ledger.begin_attempt, work.clip.id, work.past_attempt, owner)
        outcome: Outcome = await gang.leader.run.remote(work.clip, work.past_attempt)
        return outcome

    async def _settle(self, gang: _Gang, tasks: list[asyncio.Task[Outcome]]) -> str | None:
        """Deal with attempts that have ended; the reason if one says that the gang is broken."""
        why: str | None = None
        for task in tasks:
            work = gang.running.pop(task)
            try:
                outcome = task.result()
            except RayTaskError as error:
                if isinstance(error.cause, LeaseLost):
                    raise error.cause from None
                outcome = Outcome(failure_class="internal", message=first_line(error.cause))
            except RayError as error:
                outcome = Outcome(failure_class="gang", message=f"the gang died: {first_line(error)}", broken=True)
            except OSError as error:
                outcome = Outcome(failure_class="storage", message=f"{type(error).__name__}: {error}")
            if outcome.record is not None:
                self._health.clip_finished(gang.info.node)
                self._step_seconds = outcome.record.seconds.get("denoise", 0.0) / (work.clip.num_steps + 1)
                await self._settled(outcome.record)
                await self._fail_parked()
                continue
            await self._after_fault(work, outcome)
            if outcome.broken and (why is None or outcome.failure_class != "gang"):
                why = f"{outcome.failure_class}: {outcome.message}"
        return why

    async def _after_fault(self, work: _Work, outcome: Outcome) -> None:
        failure_class = outcome.failure_class or "internal"
        work.first_fault_at = work.first_fault_at or time.monotonic()
        if not outcome.broken and failure_class not in JOB_WIDE_CLASSES:
            await self._fail_outstanding(work, outcome)
            return
        self._say(f"{work.clip.id}: attempt {work.past_attempt}: {failure_class}: {outcome.message}")
        if not outcome.broken:  # a broken gang is counted once, not once a clip
            await self._health.count_fault(f"{failure_class}: {outcome.message}")
        if work.attempts < self._config.max_attempts:
            self._queue.appendleft(work)  # who asks for the next clip here is this gang; the others look once a second
        elif failure_class in JOB_WIDE_CLASSES and not self._health.was_well_since(work.first_fault_at):
            self._parked.append((work, outcome))
        else:
            await self._fail_outstanding(work, outcome)

    async def _fail_outstanding(self, work: _Work, outcome: Outcome) -> None:
        self._outstanding -= 1
        await self._fail(work, outcome.failure_class or "internal", outcome.message)

    async def _fail_parked(self) -> None:
        """The job is well, or nothing else is left to try: the clips that are out of attempts have failed."""
        while self._parked:
            await self._fail_outstanding(*self._parked.pop())

    async def _take_back_all(self, gang: _Gang, why: str) -> None:
        """Clips still in flight on a gang that is gone have had an attempt too."""
        for task, work in reversed(gang.running.items()):
            task.cancel()
            await self._after_fault(work, Outcome(failure_class="gang", message=why, broken=True))
        gang.running.clear()

    async def _fail(self, work: _Work, failure_class: FailureClass, message: str) -> None:
        """Commit the failure of a clip. It is the driver that speaks for clips whose gangs cannot."""
        clip = work.clip
        record = Record(
            id=clip.id,
            generation=clip.generation,
            status="failed",
            failure_class=failure_class,
            attempt=work.past_attempt,
            error=message,
            row_hash=clip.row_hash,
            epoch=self._spec.epoch,
            finished=now(),
        )
        try:
            committed = await asyncio.to_thread(self._commit, record)
        except OSError as error:
            raise JobFailedError(f"the outcome of {clip.id} cannot be stored: {error}") from error
        self._on_record(committed)
        async with self._changed:
            self._changed.notify_all()

    def _commit(self, record: Record) -> Record:
        check_epoch(self._ledger.storage, self._spec.epoch)
        return self._ledger.commit(record)

    async def _settled(self, record: Record) -> None:
        self._outstanding -= 1
        self._on_record(record)
        async with self._changed:
            self._changed.notify_all()

    async def _ping(self, gang: _Gang) -> None:
        """Raises TimeoutError when the leader no longer answers (stopped, or its node cut off)."""
        while True:
            await asyncio.sleep(_PING_S)
            await asyncio.wait_for(_as_coroutine(gang.leader.node.remote()), _PING_TIMEOUT_S)


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _reason(task: asyncio.Future[Any]) -> str:
    error = task.exception()
    if isinstance(error, TimeoutError):
        return "gang: its leader does not answer"
    return f"gang: {first_line(error)}" if error else str(task.result())
