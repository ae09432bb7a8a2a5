"""Options that several builders of manifests take, said once: which cameras are meant, and what captions clips have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import typer

from cosmos_ray.cli.options import completes

Cameras = Annotated[
    str | None,
    typer.Option(
        metavar="PRESET|NAME=VIEW,...",
        help="Whose camera names: nuscenes, waymo, argoverse2, physicalai-av, rds-hq, or your own; `video`: for models "
        "of one view.",
        autocompletion=completes("nuscenes", "waymo", "argoverse2", "physicalai-av", "rds-hq", "video"),
    ),
]
Views = Annotated[
    str | None,
    typer.Option(metavar="VIEW,...", help="Which cameras to make.", show_default="those that there are inputs of"),
]
NViews = Annotated[
    int | None, typer.Option(help="How many cameras to make, the first in the rig's order.", show_default="all")
]
Prompt = Annotated[str | None, typer.Option(help="Caption of every clip that has none of its own.")]
Prompts = Annotated[str | None, typer.Option(metavar="FILE", help="Captions by id: JSON, CSV, JSONL or Parquet.")]

#: {what a builder takes: the options that say it}
_SAID_BY: Mapping[str, Mapping[str, Any]] = {
    "rig": {"cameras": Cameras, "views": Views, "n_views": NViews},
    "captions": {"prompt": Prompt, "prompts": Prompts},
}


def with_options(cameras: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Of a command: options stand in the place of its parameters `rig` and `captions`. cameras: whose names are
    usual."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters
        hints = get_type_hints(command, localns={"Rig": object, "Captions": object}, include_extras=True)
        taken = [name for name in own if name in _SAID_BY]
        options: dict[str, tuple[Any, Any]] = {}
        for name, parameter in own.items():
            if name in _SAID_BY:
                options |= {option: (None, hint) for option, hint in _SAID_BY[name].items()}
            else:
                options[name] = (parameter.default, hints[name])
        if "cameras" in options:
            options["cameras"] = (cameras, Cameras)

        @functools.wraps(command)
        def run(**given: Any) -> None:
            meant = {name: _MEANT[name](*(given.pop(option) for option in _SAID_BY[name])) for name in taken}
            command(**given, **meant)

        run.__annotations__ = {name: hint for name, (_, hint) in options.items()}
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
                for name, (default, hint) in options.items()
            ]
        )
        return run

    return decorate


def _rig(cameras: str | None, views: str | None, n_views: int | None) -> Any:
    from cosmos_ray.manifest.builders.rig import rig_of

    return rig_of(cameras, views, n_views)


def _captions(prompt: str | None, prompts: str | None) -> Any:
    from cosmos_ray.manifest.builders.caption_files import captions_of

    return captions_of(prompt, prompts)


_MEANT: Mapping[str, Callable[..., Any]] = {"rig": _rig, "captions": _captions}
