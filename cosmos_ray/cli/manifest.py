"""`cosmos-ray manifest`: manifests from what people have."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cosmos_ray.cli.builders import Prompts, with_options
from cosmos_ray.cli.lines import note, tell
from cosmos_ray.cli.options import Assignments, Config, Model
from cosmos_ray.words import counted

if TYPE_CHECKING:
    from cosmos_ray.manifest.builders.caption_files import Captions
    from cosmos_ray.manifest.builders.notes import Built
    from cosmos_ray.manifest.builders.rig import Rig

app = typer.Typer(no_args_is_help=True, help="Build a Parquet manifest from what you have.")

Out = Annotated[str, typer.Option(help="URI of the manifest to write.")]
Base = Annotated[
    str | None,
    typer.Option(metavar="URI", help="Folder that relative paths start from.", show_default="the file's own"),
]
Home = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="URI",
        help="Where this folder lies for the job, and its files are named.",
        show_default="here",
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(help="Frames of each camera that clips start from, 1 or 5, if they do not say.", show_default="1"),
]
Fps = Annotated[int | None, typer.Option(help="Frames a second of clips that do not say.", show_default="the model's")]


@app.command()
@with_options()
def from_folder(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="A sub-folder a clip: videos or pictures, and caption.txt.")
    ],
    out: Out,
    rig: Rig,
    captions: Captions,
    fps: Fps = None,
    frames: Frames = None,
    windows: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="Each clip has one camera's video: cut seven out of it, as pictures, to here."
        ),
    ] = None,
    zoom: Annotated[float, typer.Option(help="Of --windows: their size, as a share of the largest that fits.")] = 0.5,
    base: Home = None,
) -> None:
    """From a folder with a sub-folder a clip, or a sub-folder a camera."""
    from cosmos_ray.manifest.builders.folder import from_folder as build
    from cosmos_ray.manifest.builders.windows import Windows

    cut = Windows(windows, zoom) if windows else None
    built = build(folder, out, rig=rig, captions=captions, fps=fps, frames=frames, windows=cut, base=base)
    _tell(built, out)


@app.command()
@with_options()
def from_table(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A .csv, .tsv, .jsonl or .parquet with a row a clip.")],
    out: Out,
    rig: Rig,
    base: Base = None,
    encoding: Annotated[str | None, typer.Option(help="Of a CSV, such as cp1252.", show_default="UTF-8")] = None,
) -> None:
    """From a CSV, JSONL or Parquet file with the manifest's columns."""
    from cosmos_ray.manifest.builders.table import from_table as build

    _tell(build(source, out, rig=rig, base=base, encoding=encoding), out)


class CaptionFrom(StrEnum):
    """What of a data set can be a clip's caption."""

    scene = "scene"


@app.command()
@with_options(cameras="nuscenes")
def from_nuscenes(
    dataroot: Annotated[str, typer.Argument(metavar="DATAROOT", help="The folder that holds samples and sweeps.")],
    out: Out,
    rig: Rig,
    version: Annotated[str, typer.Option(help="The folder of tables in it.")] = "v1.0-mini",
    stride: Annotated[int, typer.Option(help="Key frames (2 a second) from a clip to the next.", min=1)] = 6,
    fps: Annotated[int, typer.Option(help="Frames a second of the clips.", min=1)] = 10,
    frames: Annotated[int, typer.Option(help="Pictures of each camera that a clip starts from, 1 or 5.")] = 5,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="Caption of every clip; {description} and {scene} stand for its scene's.",
            show_default="{description}",
        ),
    ] = None,
    caption_from: Annotated[
        CaptionFrom | None, typer.Option(help="`scene` says in a word what holds without --prompt.")
    ] = None,
    prompts: Prompts = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Folder of samples and sweeps, for the job.", show_default="DATAROOT"),
    ] = None,
) -> None:
    """From nuScenes, as it is downloaded: clips that start from its pictures, six cameras."""
    from cosmos_ray.errors import UsageError
    from cosmos_ray.manifest.builders.caption_files import captions_of
    from cosmos_ray.manifest.builders.nuscenes import from_nuscenes as build

    if caption_from is not None and prompt is not None:
        raise UsageError("--prompt and --caption-from: found both, expected one of them")
    captions = captions_of("{description}" if prompt is None else prompt, prompts)
    built = build(
        dataroot, out, version=version, stride=stride, fps=fps, frames=frames, rig=rig, captions=captions, base=base
    )
    _tell(built, out)


@app.command()
@with_options(cameras="rds-hq")
def from_rds_hq(
    folder: Annotated[
        str,
        typer.Argument(metavar="FOLDER", help="A folder a camera, in `videos` or in itself; `captions`, `metas`."),
    ],
    out: Out,
    rig: Rig,
    captions: Captions,
    fps: Fps = None,
    frames: Frames = None,
    base: Home = None,
) -> None:
    """From RDS-HQ's layout, which `export --format rds-hq` writes too."""
    from cosmos_ray.manifest.builders.by_camera import from_rds_hq as build

    _tell(build(folder, out, rig=rig, captions=captions, fps=fps, frames=frames, base=base), out)


@app.command()
@with_options()
def from_batch_json(
    source: Annotated[str, typer.Argument(metavar="JSON", help="A list of {input_video, prompt, output_video}.")],
    out: Out,
    rig: Rig,
    base: Base = None,
) -> None:
    """From the JSON that Cosmos-Predict2's `--batch_input_json` takes."""
    from cosmos_ray.manifest.builders.batch_json import from_batch_json as build

    _tell(build(source, out, rig=rig, base=base), out)


@app.command()
@with_options()
def from_multiview_json(
    sources: Annotated[list[str], typer.Argument(metavar="JSON", help="Files that name a video for each camera.")],
    out: Out,
    rig: Rig,
    base: Base = None,
) -> None:
    """From the JSON files of Cosmos-Predict2.5's and -Transfer2.5's multiview examples."""
    from cosmos_ray.manifest.builders.multiview_json import from_multiview_json as build

    _tell(build(sources, out, rig=rig, base=base), out)


@app.command()
def vary(
    source: Annotated[str, typer.Option("--in", metavar="MANIFEST", help="URI of the manifest to start from.")],
    out: Out,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE,...", help="Values of which each row gets all.")
    ] = None,
    template: Annotated[str | None, typer.Option(help='New captions, such as "{prompt} Weather: {weather}."')] = None,
    seeds: Annotated[str | None, typer.Option(metavar="FIRST:END,...", help="Seeds: 0:5 is 0 to 4.")] = None,
    base: Base = None,
) -> None:
    """Make many rows of each: all combinations of chosen values and seeds."""
    from cosmos_ray.manifest.builders.vary import variations_of
    from cosmos_ray.manifest.builders.vary import vary as build

    _tell(build(source, out, variations_of(sets or (), template, seeds), base), out)


@app.command()
def refine(
    source: Annotated[
        str, typer.Option("--in", metavar="MANIFEST", help="URI of the manifest whose prompts are refined.")
    ],
    out: Out,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Who refines them: refiner.backend=endpoint and refiner.url=URL, whatever --set says."
        ),
    ] = None,
    model: Model = None,
    config: Config = None,
    assignments: Assignments = None,
) -> None:
    """Have a language model rewrite all prompts; the same command goes on where it was stopped."""
    from cosmos_ray.config import build_config
    from cosmos_ray.job.refine import refine_manifest

    said = {} if endpoint is None else {"refiner.backend": "endpoint", "refiner.url": endpoint}
    for name, _, value in (one.partition("=") for one in assignments or ()):
        if said.get(name, value) != value:
            note(f"warning: --set {name} says something else than --endpoint, which is what counts")
    flags = {"manifest": source, **({} if model is None else {"model": model})}
    settings = build_config(flags, config, [*(assignments or ()), *map("=".join, said.items())], {"output": "none"})
    found = refine_manifest(settings, out, note)
    for kind in found.faults.found():
        clip_id, fault = kind.examples[0]
        note(f"warning: {counted(kind.count, 'row')}, such as {clip_id}: {fault}")
    tell(f"{out}: {found.in_words()}")


def _tell(built: Built, out: str) -> None:
    for words in built.remarks:
        note(words)
    for words in built.warnings:
        note(f"warning: {words}")
    tell(f"{out}: {counted(built.rows, 'row')}")
