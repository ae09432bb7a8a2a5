"""Options and arguments that several commands take in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Manifest = Annotated[str, typer.Option(help="URI of the manifest: a Parquet file, a folder of them, or a pattern.")]
Model = Annotated[str | None, typer.Option(help="Name of a model, or URI of a bundle's folder.")]
Config = Annotated[Path | None, typer.Option(help="YAML file of settings.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting; wins over flags and --config. May be repeated."),
]
Output = Annotated[str, typer.Argument(metavar="OUTPUT", help="URI of a job's output.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
