"""A table with a row a clip: CSV, JSONL or Parquet, whatever wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.caption_files import by_view
from cosmos_ray.manifest.builders.cells import cell, says_nothing
from cosmos_ray.manifest.builders.notes import Built, Notes
from cosmos_ray.manifest.builders.rig import Rig, by_camera, check_alike, in_order, rig_of
from cosmos_ray.manifest.builders.sources import MEDIA, PICTURES, suffix_of
from cosmos_ray.manifest.builders.table_files import Source, read_source
from cosmos_ray.manifest.builders.writing import (
    COLUMNS,
    Draft,
    renamed,
    with_prompt,
    with_references,
    write,
)
from cosmos_ray.manifest.names import near_column
from cosmos_ray.manifest.unknown_cameras import Unknown
from cosmos_ray.store.uris import normalise_uri, parent_uri

_ALIASES = ("name", "input_path", "prompt_path", "output_video")
#: Columns that name a row; `output_image` does where none of them is there.
_IDS = ("id", "name", "output_video")
#: Columns that are a clip's input where it has no cameras.
_OF_ONE = ("video", "picture", "image")
#: Columns that may be split into one a camera: `input_videos.front_wide`, as pandas' json_normalize names them.
_SPLIT = {"input_videos": "videos", "input_video": "videos", "input_frames": "frames", "prompt": "prompts",
          "control_videos": "controls"}  # fmt: skip
_NVIDIA = re.compile(r"(ftheta_|pinhole_)?camera_\w+_\d+fov", re.IGNORECASE)


def from_table(
    source: str, out: str, *, rig: Rig | None = None, base: str | None = None, encoding: str | None = None
) -> Built:
    """Manifest of a CSV, JSONL or Parquet file whose columns have the manifest's names.

    Lists may be written as JSON (`["a", "b"]`) or split over a column a camera: `input_videos.front_wide`,
    `input_frames.front_wide`, `prompt.front_wide`, or the camera's name alone. `name`, `input_path`, `prompt_path` and
    `output_video` stand for what they do in JSON. A prompt that ends with `.txt` is read, one that is an embedding's
    file moves to its column. All other columns are carried as they are. What cells mean: `cells`.

    base: folder that relative paths start from (the table's own by default). encoding: of a CSV that is not UTF-8.
    """
    notes = Notes()
    table = read_source(source, notes, encoding)
    return manifest_of(table, out, rig or rig_of(), notes, normalise_uri(base) if base else parent_uri(source))


def manifest_of(table: Source, out: str, rig: Rig, notes: Notes, base: str) -> Built:
    """As `from_table`, of a table that was read; notes: what was said meanwhile. base: URI."""
    source = table.uri
    unknown = Unknown(rig.names)
    split = {n: place for n in table.columns if (place := _camera_column(n, rig, table, unknown, source)) is not None}
    unknown.check()
    ours = [name for name in table.columns if name in COLUMNS or name in _ALIASES]
    if "output_image" in table.columns and not {*_IDS} & {*ours}:
        ours.append("output_image")
    others = [name for name in table.columns if name not in split and name not in ours]
    _check_others(others, table, source)
    _warn_of_unused(others, split, table, notes)
    if not {*_IDS, "output_image"} & {*ours}:
        raise ManifestError(f"{source} has no column `id`: found {', '.join(table.columns)}")
    drafts, undecided = [], []
    for number, where in enumerate(map(table.where, range(len(table.places)))):
        row = _row(table, ours, number, where)
        cameras = _cameras(table, split, number, where)
        column, found = _merged(row, cameras, rig, where)
        controls = _controls(row, cameras["controls"], rig, where)
        decided = rig.asked or row.get("views") or row.get("n_views")
        views = rig.views_of(row, found or controls, where)
        if found and not decided:
            undecided.append((where, found))
        if found:
            row[column] = in_order(found, views or VIEWS, where, notes)
        if found and column == "input_videos":
            row |= rig.as_inputs(row.pop(column))
        if controls:
            row["control_videos"] = in_order(controls, views or VIEWS, where, notes, "control videos")
        if cameras["prompts"]:
            row["prompt"] = by_view(cameras["prompts"], views or VIEWS)
        row = with_references(row, base, out, where)
        drafts.append(Draft(where, with_prompt(row, base, out, len(views or VIEWS), where)))
    if not drafts:
        raise ManifestError(f"{source} has no rows")
    check_alike(undecided)
    if others:
        notes.remarks.append(f"columns that are carried into the index as they are: {', '.join(others)}")
    return write(drafts, out, notes, table.carried(others, notes), rig.is_one_view)


def _check_others(others: list[str], table: Source, source: str) -> None:
    """Raises ManifestError for a column that nearly has one of our names, where that is not there too."""
    for name in others:
        if (near := near_column(name, table.columns)) is not None and near not in table.columns:
            one = " (`--cameras video` takes it, for models of one view)" if name in _OF_ONE else ""
            raise ManifestError(
                f"{source}: column {name!r} is nearly `{near}`: rename it, to that or to something else{one}"
            )


def _warn_of_unused(
    others: list[str], split: Mapping[str, tuple[str, str | None]], table: Source, notes: Notes
) -> None:
    """Columns that name files, and of which no clip is made."""
    for name, (kind, view) in split.items():
        if view is None and kind != "prompts":
            notes.warn("cameras that are not used", f"column `{name}`")
    for name in others:
        if any(isinstance(value, str) and suffix_of(value) in MEDIA for value in table.columns[name]):
            notes.warn("columns of videos or pictures that are only carried along", f"`{name}`")


def _row(table: Source, ours: list[str], number: int, where: str) -> dict[str, Any]:
    """The row's own words, in the manifest's names and types."""
    named = {name: table.columns[name][number] for name in ours if table.columns[name][number] is not None}
    row = renamed(named, where)
    if not says_nothing(row.get("prompt_embedding")) and says_nothing(row.get("prompt")):
        row.pop("prompt", None)
    cells = {name: cell(name, value, where, table.decimal_comma) for name, value in row.items()}
    if row.get("negative_prompt") == "" and not table.texts:  # none at all, not the model's own
        cells["negative_prompt"] = ""
    return {name: value for name, value in cells.items() if value is not None}


def _camera_column(name: str, rig: Rig, table: Source, unknown: Unknown, source: str) -> tuple[str, str | None] | None:
    """(what it holds, view) of a column that is one camera's; None for any other. A view of None is not used."""
    if name in COLUMNS:
        return None
    prefix, dot, camera = name.partition(".")
    if dot and prefix in _SPLIT:
        return _SPLIT[prefix], unknown.view_of(camera, source)
    is_one = rig.names.one == "any" and name in _OF_ONE
    if is_one or rig.names.is_told(name) or name in VIEWS or _NVIDIA.fullmatch(name):
        values = [value for value in table.columns[name] if value is not None]
        are_pictures = any(isinstance(value, list) or suffix_of(str(value).rstrip("]'\" ")) in PICTURES
                           for value in values)  # fmt: skip
        return "frames" if are_pictures else "videos", rig.names.view_of(name)
    return None


def _cameras(
    table: Source, split: Mapping[str, tuple[str, str | None]], number: int, where: str
) -> dict[str, dict[str, Any]]:
    """Values by view, of each kind of _SPLIT."""
    found: dict[str, dict[str, Any]] = {"videos": {}, "frames": {}, "prompts": {}, "controls": {}}
    for name, (kind, view) in split.items():
        value = cell("prompt" if kind == "prompts" else "input_videos", table.columns[name][number], where)
        if value is None or view is None:
            continue
        if view in found[kind]:
            raise ManifestError(f"{where}: column `{name}` is the second for the view {view}")
        found[kind][view] = [value] if kind == "frames" and isinstance(value, str) else value
    return found


def _merged(
    row: Mapping[str, Any], cameras: Mapping[str, Mapping[str, Any]], rig: Rig, where: str
) -> tuple[str, dict[str, Any]]:
    """(column of the row, inputs by view), from columns a camera or from an object in one; {} for none and a list."""
    given = [name for name in ("input_video", "input_videos", "input_frames") if name in row]
    told = [name for name, kind in (("input_videos", "videos"), ("input_frames", "frames")) if cameras[kind]]
    if len(given) + len(told) > 1:
        words = [*(f"`{name}`" for name in given), *(f"`{name}` by camera" for name in told)]
        raise ManifestError(f"{where} has {' and '.join(words)}, expected one of them")
    if cameras["prompts"] and "prompt" in row:
        raise ManifestError(f"{where} has `prompt` and captions by camera, expected one of them")
    if told:
        return told[0], dict(cameras[_SPLIT[told[0]]])
    found = row[given[0]] if given else None
    if not isinstance(found, Mapping):
        return "", {}
    return given[0], by_camera(found, rig, f"{where}: `{given[0]}`")


def _controls(row: Mapping[str, Any], split: Mapping[str, Any], rig: Rig, where: str) -> dict[str, Any]:
    """Control videos by view; {} for none and a list."""
    found = row.get("control_videos")
    if split and found is not None:
        raise ManifestError(f"{where} has `control_videos` and control videos by camera, expected one of them")
    if split:
        return dict(split)
    return by_camera(found, rig, f"{where}: `control_videos`") if isinstance(found, Mapping) else {}
