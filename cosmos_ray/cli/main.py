"""The command line: a thin layer over the package. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cosmos_ray.config import build_config
from cosmos_ray.errors import FAILURE_CLASSES, CosmosRayError, FailureClass, UsageError
from cosmos_ray.store.storage import explain

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
manifest_app = typer.Typer(no_args_is_help=True, help="Build a Parquet manifest from what you have.")
model_app = typer.Typer(no_args_is_help=True, help="Look after models.")
app.add_typer(manifest_app, name="manifest")
app.add_typer(model_app, name="model")

Manifest = Annotated[str, typer.Option(help="URI of the manifest: a Parquet file, a folder of them, or a pattern.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Config = Annotated[Path | None, typer.Option(help="YAML file of settings.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, after all else.")]
Output = Annotated[str, typer.Argument(metavar="OUTPUT", help="URI of a job's output.")]


def main() -> None:
    """Exit codes: 0 done; 1 the job failed; 2 bad arguments, manifest or model; 3 more rows failed than allowed."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run(app))


def run(command: Callable[..., Any]) -> int:
    """A Typer app's exit code; our own errors become one line on standard error."""
    try:
        return int(command(standalone_mode=False) or 0)
    except UsageError as error:
        return _complain(str(error), 2)
    except CosmosRayError as error:
        return _complain(str(error), 1)
    except OSError as error:
        return _complain(f"a file or store failed: {explain(error)}", 1)
    except typer.Exit as error:
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", 1)
    except Exception as error:
        # Typer's own errors (an unknown flag, a missing argument) know how to show themselves, with exit code 2.
        if not hasattr(error, "show"):
            raise
        error.show()
        return int(getattr(error, "exit_code", 2))


def _complain(message: str, code: int) -> int:
    print(f"cosmos-ray: {message}", file=sys.stderr)
    return code


def _say(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


@app.command()
def generate(
    manifest: Manifest,
    output: Annotated[str, typer.Option(help="URI of the output; a job resumes from what is there.")],
    model: Annotated[str | None, typer.Option(help="Name of a model, or URI of a bundle's folder.")] = None,
    gang_size: Annotated[int | None, typer.Option(help="GPUs that share one clip.")] = None,
    gangs: Annotated[
        str | None, typer.Option(metavar="MIN:MAX", help="How many gangs at once, if the work is worth them.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Make at most so many clips in this run.")] = None,
    max_failed: Annotated[
        str | None, typer.Option(help='Failures that are all right: "3", or a fraction "0.05".')
    ] = None,
    max_gpu_hours: Annotated[float | None, typer.Option(help="Denoise no further clip after so much GPU time.")] = None,
    redo_changed: Annotated[bool, typer.Option(help="Make clips again whose rows were edited.")] = False,
    config: Config = None,
    assignments: Assignments = None,
) -> int:
    """Make every clip of a manifest; the same command again goes on where it stopped."""
    from cosmos_ray.job.job import generate as generate_clips

    flags: dict[str, Any] = {
        "manifest": manifest,
        "output": output,
        "model": model,
        "gang_size": gang_size,
        "gangs": gangs,
        "limit": limit,
        "max_failed": max_failed,
        "max_gpu_hours": max_gpu_hours,
        "redo_changed": redo_changed or None,
    }
    settings = build_config(
        {name: value for name, value in flags.items() if value is not None}, config, assignments or ()
    )
    return generate_clips(settings, _say).exit_code


class Gpu(StrEnum):
    """GPUs whose times were measured."""

    h100 = "h100"
    h200 = "h200"


@app.command()
def plan(
    manifest: Manifest,
    output: Annotated[str | None, typer.Option(help="Subtract what this output has.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of a model, or URI of a bundle's folder.")] = None,
    gpu: Annotated[Gpu, typer.Option(help="What GPUs the time is told for.")] = Gpu.h100,
    gangs: Annotated[int, typer.Option(help="How many gangs work at once.", min=1)] = 1,
    price: Annotated[float | None, typer.Option(metavar="USD", help="Of a GPU for an hour.", min=0)] = None,
    config: Config = None,
    assignments: Assignments = None,
    as_json: Json = False,
) -> int:
    """Check a whole manifest without a GPU: rows, faults, what is done, what is left and what it costs."""
    from cosmos_ray.job.cost import estimates, lines
    from cosmos_ray.job.plan import plan_for
    from cosmos_ray.ledger.ledger import Ledger, LedgerState
    from cosmos_ray.ledger.rows import bytes_a_clip
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.output.status import removed_line
    from cosmos_ray.store.storage import Storage

    flags = {"manifest": manifest, "output": output or "none", **({"model": model} if model else {})}
    settings = build_config(flags, config, assignments or ())
    storage = Storage(output) if output else None
    state = Ledger(storage).state() if storage else LedgerState.empty()
    bundle = load_bundle(settings.model)
    found = plan_for(settings, bundle, state)
    costs = estimates(found.work, bundle, gpu, settings.sampling.approximations)
    size = bytes_a_clip(storage, state) if storage else None
    bytes_left = None if size is None else size * sum(group.clips for group in found.work)
    if as_json:
        costs_json = {"gpu": gpu, "estimates": [asdict(one) for one in costs], "bytes_left": bytes_left}
        print(json.dumps(asdict(found) | costs_json))
        return 0
    print(f"{found.rows} rows ask for {found.clips} clips: {found.done} done, {found.failed} failed, {found.left} left")
    print(f"{found.invalid} clips will fail for what their rows say" + (":" if found.invalid_examples else ""))
    for clip_id, error in found.invalid_examples:
        print(f"  {clip_id}: {error}")
    if found.unguided:
        print(f"{found.unguided} clips have no negative prompt: one network call a step, not two, and no guidance")
    if found.removed:
        print(removed_line(sum(found.removed.values())))
    if found.changed:
        print(f"{len(found.changed)} settled clips have edited rows: {', '.join(found.changed[:20])}")
    if size is not None and bytes_left:
        print(f"about {bytes_left / 1e9:,.1f} GB are left to write, {size / 1e6:.1f} MB a clip as so far")
    for line in lines(costs, gpu, gangs, price):
        print(line)
    return 0


@app.command()
def status(
    output: Output,
    as_json: Json = False,
    records: Annotated[bool, typer.Option("--records", help="Print one JSON line a commit record.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove what attempts that were cut off have left.")] = False,
) -> int:
    """How far a job is, from its output alone."""
    from cosmos_ray.output.status import owner_lines, read_status, record_lines, removed_line

    if records:
        for line in record_lines(output):
            print(json.dumps(line))
        return 0
    found, _, _ = read_status(output)
    if clean:
        _clean(output)
    if as_json:
        print(json.dumps(asdict(found)))
        return 0
    print(f"{found.output}: {found.clips} clips with {found.model}")
    classes = ", ".join(f"{count} {name}" for name, count in found.failed_by_class.items())
    print(f"{found.ok} ok, {found.failed} failed{f' ({classes})' if classes else ''}, {found.left} left")
    if found.removed:
        print(removed_line(found.removed))
    if found.left and found.clips_per_hour and found.eta_s is not None:
        print(f"{found.clips_per_hour:.1f} clips an hour, {found.eta_s / 3600:.1f} hours to go")
    if found.owner is not None:
        print("\n".join(owner_lines(found.owner)))
    return 0


def _clean(output: str) -> None:
    from cosmos_ray.ledger.lease import acquire
    from cosmos_ray.ledger.tidy import clean
    from cosmos_ray.store.storage import Storage

    storage = Storage(output)
    lease = acquire(storage, say=_say)  # a job that runs may be writing what nothing refers to yet
    try:
        removed = clean(storage)
    finally:
        lease.release()
    _say(f"removed {removed.objects} objects that nothing refers to, {removed.size} bytes")


@app.command()
def retry(
    output: Output,
    classes: Annotated[list[str] | None, typer.Option("--class", help="Only failures of this class.")] = None,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Not failures, but ok clips whose files are not as recorded; reads all.")
    ] = False,
) -> int:
    """Make failed clips eligible again; the next `generate` makes them."""
    from cosmos_ray.ledger.ledger import Ledger
    from cosmos_ray.output.status import read_status
    from cosmos_ray.store.storage import Storage

    wanted: list[FailureClass] = []
    for name in classes or ():
        if name not in FAILURE_CLASSES:
            raise UsageError(f"--class {name}: expected one of {', '.join(FAILURE_CLASSES)}")
        wanted.append(name)
    read_status(output)
    ledger = Ledger(Storage(output))
    if damaged:
        from cosmos_ray.ledger.tidy import damaged as find_damaged

        faults = dict(find_damaged(ledger.storage))
        for fault in faults.values():
            _say(fault)
        ledger.redo(faults)
        reopened = sorted(faults)
    else:
        reopened = ledger.retry(wanted)
    print(f"{len(reopened)} clips are eligible again")
    for clip_id in reopened[:20]:
        print(f"  {clip_id}")
    return 0


@app.command()
def reproduce(
    output: Output,
    clip_id: Annotated[str, typer.Argument(metavar="ID", help="Of a clip that was made.")],
    model: Annotated[str | None, typer.Option(help="URI of the bundle's folder, if the model is one of yours.")] = None,
    gang_size: Annotated[int | None, typer.Option(help="Default: as when it was made.")] = None,
    to: Annotated[str | None, typer.Option(metavar="URI", help="Where the new clip stays. Default: nowhere.")] = None,
    assignments: Assignments = None,
    as_json: Json = False,
) -> int:
    """Make one clip again from its sidecar, and say how close the two are."""
    from cosmos_ray.job.reproduce import reproduce as make_again

    found = make_again(output, clip_id, _say, model=model, gang_size=gang_size, to=to, assignments=assignments or ())
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
        return 0
    for one in found:
        print(f"{one.view}: {one.in_words()}")
    if any(one.psnr_db is not None for one in found):
        _say("two encodings of frames that differ by a rounding are about 40 dB apart")
    return 0


@app.command()
def report(output: Output) -> int:
    """Write OUTPUT/report.html and OUTPUT/index.parquet from the ledger."""
    from cosmos_ray.ledger.run import row_defaults_of
    from cosmos_ray.manifest.files import open_manifest
    from cosmos_ray.output.index import write_index
    from cosmos_ray.output.report.build import REPORT, write_report
    from cosmos_ray.output.status import read_status
    from cosmos_ray.store.storage import Storage

    _, job, state = read_status(output)
    storage = Storage(output)
    write_report(storage, job, state)
    print(storage.uri_of(REPORT))
    rows = write_index(storage, open_manifest(job.manifest), row_defaults_of(job), state)
    print(f"{storage.uri_of('index.parquet')}: {rows} clips")
    return 0


class Layout(StrEnum):
    """What `export` writes."""

    webdataset = "webdataset"
    rds_hq = "rds-hq"


@app.command()
def export(
    output: Output,
    layout: Annotated[Layout, typer.Option("--format", help="docs/export.md shows both.")],
    to: Annotated[str, typer.Option(metavar="URI", help="Folder to write into.")],
    clips_a_shard: Annotated[int, typer.Option(help="Of a webdataset's tar file.", min=1)] = 64,
) -> int:
    """Copy all clips that were made into a layout that training code reads."""
    from cosmos_ray.output.export import export as copy_clips

    done = copy_clips(output, layout.value, to, _say, clips_a_shard)
    uncaptioned = f", {done.uncaptioned} of them without a caption" if done.uncaptioned else ""
    print(f"{to}: {done.clips} clips{uncaptioned}, {len(done.left_out)} left out")
    return 3 if done.left_out else 0


@manifest_app.command("from-batch-json")
def from_batch_json(
    source: Annotated[str, typer.Argument(metavar="JSON", help="A list of {input_video, prompt, output_video}.")],
    out: Annotated[str, typer.Option(help="URI of the manifest to write.")],
) -> int:
    """From the JSON that Cosmos-Predict2's `--batch_input_json` takes."""
    from cosmos_ray.manifest import builders

    print(f"{out}: {builders.from_batch_json(source, out)} rows")
    return 0


@manifest_app.command("from-multiview-json")
def from_multiview_json(
    sources: Annotated[list[str], typer.Argument(metavar="JSON...", help="Files that name a video for each camera.")],
    out: Annotated[str, typer.Option(help="URI of the manifest to write.")],
) -> int:
    """From the JSON files of Cosmos-Predict2.5's multiview example."""
    from cosmos_ray.manifest import builders

    print(f"{out}: {builders.from_multiview_json(sources, out)} rows")
    return 0


@manifest_app.command("from-folder")
def from_folder(
    folder: Annotated[str, typer.Argument(help="A sub-folder a clip: videos and caption.txt.")],
    out: Annotated[str, typer.Option(help="URI of the manifest to write.")],
) -> int:
    """From a folder with a sub-folder a clip."""
    from cosmos_ray.manifest import builders

    print(f"{out}: {builders.from_folder(folder, out)} rows")
    return 0


@model_app.command("check")
def model_check(model: Annotated[str, typer.Argument(metavar="NAME|URI")]) -> int:
    """Check a model's files, access, names, shapes, gang sizes and memory, without a GPU."""
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.models.bundle.check import check_bundle, text_encoder_parameters
    from cosmos_ray.models.bundle.memory import memory_plans

    bundle = load_bundle(model)
    print(f"{bundle.name}: {bundle.n_views} views x {bundle.num_frames} frames, {bundle.width}x{bundle.height}")
    findings = check_bundle(bundle)
    for finding in findings:
        print(f"  {finding.level:12} {finding.subject}: {finding.message}")
    if bundle.generator == "cosmos":
        print("GPU memory (weights exactly, the rest as estimates):")
        for plan in memory_plans(bundle, text_encoder_parameters(bundle)):
            print(f"  {plan.line()}")
    return 0 if all(finding.level == "ok" for finding in findings) else 2


@model_app.command("fetch")
def model_fetch(model: Annotated[str, typer.Argument(metavar="NAME|URI")]) -> int:
    """Bring all of a model's files into this machine's caches, and verify them."""
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.models.bundle.files import fetch_bundle

    for kind, path in fetch_bundle(load_bundle(model)):
        print(f"{kind}: {path}", flush=True)
    return 0
