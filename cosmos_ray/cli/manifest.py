"""`cosmos-ray manifest`: manifests from what people have."""

from __future__ import annotations

from typing import Annotated

import typer

from cosmos_ray.words import counted

app = typer.Typer(no_args_is_help=True, help="Build a Parquet manifest from what you have.")

Out = Annotated[str, typer.Option(help="URI of the manifest to write.")]


@app.command()
def from_folder(
    folder: Annotated[str, typer.Argument(help="A sub-folder a clip: videos and caption.txt.")],
    out: Out,
) -> None:
    """From a folder with a sub-folder a clip."""
    from cosmos_ray.manifest import builders

    _tell(builders.from_folder(folder, out), out)


@app.command()
def from_batch_json(
    source: Annotated[str, typer.Argument(metavar="JSON", help="A list of {input_video, prompt, output_video}.")],
    out: Out,
) -> None:
    """From the JSON that Cosmos-Predict2's `--batch_input_json` takes."""
    from cosmos_ray.manifest import builders

    _tell(builders.from_batch_json(source, out), out)


@app.command()
def from_multiview_json(
    sources: Annotated[list[str], typer.Argument(metavar="JSON...", help="Files that name a video for each camera.")],
    out: Out,
) -> None:
    """From the JSON files of Cosmos-Predict2.5's multiview example."""
    from cosmos_ray.manifest import builders

    _tell(builders.from_multiview_json(sources, out), out)


def _tell(rows: int, out: str) -> None:
    print(f"{out}: {counted(rows, 'row')}")
