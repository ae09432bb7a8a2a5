"""What a job has made, from its output alone: how far it is, making clips again, pages and copies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cosmos_ray.cli.lines import tell
from cosmos_ray.cli.options import Assignments, Json, Output, completes
from cosmos_ray.cli.watch import watch
from cosmos_ray.errors import FAILURE_CLASSES, FailureClass, UsageError
from cosmos_ray.job.say import say
from cosmos_ray.words import byte_size, counted, duration

if TYPE_CHECKING:
    from cosmos_ray.ledger.ledger import Ledger
    from cosmos_ray.ledger.state import LedgerState
    from cosmos_ray.output.status import Status

app = typer.Typer()

#: Failed clips that `status` shows without being asked.
_FIRST = 5


@app.command()
def status(
    output: Output,
    as_json: Json = False,
    records: Annotated[
        bool, typer.Option("--records", help="Print the records of all clips, a line of JSON each.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Print all clips that failed, with their words (--json: a line each).")
    ] = False,
    live: Annotated[
        bool, typer.Option("--watch", help="Look again every few seconds, as long as a job is at it.")
    ] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove files that interrupted attempts have left.")] = False,
) -> None:
    """Show how far a job is, from its output alone: counts, rate, gangs, and the first clips that failed."""
    if sum((records, failed, live, clean)) > 1:
        raise UsageError("found several of --records, --failed, --watch and --clean, expected one of them")
    if live and as_json:
        raise UsageError("--watch shows lines as they change: found it beside --json, leave one out")
    from cosmos_ray.job.report import bring_up_to_date
    from cosmos_ray.output.derived import with_stale
    from cosmos_ray.output.status import read_status, record_lines

    if records:
        for line in record_lines(output):
            print(json.dumps(line))
        return
    if failed:
        _say_failed(output, as_json)
        return
    if live:
        watch(lambda: _look(output))
        return
    found, run, state = read_status(output)
    found = with_stale(found, run, state)
    if clean:
        _clean(output)
    if as_json:
        print(json.dumps(asdict(found)), flush=True)
    else:
        for words in [*_status_lines(found), *_first_failures(found, state)]:
            tell(words)
    bring_up_to_date(found, run, state, say)


def _look(output: str) -> tuple[list[str], bool]:
    """The lines of now, and whether a job is at it: one that is silent has been cut off."""
    from cosmos_ray.output.status import read_status

    found, _, state = read_status(output)
    goes_on = found.left > 0 and found.is_at_work
    return [*_status_lines(found), *_first_failures(found, state)], goes_on


def _first_failures(found: Status, state: LedgerState) -> Iterator[str]:
    from cosmos_ray.output.failures import first_lines
    from cosmos_ray.store.storage import Storage

    yield from first_lines(Storage(found.output), state, found.failed, _FIRST)


def _say_failed(output: str, as_json: bool) -> None:
    from cosmos_ray.output.failures import failures, in_words, way_out
    from cosmos_ray.output.status import read_status
    from cosmos_ray.store.storage import Storage

    found, _, state = read_status(output)
    for record in failures(Storage(found.output), state):
        facts = {"id": record.id, "class": record.failure_class, "attempt": record.attempt, "error": record.error}
        if as_json:
            print(json.dumps(facts))
        else:
            tell(in_words(record))
    if found.failed and not as_json:
        say(way_out(found.output))


def _status_lines(found: Status) -> Iterator[str]:
    from cosmos_ray.output.status import owner_lines, removed_line

    yield f"{found.output}: {counted(found.clips, 'clip')} with {found.model}"
    classes = ", ".join(f"{count} {name}" for name, count in found.failed_by_class.items())
    yield f"{found.ok} ok, {found.failed} failed{f' ({classes})' if classes else ''}, {found.left} left"
    if found.removed:
        yield removed_line(found.removed)
    is_told = bool(found.clips_per_hour) and found.eta_s is not None
    rate, rest = f"{found.clips_per_hour or 0.0:.1f} clips an hour", duration(found.eta_s or 0.0)
    if found.left and not found.is_at_work:
        told = f" ({rest} more, at {rate} as before)" if is_told else ""
        yield f"no job is at it: the same `cosmos-ray generate` goes on{told}"
    elif found.left and is_told:
        yield f"{rate}, {rest} to go"
    if found.owner is not None:
        yield from owner_lines(found.owner)


def _clean(output: str) -> None:
    from cosmos_ray.ledger.lease import acquire
    from cosmos_ray.ledger.tidy import clean
    from cosmos_ray.store.storage import Storage

    storage = Storage(output)
    lease = acquire(storage, say=say)  # a job that runs may be writing what nothing refers to yet
    try:
        removed = clean(storage)
    finally:
        lease.release()
    say(f"removed {counted(removed.objects, 'object')} that nothing refers to, {byte_size(removed.size)}")


@app.command()
def retry(
    output: Output,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help=f"Only clips that failed in this class: {', '.join(FAILURE_CLASSES)}; may be repeated.",
            autocompletion=completes(*FAILURE_CLASSES),
        ),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="Instead: these clips, made or failed; may be repeated."),
    ] = None,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Instead: finished clips whose files are damaged. Reads all files.")
    ] = False,
) -> None:
    """Have failed clips made again, by the next `generate`: all of them, or those that an option names."""
    from cosmos_ray.ledger.ledger import Ledger
    from cosmos_ray.output.status import read_status
    from cosmos_ray.store.storage import Storage

    wanted = _failure_classes(classes or ())
    if sum(map(bool, (classes, ids, damaged))) > 1:
        raise UsageError("found several of --class, --id and --damaged, expected one of them")
    _, _, state = read_status(output)  # says so if there is no job
    ledger = Ledger(Storage(output))
    if ids:
        for clip_id in ids:
            if not (state.is_settled(clip_id) or clip_id in state.reopened):
                raise UsageError(f"--id {clip_id}: {output} has no such clip that was made or failed")
        ledger.redo([clip_id for clip_id in ids if state.is_settled(clip_id)])
        reopened = sorted(set(ids))
    elif damaged:
        reopened = _reopen_damaged(ledger)
    else:
        reopened = ledger.retry(wanted)
    tell(f"{counted(len(reopened), 'clip')} will be made again")
    for clip_id in reopened[:20]:
        tell(f"  {clip_id}")
    waiting = 0 if reopened else sum(not state.is_settled(clip_id) for clip_id in state.reopened)
    if waiting:  # nothing was found, for it was asked for before
        tell(f"waiting for the next `cosmos-ray generate` already: {counted(waiting, 'clip')}")


def _failure_classes(names: Sequence[str]) -> list[FailureClass]:
    """Raises UsageError for what is none."""
    found: list[FailureClass] = []
    for name in names:
        if name not in FAILURE_CLASSES:
            raise UsageError(f"--class {name}: expected one of {', '.join(FAILURE_CLASSES)}")
        found.append(name)
    return found


def _reopen_damaged(ledger: Ledger) -> list[str]:
    """Ids of the clips; what is wrong with each is said. Reads all files."""
    from cosmos_ray.ledger.tidy import damaged

    faults = dict(damaged(ledger.storage))
    for fault in faults.values():
        say(fault)
    ledger.redo(faults)
    return sorted(faults)


@app.command()
def report(
    outputs: Annotated[list[str], typer.Argument(metavar="OUTPUT", help="URI of a job's output, or of several.")],
    manifest: Annotated[
        str | None, typer.Option(metavar="URI", help="Where the manifest is now, for an output that kept no copy.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="A page of those clips alone, by columns of the index, as in SQL."),
    ] = None,
    grid: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="As a table: A's values down, B's across.")
    ] = None,
    price: Annotated[float | None, typer.Option(metavar="USD", help="Price of a GPU for an hour.", min=0)] = None,
) -> None:
    """Write OUTPUT/index.parquet, failures.parquet and report.html again; of several also one page above them."""
    from cosmos_ray.job.report import report as make_again
    from cosmos_ray.job.report import report_together
    from cosmos_ray.ledger.layout import FAILURES, INDEX, REPORT
    from cosmos_ray.output.report.part import Part
    from cosmos_ray.store.storage import Storage

    if len(outputs) > 1:
        if manifest is not None:
            raise UsageError("--manifest is of one output: found several")
        tell(report_together(outputs, say, Part(where, grid, price)))
        return
    (output,) = outputs
    clips = make_again(output, say, manifest, Part(where, grid, price))
    storage = Storage(output)
    tell(storage.uri_of(REPORT))
    tell(f"{storage.uri_of(INDEX)}: {counted(clips, 'clip')}")
    tell(storage.uri_of(FAILURES))


@app.command()
def reproduce(
    output: Output,
    clip_id: Annotated[str, typer.Argument(metavar="ID", help="Of a clip that was made.")],
    model: Annotated[
        str | None,
        typer.Option(help="URI of the bundle's folder, for a model of your own.", show_default="the one that made it"),
    ] = None,
    gang_size: Annotated[
        int | None, typer.Option(help="GPUs that make it together.", show_default="as when it was made")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="URI", help="Folder to keep the new clip in.", show_default="it is not kept")
    ] = None,
    assignments: Assignments = None,
    as_json: Json = False,
) -> None:
    """Make one clip again from its sidecar, and say how close the two are."""
    from cosmos_ray.job.reproduce import reproduce as make_again

    found = make_again(output, clip_id, say, model=model, gang_size=gang_size, to=to, assignments=assignments or ())
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
        return
    for one in found:
        tell(f"{one.view}: {one.in_words()}")
    if any(one.psnr_db is not None for one in found):
        say("two encodings of frames that differ by a rounding are about 40 dB apart")


class Layout(StrEnum):
    """What `export` writes."""

    webdataset = "webdataset"
    rds_hq = "rds-hq"
    lerobot = "lerobot"


@app.command()
def export(
    output: Output,
    layout: Annotated[
        Layout, typer.Option("--format", help="What training code reads; docs/export.md shows all three.")
    ],
    to: Annotated[str, typer.Option(metavar="URI", help="Folder to write into.")],
    clips_a_shard: Annotated[int, typer.Option(help="Clips in one tar file of webdataset.", min=1)] = 64,
    where: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Only clips for which this holds of the index's columns, in SQL's words."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Write nothing: say what is missing, or not as it was made.")
    ] = False,
) -> int:
    """Copy clips that were made into a layout that training code reads."""
    from cosmos_ray.output.export import export as copy_clips

    done = copy_clips(output, layout.value, to, say, clips_a_shard, where, verify)
    uncaptioned = f", {done.uncaptioned} of them without a caption" if done.uncaptioned else ""
    there = f", {done.there} of them there already" if done.there and not verify else ""
    faults = f", {counted(len(done.faults), 'file')} missing or not as it should be" if verify else ""
    tell(f"{to}: {counted(done.clips, 'clip')}{uncaptioned}{there}{faults}, {len(done.left_out)} left out")
    return 3 if done.left_out or done.faults else 0
