"""The job of `cosmos-ray generate`, top to bottom: check, own the output, run the gangs, write index and report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cosmos_ray.config import GenerateConfig, failed_allowed
from cosmos_ray.errors import argument_error
from cosmos_ray.job.check import Job, check
from cosmos_ray.job.clips import make_clips
from cosmos_ray.job.cost import estimates, sampling_line
from cosmos_ray.job.plan import Plan, carried_line, unguided_line, unread_line
from cosmos_ray.job.refiner_cost import outrun_line, refined_by_line
from cosmos_ray.job.say import Hearers, Say, hearers_of, say
from cosmos_ray.ledger.compaction import compact
from cosmos_ray.ledger.layout import CLIPS, INDEX, REPORT
from cosmos_ray.ledger.lease import Lease, LeaseTimes, acquire
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.output.derived import make_if_stale, say_outrun
from cosmos_ray.output.failures import first_lines
from cosmos_ray.output.kept import take_up
from cosmos_ray.output.status import removed_line, summarise
from cosmos_ray.pool.stop import Stop

if TYPE_CHECKING:
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
        written = make_clips(job, plan, state, lease, stop, hearers, resident).result()
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
