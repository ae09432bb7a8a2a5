"""The job of `cosmos-ray generate`, top to bottom: check, own the output, run the gangs, write index and report."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass

from cosmos_ray.config import GenerateConfig, failed_allowed
from cosmos_ray.errors import LeaseLost, ManifestError, UsageError
from cosmos_ray.index import INDEX, write_index
from cosmos_ray.lease import Lease, LeaseTimes, acquire
from cosmos_ray.ledger import Ledger, LedgerState, Record
from cosmos_ray.manifest import Clip, RowDefaults
from cosmos_ray.models.bundle import Bundle, check_world_size, load_bundle
from cosmos_ray.models.check import check_bundle
from cosmos_ray.plan import Plan, make_plan, manifest_sha256, row_defaults
from cosmos_ray.report.build import REPORT, write_report
from cosmos_ray.run import Run, check_same, open_run, read_run
from cosmos_ray.storage import Storage, explain, normalise_uri

log = logging.getLogger(__name__)
_FAILURES_SHOWN = 20
Say = Callable[[str], None]


@dataclass(frozen=True)
class Summary:
    """How a job ended. allowed: how many failures `max_failed` permits."""

    output: str
    clips: int
    ok: int
    failed: int
    left: int
    allowed: int

    @property
    def exit_code(self) -> int:
        return 3 if self.failed > self.allowed else 0


@dataclass(frozen=True)
class _Job:
    """What is known before the first gang: validated, nothing running yet."""

    config: GenerateConfig
    bundle: Bundle
    storage: Storage
    ledger: Ledger
    defaults: RowDefaults
    run: Run


def generate(config: GenerateConfig, say: Say = log.info) -> Summary:
    """Make every clip that the manifest asks for and the ledger has not settled; resumes by itself.

    Raises UsageError (bad settings, manifest, bundle or output), LeaseHeld (another job owns the output), LeaseLost and
    JobFailedError (the job cannot go on; the same call resumes it). Rows that fail are counted, not raised.
    """
    job, plan = _check(config, say)
    stop = _Stop()
    lease = acquire(job.storage, LeaseTimes(config.lease.beat_s, config.lease.life_s), stop.lease_lost, say)
    try:
        state = job.ledger.state()  # again: an owner that was dying may have committed until now
        if plan.changed and config.redo_changed:
            job.ledger.redo([clip_id for clip_id in plan.changed if state.is_settled(clip_id)])
            state = job.ledger.state()
        open_run(job.storage, job.run)
        worked = plan.left > 0 or bool(plan.changed)
        if worked:
            settled = plan.clips - plan.left
            say(f"{plan.clips} clips, {settled} of them settled, {plan.invalid} with faults in their rows")
            if plan.unguided:
                say(f"{plan.unguided} clips have no negative prompt: one network call a step, not two, and no guidance")
            _make_clips(job, plan, state, lease, stop, say)
            state = job.ledger.state()
        else:
            say(f"all {plan.clips} clips are settled already: nothing to do")
        return _finish(job, plan, state, say, worked)
    finally:
        lease.release()


def _check(config: GenerateConfig, say: Say) -> tuple[_Job, Plan]:
    """Everything that can be wrong before a GPU is taken. Raises UsageError."""
    bundle = load_bundle(config.model).with_numerics(config.sampling.numerics)
    bundle = bundle.with_text_encoder(config.text_encoder.device, config.text_encoder.dtype)
    problems = [finding for finding in check_bundle(bundle) if finding.level != "ok"]
    if problems:
        raise UsageError(f"model {config.model}: " + "; ".join(f"{one.subject}: {one.message}" for one in problems))
    if config.gang_size is not None:
        check_world_size(bundle, config.gang_size)
    storage = Storage(config.output)
    ledger = Ledger(storage)
    defaults = row_defaults(bundle, config.sampling)
    config = config.model_copy(update={"manifest": normalise_uri(config.manifest)})
    try:
        state, known = ledger.state(), read_run(storage)
    except OSError as error:
        raise UsageError(f"the output {storage.uri} cannot be read: {explain(error)}") from error
    plan = make_plan(config.manifest, defaults, state)
    run = Run(
        manifest=config.manifest,
        manifest_sha256=manifest_sha256(config.manifest),
        rows=plan.rows,
        clips=plan.clips,
        model=bundle.name,
        model_fingerprint=bundle.fingerprint,
        numerics=bundle.numerics,
        sampling=asdict(defaults),
    )
    if known is not None:
        check_same(storage, known, run)
    if plan.changed and not config.redo_changed:
        shown = ", ".join(plan.changed[:5]) + (" …" if len(plan.changed) > 5 else "")
        raise ManifestError(
            f"{len(plan.changed)} rows were edited after their clips were made ({shown}): give them new ids, or make "
            "the clips again with --redo-changed"
        )
    storage.check_writable()
    for clip_id, fault in plan.invalid_examples:
        say(f"{clip_id}: {fault}")
    return _Job(config, bundle, storage, ledger, defaults, run), plan


def _make_clips(job: _Job, plan: Plan, state: LedgerState, lease: Lease, stop: _Stop, say: Say) -> None:
    """Run the gangs until every clip is settled."""
    from cosmos_ray.cluster import connect  # Ray is imported by jobs only, not by `status` or `plan`
    from cosmos_ray.pipeline import work_stream
    from cosmos_ray.pool import GangPool, PoolConfig
    from cosmos_ray.spec import GangSpec

    config = job.config
    with connect(job.bundle, config, say) as (device, gang_size):
        check_world_size(job.bundle, gang_size)
        say(
            f"gangs of {gang_size} on {device}, {config.gangs} of them, model {job.bundle.name} ({job.bundle.numerics})"
        )
        spec = GangSpec(job.bundle, gang_size, device, job.bundle.numerics, job.storage.uri, lease.epoch, config.gang)
        pool_config = PoolConfig(
            config.min_gangs,
            config.max_gangs,
            config.gang.clips_in_flight,
            config.gang.max_attempts,
            config.breaker,
            config.max_gpu_hours,
            min(plan.left, config.limit or plan.left),
        )
        progress = _Progress(plan.clips, sum(1 for _ in state.settled()), say)
        pool = GangPool(spec, job.ledger, pool_config, state.past_attempts, progress.count, say)
        lease.describe = pool.describe
        clips = itertools.islice(work_stream(config.manifest, job.defaults, state), config.limit)
        asyncio.run(stop.unless_stopped(pool.run(_in_thread(clips))))


async def _in_thread(clips: Iterator[Clip]) -> AsyncIterator[Clip]:
    """Ray Data's iterator blocks; the pool's loop must not."""
    while (clip := await asyncio.to_thread(lambda: next(clips, None))) is not None:
        yield clip


class _Stop:
    """What ends a job from outside: a signal, or the loss of the lease."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reason: asyncio.Future[BaseException] | None = None
        self._lease_lost = False

    def lease_lost(self) -> None:
        """Called from the lease's thread."""
        self._lease_lost = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._set, LeaseLost("another job has taken this output over"))

    def _set(self, reason: BaseException) -> None:
        if self._reason is not None and not self._reason.done():
            self._reason.set_result(reason)

    async def unless_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Run `work`; cancel it, let it clean up, and raise the reason when the job is stopped."""
        from cosmos_ray.health import JobFailedError

        self._loop = asyncio.get_running_loop()
        self._reason = self._loop.create_future()
        if self._lease_lost:
            self._set(LeaseLost("another job has taken this output over"))
        for number in (signal.SIGTERM, signal.SIGINT):
            stopped = JobFailedError(f"stopped by {signal.Signals(number).name}; the same command goes on from here")
            with contextlib.suppress(ValueError, RuntimeError):  # not in the main thread: the caller's own signals
                self._loop.add_signal_handler(number, self._set, stopped)
        reason, task = self._reason, asyncio.create_task(work)
        reason.add_done_callback(lambda _: task.cancel())
        try:
            await task
        except asyncio.CancelledError:
            if reason.done():
                raise reason.result() from None
            raise
        finally:
            self._loop = None


class _Progress:
    """One line a settled clip: time, how it ended, gang, progress, ETA."""

    def __init__(self, clips: int, settled: int, say: Say) -> None:
        self._clips, self._settled, self._say = clips, settled, say
        self._began, self._counted = time.monotonic(), 0

    def count(self, record: Record) -> None:
        self._settled += 1
        self._counted += 1
        left = max(0, self._clips - self._settled)
        eta_s = (time.monotonic() - self._began) / self._counted * left
        how = (
            f"ok in {record.seconds.get('denoise', 0.0):.1f} s on {record.gang}"
            if record.status == "ok"
            else (f"FAILED ({record.failure_class}): {record.error}")
        )
        self._say(f"[{self._settled}/{self._clips}] {record.id}: {how}; {_duration(eta_s)} left")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _finish(job: _Job, plan: Plan, state: LedgerState, say: Say, worked: bool) -> Summary:
    """Index, report and the verdict."""
    if worked or not job.storage.exists(INDEX) or not job.storage.exists(REPORT):
        write_index(job.storage, job.run.manifest, job.defaults, state)
        write_report(job.storage, job.run, state)
    ended = [record for _, record in state.settled()]
    ok = sum(record.ok for record in ended)
    failed = len(ended) - ok
    summary = Summary(
        job.storage.uri, plan.clips, ok, failed, max(0, plan.clips - len(ended)),
        failed_allowed(job.config.max_failed, plan.clips),
    )  # fmt: skip
    say(f"{ok} ok, {failed} failed (up to {summary.allowed} allowed), {summary.left} left")
    for clip_id in sorted(clip_id for clip_id, record in state.settled() if not record.ok)[:_FAILURES_SHOWN]:
        record = job.ledger.find(clip_id, state.records[clip_id].generation)
        if record is not None:
            say(f"  failed ({record.failure_class}) {clip_id}: {record.error}")
    say(f"videos: {job.storage.uri_of('clips')}   index: {job.storage.uri_of(INDEX)}")
    say(f"report: {job.storage.uri_of(REPORT)}")
    return summary
