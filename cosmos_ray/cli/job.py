"""Jobs: what one would do and cost, and doing it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cosmos_ray.cli.lines import tell
from cosmos_ray.cli.options import DEFAULTS, Assignments, Config, Gangs, GangSize, Json, Manifest, Model
from cosmos_ray.config import GenerateConfig, build_config
from cosmos_ray.errors import UsageError
from cosmos_ray.job.say import say

if TYPE_CHECKING:
    from cosmos_ray.ledger.state import LedgerState
    from cosmos_ray.manifest.rows import Clip
    from cosmos_ray.models.bundle.bundle import Bundle

app = typer.Typer()

#: Of a plan that is told no output: a job's settings have one.
NO_OUTPUT = "no output"
#: Rows whose inputs `plan --inputs` takes, if it is not told how many.
_TAKEN = 100


class Gpu(StrEnum):
    """GPUs whose times were measured."""

    h100 = "h100"
    h200 = "h200"


class _PlanCommand(TyperCommand):
    """`--inputs` may stand without its number, which Typer has no word for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        for place, word in enumerate(args):
            if word == "--inputs" and not re.fullmatch(r"all|\d+", (args[place + 1 :] or [""])[0]):
                given[place] = f"--inputs={_TAKEN}"
        return super().parse_args(ctx, given)


@app.command(cls=_PlanCommand)
def plan(
    manifest: Manifest = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="Leave out the clips that are done or failed in this output.", show_default="that of --config, or none"
        ),
    ] = None,
    model: Model = None,
    gpu: Annotated[Gpu, typer.Option(help="GPUs to estimate for.")] = Gpu.h100,
    gang_size: Annotated[
        int | None, typer.Option(help="Estimate for gangs of this size alone.", show_default="each that fits")
    ] = None,
    gangs: Annotated[
        str | None,
        typer.Option(
            metavar="MIN:MAX",
            help="How many gangs at once, `4` or `1:4`; MAX of them work.",
            show_default=DEFAULTS["gangs"],
        ),
    ] = None,
    price: Annotated[float | None, typer.Option(metavar="USD", help="Price of a GPU for an hour.", min=0)] = None,
    config: Config = None,
    assignments: Assignments = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="[N]", help=f"Also look at the inputs: ask for all, take those of N rows ({_TAKEN}; or `all`)."
        ),
    ] = None,
    as_list: Annotated[
        bool, typer.Option("--list", help="Print one JSON line a clip that would be made, and nothing else.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a whole manifest without a GPU: rows, faults, what is done, what is left and what it costs."""
    from cosmos_ray.job.check import check_goes_on
    from cosmos_ray.job.inputs import look_at_inputs
    from cosmos_ray.job.listed import clip_line
    from cosmos_ray.job.model import bundle_of
    from cosmos_ray.job.outlook import outlook_of
    from cosmos_ray.job.plan import plan_for
    from cosmos_ray.ledger.ledger import Ledger
    from cosmos_ray.ledger.rows import bytes_a_clip
    from cosmos_ray.ledger.state import LedgerState
    from cosmos_ray.manifest.files import open_manifest
    from cosmos_ray.models.bundle.bundle import check_world_size
    from cosmos_ray.store.storage import Storage

    if as_list and (inputs is not None or as_json):
        raise UsageError("--list prints clips and nothing else: found it beside --inputs or --json, leave one out")
    settings = _settings(
        config,
        assignments,
        output_optional=True,
        manifest=manifest,
        output=output,
        model=model,
        gang_size=gang_size,
        gangs=gangs,
    )
    storage = None if settings.output == NO_OUTPUT else Storage(settings.output)
    state = Ledger(storage).state() if storage else LedgerState.empty()
    bundle = bundle_of(settings)
    if settings.gang_size is not None:
        check_world_size(bundle, settings.gang_size)
    found = plan_for(settings, bundle, state)  # first of all: it refuses a manifest that no job would take
    if storage is not None:
        check_goes_on(settings, storage, bundle, found)
    clips, home = _clips_left(settings, bundle, state), open_manifest(settings.manifest).home
    if as_list:
        for clip in clips:
            print(json.dumps(clip_line(clip, bundle, settings.inputs.reach(home))))
        return
    look = None
    if inputs is not None:
        many, rare = _how_many(inputs), found.rare_stores
        look = look_at_inputs(clips, bundle, settings.inputs, settings.manifest, many, home, rare)
    clip_bytes = bytes_a_clip(storage, state) if storage else None
    outlook = outlook_of(settings, bundle, gpu, found, look, clip_bytes)
    if as_json:
        print(json.dumps(outlook.to_json()))
        return
    for line in outlook.lines(price):
        tell(line)


def _how_many(inputs: str) -> int | None:
    if not re.fullmatch(r"all|\d+", inputs):
        raise UsageError(f"--inputs {inputs}: expected a number or `all`")
    return None if inputs == "all" else int(inputs)


def _clips_left(settings: GenerateConfig, bundle: Bundle, state: LedgerState) -> Iterator[Clip]:
    """Every clip that a job would make, in the manifest's order."""
    from cosmos_ray.job.plan import manifest_clips, row_defaults

    for clip in manifest_clips(settings.manifest, row_defaults(bundle, settings.sampling)):
        if not state.is_settled(clip.id):
            yield clip


@app.command()
def generate(
    manifest: Manifest = None,
    output: Annotated[
        str | None,
        typer.Option(help="URI of the output. A job goes on from what is there.", show_default="that of --config"),
    ] = None,
    model: Model = None,
    gang_size: GangSize = None,
    gangs: Gangs = None,
    limit: Annotated[
        int | None, typer.Option(help="Make at most so many clips in this run.", show_default="all")
    ] = None,
    max_failed: Annotated[
        str | None,
        typer.Option(
            help='How many clips may fail: "3", or a fraction "0.05", "5%". With more: exit code 3.',
            show_default=DEFAULTS["max_failed"],
        ),
    ] = None,
    max_gpu_hours: Annotated[
        float | None, typer.Option(help="Begin no further clip after so many GPU-hours.", show_default="no limit")
    ] = None,
    redo_changed: Annotated[
        bool | None,
        # A table of its own: its second name would take a column of all others', and model names would be cut.
        typer.Option(
            help="Make clips again whose rows have changed.", show_default="no", rich_help_panel="Clips made before"
        ),
    ] = None,
    config: Config = None,
    assignments: Assignments = None,
) -> int:
    """Make every clip of a manifest; the same command again goes on where it stopped."""
    from cosmos_ray.job.job import generate as generate_clips

    settings = _settings(
        config,
        assignments,
        manifest=manifest,
        output=output,
        model=model,
        gang_size=gang_size,
        gangs=gangs,
        limit=limit,
        max_failed=max_failed,
        max_gpu_hours=max_gpu_hours,
        redo_changed=redo_changed,
    )
    return generate_clips(settings, say).exit_code


def _settings(
    config: Path | None, assignments: list[str] | None, output_optional: bool = False, **flags: Any
) -> GenerateConfig:
    """A job's settings; a flag that is None was not given, and leaves its setting to the file."""
    given = {name: value for name, value in flags.items() if value is not None}
    return build_config(given, config, assignments or (), {"output": NO_OUTPUT} if output_optional else {})
