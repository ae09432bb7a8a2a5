"""`cosmos-ray report`: index, failures and page made again, of what the ledger and the manifest say now.

A manifest that is still there and was written since is taken up, as a job with nothing to do would; one that is gone is
not needed: the output keeps its rows. `cosmos-ray status` does the same where it finds something stale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cosmos_ray.errors import LeaseHeld, ManifestError, UsageError
from cosmos_ray.job.plan import Plan, survey
from cosmos_ray.ledger.lease import acquire
from cosmos_ray.ledger.run import Run, row_defaults_of
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import Manifest, open_manifest, version_of
from cosmos_ray.output.derived import make, make_if_stale, say_outrun, stale, stale_words
from cosmos_ray.output.kept import kept, manifest_now, take_up
from cosmos_ray.output.mark import mark_of
from cosmos_ray.output.report.build import write_report
from cosmos_ray.output.report.part import WHOLE, Part
from cosmos_ray.output.report.together import write_together
from cosmos_ray.output.status import Status, read_status
from cosmos_ray.store.faults import explain_store
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import normalise_uri
from cosmos_ray.words import counted

Say = Callable[[str], None]


def report(output: str, say: Say, manifest: str | None = None, part: Part = WHOLE) -> int:
    """Write all three; the number of clips in the index. manifest: where it is now, if it has moved. part: what the
    page is of.

    Raises UsageError if there is no job at `output`, for a `manifest` that is not this output's, for a part that cannot
    be told, and for an output of a release that kept no rows if its manifest is gone.
    """
    found, run, state = read_status(output)
    storage = Storage(found.output)
    if manifest is not None or not found.is_at_work:  # a job that is at work goes on with what it has read
        run = _with_manifest(storage, run, state, None if manifest is None else normalise_uri(manifest), say)
    if names := stale(storage, run, state):
        say(stale_words(names))
    made = make(storage, run, state)
    if part != WHOLE:
        write_report(storage, made.run, made.state, mark_of(made.run, made.state), part)
    say_outrun(made, say)
    return made.rows


def report_together(outputs: Sequence[str], say: Say, part: Part = WHOLE) -> str:
    """Each output's own files, as `report` has them, then one page of all in the folder above them; its URI."""
    for output in outputs:
        report(output, say)
    return write_together(outputs, part)


def bring_up_to_date(status: Status, run: Run, state: LedgerState, say: Say) -> None:
    """What `derived.with_stale` has found is mended and said, unless a job is at work, which does so at its end.

    An output that can only be read stays as it is, and so does one of a release that kept no rows.
    """
    if status.is_at_work:
        if status.stale:
            say(f"{stale_words(status.stale)}; the job that is at work makes them again at its end")
        return
    storage = Storage(status.output)
    try:
        if status.manifest_changed:
            run = _with_manifest(storage, run, state, None, say)
        make_if_stale(storage, run, state, say)
    except (UsageError, LeaseHeld) as error:
        say(str(error))
    except OSError as error:
        say(f"they cannot be made again: {explain_store(error)}")


def _with_manifest(storage: Storage, run: Run, state: LedgerState, given: str | None, say: Say) -> Run:
    """The run with its manifest as that is now, which is kept."""
    uri = given or run.manifest
    now = manifest_now(run, uri)
    has_rows = kept(storage, run) is not None
    if now == "gone":
        if given is not None:
            open_manifest(uri)  # says why
            raise ManifestError(f"the manifest {uri} cannot be read")
        return run
    if now == "as it was" and has_rows and uri == run.manifest:
        return run
    try:
        version, opened = version_of(uri), open_manifest(uri)
        newer = _run_of(run, state, opened, uri, version)
        _take_up(storage, opened, newer, say)
    except (UsageError, LeaseHeld) as error:
        if given is not None or not has_rows:
            raise
        say(f"the manifest {uri} was written since the last job, and is not taken up: {error}")
        return run
    if now == "changed":
        say(f"the manifest {uri} was written since the last job: {counted(newer.clips, 'clip')} now")
    return newer


def _take_up(storage: Storage, manifest: Manifest, run: Run, say: Say) -> None:
    """As the owner of the output, for that moment."""
    lease = acquire(storage, say=say)
    try:
        take_up(storage, manifest, run)
    finally:
        lease.release()


def _run_of(run: Run, state: LedgerState, manifest: Manifest, uri: str, version: str) -> Run:
    """Raises UsageError for rows that clips were not made from."""
    defaults = row_defaults_of(run)
    plan: Plan = survey(manifest, defaults, state).plan
    if plan.changed:
        raise ManifestError(
            f"{counted(len(plan.changed), 'row')} edited after their clips were made ({', '.join(plan.changed[:5])})"
        )
    if plan.removed and not plan.done + plan.failed:
        raise ManifestError("it has none of the rows whose clips were made")
    return replace(
        run,
        manifest=uri,
        manifest_sha256=manifest.sha256(),
        manifest_version=version,
        rows=plan.rows,
        clips=plan.clips,
        removed=plan.removed,
    )
