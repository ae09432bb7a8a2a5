"""The batch file of Cosmos-Predict2's example: a list of {input_video, prompt, output_video}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.multiview_json import is_camera_object
from cosmos_ray.manifest.builders.notes import Built, Notes
from cosmos_ray.manifest.builders.rig import Rig, by_camera, in_order, rig_of
from cosmos_ray.manifest.builders.sources import read_json_list
from cosmos_ray.manifest.builders.writing import (
    COLUMNS,
    Draft,
    renamed,
    with_prompt,
    with_references,
    write,
)
from cosmos_ray.manifest.names import BY_CAMERA, INPUTS
from cosmos_ray.store.uris import normalise_uri, parent_uri


def from_batch_json(source: str, out: str, *, rig: Rig | None = None, base: str | None = None) -> Built:
    """Manifest of a batch file: a JSON list of objects, each with `input_video` and `prompt`.

    `prompt` is a caption, a list of captions, the path of a `.txt` (one line that is not empty captions view 0; as many
    as there are views caption a view each) or of an embedding (`.pt`, `.safetensors`, `.npy`, `.pkl`). The id is `id`
    or `name`, else the stem of `output_video`, else `output_{index}`. `input_path` and `prompt_path` stand for
    `input_video` and `prompt`; `input_videos` or `input_frames` may stand in the place of `input_video`. Of a rig of
    one view items may have no input, as those of Text2Image ({prompt, output_image}) and Text2World. All other keys
    become columns.

    source, out: path or URI. base: folder that relative paths in the file start from (the file's own by default).
    """
    rig, notes = rig or rig_of(), Notes()
    base = normalise_uri(base) if base else parent_uri(source)
    drafts = []
    for index, item in enumerate(read_json_list(source)):
        where = f"item {index} of {source}"
        row = renamed(item, where)
        if cameras := [key for key, value in row.items() if is_camera_object(value)]:
            raise ManifestError(
                f"{where}: `{cameras[0]}` names a camera's file: `cosmos-ray manifest from-multiview-json` reads that"
            )
        for column in BY_CAMERA:
            if isinstance(row.get(column), Mapping):
                row[column] = by_camera(row[column], rig, f"{where}: `{column}`") or None
        if not any(row.get(name) for name in INPUTS) and not rig.is_one_view:
            if row.get("prompt"):
                alone = "words alone are for models of one view (`--cameras video`)"
                raise ManifestError(f"{where}: {alone}, and this one has no `input_video`")
            raise ManifestError(f"{where} has no `input_video` and no `prompt`")
        if not row.get("prompt") and not row.get("prompt_embedding"):
            raise ManifestError(f"{where} has no `prompt`")
        row.setdefault("id", f"output_{index}")
        named = {name: row[name] for name in BY_CAMERA if isinstance(row.get(name), Mapping)}
        views = rig.views_of(row, next(iter(named.values()), ()), where)
        row |= {name: in_order(found, views or VIEWS, where, notes) for name, found in named.items()}
        row = with_references(row, base, out, where)
        drafts.append(Draft(where, with_prompt(row, base, out, len(views or VIEWS), where)))
    say_carried(drafts, notes)
    return write(drafts, out, notes, is_one_view=rig.is_one_view)


def say_carried(drafts: list[Draft], notes: Notes) -> None:
    """Columns that are not ours are kept, and said."""
    others: dict[str, Any] = {name: None for draft in drafts for name in draft.columns if name not in COLUMNS}
    if others:
        notes.remarks.append(f"columns that are carried into the index as they are: {', '.join(others)}")
