"""Options and arguments that several commands take in the same words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cosmos_ray.config import GenerateConfig, build_config
from cosmos_ray.models.bundle.names import BUILT_IN, LISTED

#: What a setting is where no flag and no file says it, as `--help` shows it.
DEFAULTS = {name: str(field.default) for name, field in GenerateConfig.model_fields.items()}

#: Which models there are, as every command says it that takes one.
MODELS = f"{', '.join(BUILT_IN)}, another of `cosmos-ray model list`, or URI of a bundle's folder"


def completes(*words: str) -> Callable[[str], list[str]]:
    """What a shell offers for an option whose value is mostly one of these."""

    def beginning(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return beginning


#: For an option or argument that takes a model.
complete_models = completes(*LISTED)

Manifest = Annotated[
    str | None,
    typer.Option(
        help="URI of the manifest: a Parquet file, a folder of them, or a pattern.", show_default="that of --config"
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help=f"A model: {MODELS}.",
        show_default=DEFAULTS["model"],
        autocompletion=complete_models,
    ),
]
GangSize = Annotated[
    int | None,
    typer.Option(help="GPUs that make one clip together.", show_default="the largest that fits every node with GPUs"),
]
Gangs = Annotated[
    str | None,
    typer.Option(
        metavar="MIN:MAX",
        help="How many gangs at once, `4` or `1:4`; more than MIN only if there are clips enough.",
        show_default=DEFAULTS["gangs"],
    ),
]
Config = Annotated[
    Path | None, typer.Option(help="YAML file of settings, as `cosmos-ray config` prints them: a whole job, or a part.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting; wins over flags and --config. May be repeated."),
]


def settings_for(config: Path | None, assignments: list[str] | None) -> GenerateConfig:
    """Of a command that looks at a job's settings, and not at its manifest or output."""
    return build_config({}, config, assignments or (), {"manifest": "none", "output": "none"})


Output = Annotated[str, typer.Argument(metavar="OUTPUT", help="URI of a job's output.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
