"""The job of `cosmos-ray generate`, top to bottom: check, own the output, run the gangs, write index and report."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cosmos_ray.clip.ffmpeg import check_ffmpeg
from cosmos_ray.clip.guardrail_rules import NO_GUARDRAILS, Guardrails
from cosmos_ray.config import GenerateConfig, failed_allowed
from cosmos_ray.errors import ManifestError, UsageError, argument_error
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.job.cost import estimates, planned_gpu_seconds, sampling_line
from cosmos_ray.job.in_loop import detached, in_background, run
from cosmos_ray.job.live_report import live_report
from cosmos_ray.job.model import bundle_of
from cosmos_ray.job.plan import Plan, RowGroup, carried_line, row_defaults, survey, unguided_line, unread_line
from cosmos_ray.job.refiner_cost import outrun_line, refined_by_line
from cosmos_ray.job.say import Hearers, Say, hearers_of, say
from cosmos_ray.job.table import keep
from cosmos_ray.ledger.compaction import Compactor, compact
from cosmos_ray.ledger.history import JobTook
from cosmos_ray.ledger.layout import CLIPS, INDEX, REPORT
from cosmos_ray.ledger.lease import Lease, LeaseTimes, acquire
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record, now
from cosmos_ray.ledger.run import Run, check_same, read_run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import Manifest, open_manifest, version_of
from cosmos_ray.manifest.rows import Clip, RowDefaults
from cosmos_ray.models.bundle.bundle import Bundle, check_world_size
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.guardrails.checks import guardrails_of
from cosmos_ray.output.derived import Made, make, make_if_stale, say_outrun
from cosmos_ray.output.failures import first_lines
from cosmos_ray.output.kept import take_up
from cosmos_ray.output.status import removed_line, summarise
from cosmos_ray.pool.pool_config import PoolConfig
from cosmos_ray.pool.progress import Progress
from cosmos_ray.pool.stop import Stop
from cosmos_ray.refine.asks import Refining
from cosmos_ray.refine.check import check_refiner
from cosmos_ray.refine.settings import refining_of
from cosmos_ray.store.faults import explain_store
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri
from cosmos_ray.words import counted

if TYPE_CHECKING:
    from cosmos_ray.pool.live import Display
    from cosmos_ray.pool.resident import Resident

_FAILURES_SHOWN = 20
_NONE: Mapping[str, tuple[str, ...]] = {}


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
class Job:
    """What is known before the first gang: validated, nothing running yet."""

    config: GenerateConfig
    bundle: Bundle
    storage: Storage
    ledger: Ledger
    defaults: RowDefaults
    run: Run
    manifest: Manifest
    refining: Refining
    work: tuple[RowGroup, ...]
    reads_home: bool
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    guardrails: Guardrails = NO_GUARDRAILS


def generate(config: GenerateConfig, say: Say = say) -> Summary:
    """Make every clip that the manifest asks for and the ledger has not settled; resumes by itself.

    The manifest is a URI or a pandas DataFrame. Works in a notebook too, and says what the command line says (`say`: to
    whom; standard error if not given); `print(summary)` tells how it ended.

    Raises UsageError (bad settings, manifest, bundle or output), LeaseHeld (another job owns the output), LeaseLost and
    JobFailedError (the job cannot go on; the same call resumes it). Rows that fail are counted, not raised.
    """
    if not isinstance(config, GenerateConfig):
        raise argument_error("config", config, "a GenerateConfig(manifest=…, output=…)")
    if not callable(say):
        raise argument_error("say", say, "a function that takes a line of text")
    return work_through(config, say, say)


def work_through(config: GenerateConfig, say: Say, about: Say, words: Mapping[str, tuple[str, ...]] = _NONE) -> Summary:
    """As `generate`; `about` hears of the job and its output as a whole, `say` of gangs and of clips on their way.

    words: by clip, where it is to be made of other ones than its row's.
    """
    hearers = hearers_of(say, about)
    job, plan = check(config, hearers.of_job)
    return carry_out(replace(job, words=words), plan, hearers)


def carry_out(job: Job, plan: Plan, hearers: Hearers, resident: Resident | None = None) -> Summary:
    """What was checked. resident: gangs that jobs one after the other share."""
    config, say = job.config, hearers.of_job
    stop = Stop()
    lease = acquire(job.storage, LeaseTimes(config.lease.beat_s, config.lease.life_s), stop.lease_lost, say)
    say(f"run {lease.epoch} of {job.storage.uri}, by {lease.owner}")
    with stop.heeds_signals(lease.release):
        try:
            return _run(job, plan, lease, stop, hearers, resident)
        finally:
            lease.release()


def _run(job: Job, plan: Plan, lease: Lease, stop: Stop, hearers: Hearers, resident: Resident | None) -> Summary:
    """What the owner of the output does."""
    say = hearers.of_job
    state = job.ledger.state()  # again: an owner that was dying may have committed until now
    compact(job.storage, lease.epoch, state.contents)
    if plan.changed and job.config.redo_changed:
        job.ledger.redo([clip_id for clip_id in plan.changed if state.is_settled(clip_id)])
        state = job.ledger.state()
    take_up(job.storage, job.manifest, job.run)
    worked = plan.left > 0 or bool(plan.changed)
    if worked:
        for line in _opening(job, plan):
            say(line)
        written = _make_clips(job, plan, state, lease, stop, hearers, resident).result()
        say_outrun(written, say)
        state = written.state
    else:
        say(f"{plan.in_words()}: nothing to do")
        make_if_stale(job.storage, job.run, state, say)
    return _finish(job, plan, state, say)


def _opening(job: Job, plan: Plan) -> Iterator[str]:
    """What is said before gangs are asked for."""
    yield f"{plan.in_words()}; {plan.invalid} with faults in their rows"
    if plan.unguided:
        yield unguided_line(plan.unguided)
    if job.bundle.is_random:
        yield f"model {job.bundle.name}: its network's weights are random, its videos show nothing"
    if names := ", ".join(job.guardrails.versions):
        yield f"guardrails: {names}"
    if job.refining.rules.is_on:
        yield refined_by_line(job.refining)
    if chosen := sampling_line(plan.work, job.bundle, job.config.sampling):
        yield chosen
    config = job.config
    costs = estimates(plan.work, job.bundle, "h100", config.sampling.approximations, gang_size=config.gang_size)
    if outrun := outrun_line(plan.work, config.refiner, costs):
        yield outrun
    for warning in plan.warnings:
        yield warning.in_words()
    if plan.carried:
        yield carried_line(plan.carried)
    if plan.unread:
        yield unread_line(plan.unread)


def check(config: GenerateConfig, say: Say) -> tuple[Job, Plan]:
    """Everything that can be wrong before a GPU is taken. Raises UsageError."""
    check_ffmpeg()
    bundle = _usable_bundle(config)
    refining = refining_of(config.refiner)
    check_refiner(refining, say)
    guardrails = guardrails_of(config.guardrails, bundle.recipe)
    storage = Storage(config.output)
    ledger = Ledger(storage)
    defaults = row_defaults(bundle, config.sampling)
    table = config.table
    manifest_uri = normalise_uri(config.manifest) if table is None else keep(table, storage, config.lease.life_s, say)
    config = config.model_copy(update={"manifest": manifest_uri})
    try:
        state, known = ledger.state(), read_run(storage)
    except OSError as error:
        raise UsageError(f"the output {storage.uri} cannot be read: {explain_store(error)}") from error
    version, manifest = version_of(config.manifest), open_manifest(config.manifest)
    reach = config.inputs.reach(manifest.home)
    found = survey(manifest, defaults, state, max_clips=config.max_clips, bundle=bundle, reach=reach)
    plan = found.plan
    run = Run(
        manifest=config.manifest,
        manifest_sha256=manifest.sha256(),
        rows=plan.rows,
        clips=plan.clips,
        model=bundle.name,
        model_fingerprint=bundle.fingerprint,
        numerics=bundle.numerics,
        sampling=defaults.to_json(),
        removed=plan.removed,
        approximations=config.sampling.approximations.chosen,
        inputs=config.inputs.of(bundle.recipe).chosen,
        manifest_version=version,
        refiner=refining.deciding,
        guardrails=guardrails.of_pixels,
    )
    if known is not None:
        check_same(storage, known, run)
    if plan.changed and not config.redo_changed:
        shown = ", ".join(plan.changed[:5]) + (" …" if len(plan.changed) > 5 else "")
        raise ManifestError(
            f"edited after their clips were made: {counted(len(plan.changed), 'row')} ({shown}). Give them new ids, or "
            "make the clips again with --redo-changed"
        )
    storage.check_writable()
    for clip_id, fault in plan.invalid_examples:
        say(f"{clip_id}: {fault}")
    return Job(
        config, bundle, storage, ledger, defaults, run, manifest, refining, found.work, found.reads_home,
        guardrails=guardrails,
    ), plan  # fmt: skip


def _usable_bundle(config: GenerateConfig) -> Bundle:
    """The model, if it is whole and can do what the settings ask for. Raises UsageError."""
    bundle = bundle_of(config)
    problems = [finding for finding in check_bundle(bundle) if finding.level != "ok"]
    if problems:
        raise UsageError(f"model {config.model}: " + "; ".join(f"{one.subject}: {one.message}" for one in problems))
    config.sampling.approximations.check_blocks(bundle.network.num_blocks)
    if config.gang_size is not None:
        check_world_size(bundle, config.gang_size)
    return bundle


def _make_clips(
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
        settled_before = plan.done + plan.failed
        progress = _progress(config.limit, plan, say)
        compactor = Compactor(job.storage, lease.epoch)

        def settled(record: Record) -> None:
            progress.count(record)
            compactor.add(record)

        metrics = JobMetrics(job.storage.uri, plan.clips, settled_before, gang_size)
        pool = GangPool(
            spec, job.ledger, _pool_config(config, plan), state.past_attempts, settled, metrics, say, resident
        )
        progress.work = pool.work
        lease.describe = lambda: pool.describe() | progress.facts()
        stop.on_stop = pool.say_in_flight
        began = now()

        def took() -> JobTook:
            return JobTook(
                epoch=lease.epoch,
                began=began,
                seen=now(),
                gang_size=gang_size,
                gangs=config.max_gangs,
                device=device,
                gpu_seconds=pool.work().gpu_seconds,
                planned_gpu_seconds=planned_gpu_seconds(
                    plan.work, job.bundle, gang_size, config.sampling.approximations
                ),
            )

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


def _finish(job: Job, plan: Plan, state: LedgerState, say: Say) -> Summary:
    """The verdict."""
    status = summarise(job.storage.uri, job.run, state)
    summary = Summary(
        job.storage.uri, plan.clips, status.ok, status.failed, status.left,
        failed_allowed(job.config.max_failed, plan.clips),
    )  # fmt: skip
    say(f"{status.ok} ok, {status.failed} failed (up to {summary.allowed} allowed), {status.left} left")
    if status.removed:
        say(removed_line(status.removed))
    for line in first_lines(job.storage, state, status.failed, _FAILURES_SHOWN):
        say(line)
    say(f"videos: {job.storage.uri_of(CLIPS)}   index: {job.storage.uri_of(INDEX)}")
    say(f"report: {job.storage.uri_of(REPORT)}")
    return summary
