"""This machine: whether a job would run here, and with what."""

from __future__ import annotations

from typing import Annotated

import typer

from cosmos_ray.cli.lines import tell
from cosmos_ray.cli.options import MODELS, Assignments, Config, complete_models, settings_for

app = typer.Typer()


@app.command()
def doctor(
    model: Annotated[
        str | None,
        typer.Option(
            help=f"Also: would this model run here (files, access, memory)? {MODELS}.",
            show_default="none",
            autocompletion=complete_models,
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URI", help="Also: write one object to a folder of a store, and read it.")
    ] = None,
    config: Config = None,
    assignments: Assignments = None,
) -> int:
    """Show what this machine would use for a job, and what is missing."""
    from cosmos_ray.job.doctor import examine

    missing = slower = 0
    settings = settings_for(config, assignments)
    for found in examine(model, store, settings.refiner, settings.guardrails):
        missing += found.level == "missing"
        slower += found.level == "slower"
        tell(f"{found.level:8} {found.subject}: {found.message}")
    tell(_verdict(missing, slower))
    return 1 if missing else 0


def _verdict(missing: int, slower: int) -> str:
    if missing:
        return "a job could not run here: see what is missing"
    return "a job would run here, slower than it could" if slower else "a job would run here"
