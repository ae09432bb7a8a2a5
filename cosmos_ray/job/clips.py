"""The clips of a job, made: gangs run until each that is left is settled."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

from cosmos_ray.config import GenerateConfig
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.job.check import Job
from cosmos_ray.job.cost import planned_gpu_seconds
from cosmos_ray.job.in_loop import detached, in_background, run
from cosmos_ray.job.live_report import live_report
from cosmos_ray.job.plan import Plan
from cosmos_ray.job.say import Hearers, Say
from cosmos_ray.ledger.compaction import Compactor
from cosmos_ray.ledger.history import JobTook
from cosmos_ray.ledger.lease import Lease
from cosmos_ray.ledger.record import Record, now
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import check_world_size
from cosmos_ray.output.derived import Made, make
from cosmos_ray.pool.pool_config import PoolConfig
from cosmos_ray.pool.progress import Progress
from cosmos_ray.pool.stop import Stop

if TYPE_CHECKING:
    from cosmos_ray.pool.live import Display
    from cosmos_ray.pool.pool import GangPool
    from cosmos_ray.pool.resident import Resident


def make_clips(
    job: Job,
    plan: Plan,
    state: LedgerState,
    lease: Lease,
    stop: Stop,
    hearers: Hearers,
    resident: Resident | None,
) -> Future[Made]:
    """Run the gangs until every clip is settled. What is written of them then is written while Ray ends."""
    from cosmos_ray.job.pipeline import work_stream
    from cosmos_ray.pool.cluster import connect  # Ray is imported by jobs only, not by `status` or `plan`
    from cosmos_ray.pool.metrics import JobMetrics
    from cosmos_ray.pool.pool import GangPool

    config, say, display = job.config, hearers.of_clips, hearers.display
    with (resident.connected if resident else connect)(job.bundle, config) as (device, gang_size):
        check_world_size(job.bundle, gang_size)
        say(
            f"gangs of {gang_size} on {device}, {config.gangs} of them, model {job.bundle.name} ({job.bundle.numerics})"
        )
        spec = _gang_spec(job, plan, lease.epoch, gang_size, device)
        progress = _progress(config.limit, plan, say)
        compactor = Compactor(job.storage, lease.epoch)

        def settled(record: Record) -> None:
            progress.count(record)
            compactor.add(record)

        metrics = JobMetrics(job.storage.uri, plan.clips, plan.done + plan.failed, gang_size)
        pool = GangPool(
            spec, job.ledger, _pool_config(config, plan), state.past_attempts, settled, metrics, say, resident
        )
        progress.work = pool.work
        lease.describe = lambda: pool.describe() | progress.facts()
        stop.on_stop = pool.say_in_flight
        took = partial(_took, job, plan, spec, pool, now())
        stream = work_stream(job.manifest, job.work, job.defaults, state)
        try:
            work = pool.run(_in_thread(itertools.islice(stream, config.limit)))
            with live_report(job.storage, job.run, took, say), _shown(display, progress):
                run(stop.unless_stopped(_with_heartbeat(work, progress, display)), stop.interrupt)
        finally:
            progress.say_warnings()
            compactor.close()
            with suppress(ValueError):  # it is still waited for: Ray has not answered
                stream.close()  # while there is Ray: the end of a stream would start another one when this process ends
        return in_background(lambda: make(job.storage, job.run, job.ledger.state()))


def _took(job: Job, plan: Plan, spec: GangSpec, pool: GangPool, began: str) -> JobTook:
    """What the job has taken until now."""
    return JobTook(
        epoch=spec.epoch,
        began=began,
        seen=now(),
        gang_size=spec.gang_size,
        gangs=job.config.max_gangs,
        device=spec.device,
        gpu_seconds=pool.work().gpu_seconds,
        planned_gpu_seconds=planned_gpu_seconds(
            plan.work, job.bundle, spec.gang_size, job.config.sampling.approximations
        ),
    )


def _gang_spec(job: Job, plan: Plan, epoch: int, gang_size: int, device: str) -> GangSpec:
    """What each of the job's gangs is."""
    config = job.config
    return GangSpec(
        bundle=job.bundle,
        gang_size=gang_size,
        device=device,
        numerics=job.bundle.numerics,
        output=job.storage.uri,
        epoch=epoch,
        settings=config.gang,
        approximations=config.sampling.approximations,
        inputs=config.inputs,
        manifest=job.manifest.files[0].uri if job.manifest.files else "",
        home=job.manifest.home,
        home_read=job.manifest.home if job.reads_home else "",
        patience_s=config.breaker.patience_s,
        checks=config.checks.of_model(job.bundle.name),
        refining=job.refining,
        words=job.words,
        guardrails=job.guardrails,
        rare_stores=plan.rare_stores,
        preset=config.sampling.preset,
    )


def _pool_config(config: GenerateConfig, plan: Plan) -> PoolConfig:
    """How many gangs, and what is tried."""
    return PoolConfig(
        min_gangs=config.min_gangs,
        max_gangs=config.max_gangs,
        clips_in_flight=config.gang.clips_in_flight,
        max_attempts=config.gang.max_attempts,
        breaker=config.breaker,
        max_gpu_hours=config.max_gpu_hours,
        expected_clips=min(plan.left, config.limit or plan.left),
    )


def _shown(display: Display | None, progress: Progress) -> AbstractContextManager[object]:
    return nullcontext() if display is None else display.shows(progress)


async def _with_heartbeat(work: Coroutine[None, None, None], progress: Progress, display: Display | None) -> None:
    """A display that is looked at needs no lines that say that the job lives."""
    beat = None if display else asyncio.create_task(progress.beat())
    try:
        await work
    finally:
        if beat:
            beat.cancel()


def _progress(limit: int | None, plan: Plan, say: Say) -> Progress:
    """Counts to the manifest's clips; with a limit that leaves some of them out, to the limit."""
    if limit is not None and limit < plan.left:
        return Progress(limit, 0, say)  # which of the rows with faults are within it, the stream will tell
    invalid = plan.left - sum(group.clips for group in plan.work)
    return Progress(plan.clips, plan.done + plan.failed, say, invalid)


async def _in_thread(clips: Iterator[Clip]) -> AsyncIterator[Clip]:
    """Ray Data's iterator blocks; the pool's loop must not, nor the end of a job that has failed."""
    while (clip := await detached(lambda: next(clips, None))) is not None:
        yield clip
