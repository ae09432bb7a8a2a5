"""The same rows under several settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cosmos_ray.cli.lines import tell
from cosmos_ray.cli.options import DEFAULTS, Assignments, Config, Gangs, GangSize, Manifest, Model
from cosmos_ray.config import given_settings
from cosmos_ray.job.say import say
from cosmos_ray.words import counted

app = typer.Typer()


class _CompareCommand(TyperCommand):
    """`--settings` takes all files up to the next option, which Typer has no word for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given, takes = list[str](), False
        for word in args:
            if word == "--settings":
                takes = True
            elif takes and not word.startswith("-"):
                given.append(f"--settings={word}")
            else:
                takes = False
                given.append(word)
        return super().parse_args(ctx, given)


@app.command(cls=_CompareCommand)
def compare(
    manifest: Manifest = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="URI of a folder: the page, and an output for each setting.", show_default="that of --config"
        ),
    ] = None,
    settings: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE FILE ...",
            help="Two or more files of settings, required; the others are compared with the first.",
        ),
    ] = None,
    model: Model = None,
    gang_size: GangSize = None,
    gangs: Gangs = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only the first so many rows of the manifest.", show_default="all", min=1),
    ] = None,
    max_failed: Annotated[
        str | None,
        typer.Option(
            help="How many clips of a setting may fail, as in `generate`.", show_default=DEFAULTS["max_failed"]
        ),
    ] = None,
    price: Annotated[float | None, typer.Option(metavar="USD", help="Price of a GPU for an hour.", min=0)] = None,
    config: Config = None,
    assignments: Assignments = None,
) -> int:
    """Make the same rows under several settings, and a page of them side by side: what is saved, and what is lost."""
    from cosmos_ray.job.compare import compare as make_all
    from cosmos_ray.job.compared import read_settings

    flags = {
        "manifest": manifest,
        "output": output,
        "model": model,
        "gang_size": gang_size,
        "gangs": gangs,
        "max_failed": max_failed,
        "limit": limit,
    }
    common = given_settings({name: one for name, one in flags.items() if one is not None}, config, assignments or ())
    chosen = read_settings(common, settings or ())
    done = make_all(chosen, str(common["output"]), say, price)
    for setting, summary in zip(chosen, done.summaries, strict=True):
        failed = f", {summary.failed} failed" if summary.failed else ""
        tell(f"{setting.name}: {counted(summary.ok, 'clip')}{failed}, {summary.output}")
    for line in done.table:
        tell(line)
    tell(done.page)
    return done.exit_code
