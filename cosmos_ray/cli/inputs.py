"""Inputs: what a video is, and what a model would see of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cosmos_ray.cli.lines import tell
from cosmos_ray.cli.options import Assignments, Config, Model
from cosmos_ray.errors import UsageError
from cosmos_ray.words import counted

app = typer.Typer()

#: A table of its own in `--help`: beside these long names, those of models would be cut.
_TAKEN = "What is taken"


@app.command()
def inspect(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO", help="Paths or URIs of mp4 files.")],
    model: Model = None,
    n_views: Annotated[
        int, typer.Option(help="Views in each file, one after the other in time.", min=1, rich_help_panel=_TAKEN)
    ] = 1,
    num_conditional_frames: Annotated[
        int, typer.Option(help="Frames a view to start from: 1 or 5.", rich_help_panel=_TAKEN)
    ] = 1,
    fps: Annotated[
        int,
        typer.Option(help="Frames a second of the clip, at which its first ones are taken.", rich_help_panel=_TAKEN),
    ] = 10,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the frames as the model would see them: STEM.VIEW.NUMBER.png, from 0, the oldest first.",
        ),
    ] = None,
    config: Config = None,
    assignments: Assignments = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a file.")] = False,
) -> int:
    """Show what videos are and what would be taken of them, without a job: frames, conversion, cropping.

    `--set inputs.fit=pad` and other settings of inputs are those of `generate`.
    """
    from cosmos_ray.clip.request import LATENT_FRAMES
    from cosmos_ray.config import build_config
    from cosmos_ray.foreign import MOST, shown_uri
    from cosmos_ray.job.inspect import in_words, inspect_video
    from cosmos_ray.models.bundle.bundle import load_bundle
    from cosmos_ray.store.uris import normalise_uri

    # A job's settings include its manifest and output; there are none here.
    flags = {"manifest": "none", "output": "none", **({} if model is None else {"model": model})}
    settings = build_config(flags, config, assignments or ())
    bundle = load_bundle(settings.model)
    if not num_conditional_frames or num_conditional_frames not in LATENT_FRAMES:
        raise UsageError(f"--num-conditional-frames {num_conditional_frames}: expected 1 or 5")
    if n_views > bundle.n_views:
        raise UsageError(f"--n-views {n_views}: expected 1 to {bundle.n_views}, as the model {bundle.name} has them")
    if not 1 <= fps <= 120:
        raise UsageError(f"--fps {fps}: expected 1 to 120")
    if to is not None:
        _make_folder(to, [Path(video).stem for video in videos])
    refused = False
    for video in videos:
        line = inspect_video(
            normalise_uri(video), bundle, settings.inputs, n_views, num_conditional_frames, fps, to
        ) | {"file": shown_uri(video, MOST)}
        refused |= not line["ok"]
        if as_json:
            print(json.dumps(line), flush=True)
            continue
        for words in in_words(line).splitlines():
            tell(words)
        if n_views == 1 < bundle.n_views and line["ok"] and line["frames"] % bundle.n_views == 0:
            tell(f"  taken as one view; if it has {bundle.n_views}, one after the other: --n-views {bundle.n_views}")
    return 1 if refused else 0


def _make_folder(to: Path, stems: Sequence[str]) -> None:
    """For the frames of videos with these names."""
    if (twice := next((stem for stem in stems if stems.count(stem) > 1), None)) is not None:
        raise UsageError(
            f"--to {to}: found {counted(stems.count(twice), 'video')} named {twice!r}, whose frames would be named "
            "alike; look at them one at a time"
        )
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--to {to}: expected a folder that can be made: {error.strerror}") from None
