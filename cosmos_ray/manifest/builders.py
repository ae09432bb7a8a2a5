"""Builders: manifests made from what people already have. No torch, no Ray.

* `from_batch_json`: the batch file of Cosmos-Predict2's example, a list of {input_video, prompt, output_video};
* `from_multiview_json`: Cosmos-Predict2.5's form, one object a clip that names a file for each camera;
* `from_folder`: a folder of clips.

All write one Parquet file, in the order found, and return the number of rows. Inputs that lie below the manifest's own
folder are written as relative references, so that the two can move together; the others as absolute ones. Captions are
read now, inputs are only named: whether they can be read is for `cosmos-ray plan` to say. Everything wrong is a
`ManifestError` that names the item; nothing is left out silently.
"""

from __future__ import annotations

import io
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.rows import check_id
from cosmos_ray.store.storage import (
    Storage,
    filesystem_of,
    normalise_uri,
    parent_uri,
    read_bytes,
    resolve_reference,
    scheme_of,
)

EMBEDDING_SUFFIXES = (".pt", ".safetensors", ".npy", ".pkl")

#: Names that other Cosmos releases use for our columns.
_ALIASES = {"name": "id", "input_path": "input_video", "prompt_path": "prompt"}

#: Conditioning of Cosmos-Predict2.5, by name or in latent frames, as pixel frames.
_INFERENCE_TYPES = {"text2world": 0, "image2world": 1, "video2world": 5}
_LATENT_TO_PIXEL_FRAMES = {0: 0, 1: 1, 2: 5}

_PARAMETERS = (
    "num_conditional_frames",
    "negative_prompt",
    "guidance",
    "seed",
    "num_steps",
    "n_views",
    "fps",
    "num_samples",
)
_COLUMN_ORDER = ("id", "prompt", "prompt_embedding", "input_video", "input_videos", *_PARAMETERS)


def from_batch_json(source: str, out: str, n_views: int = len(VIEWS), base: str | None = None) -> int:
    """Manifest of a batch file: a JSON list of objects, each with `input_video` and `prompt`.

    `prompt` is a caption, a list of captions, the path of a `.txt` (one line that is not empty captions view 0; exactly
    n_views of them caption a view each) or of an embedding (`.pt`, `.safetensors`, `.npy`, `.pkl`). The id is `id` or
    `name`, else the stem of `output_video`, else `output_{index}`. `input_path` and `prompt_path` stand for
    `input_video` and `prompt`. All other keys become columns.

    source, out: path or URI. base: folder that relative paths in the file start from (the file's own by default).
    """
    base = normalise_uri(base) if base else parent_uri(source)
    rows = []
    for index, item in enumerate(_json_list(source)):
        where = f"item {index} of {source}"
        row = _renamed(item, where)
        missing = [key for key in ("input_video", "prompt") if not row.get(key)]
        if missing:
            raise ManifestError(f"{where} has no {' and no '.join(f'`{key}`' for key in missing)}")
        output = row.pop("output_video", None)
        stem = posixpath.splitext(posixpath.basename(str(output)))[0] if output else f"output_{index}"
        row.setdefault("id", stem)
        row["input_video"] = _reference(row["input_video"], base, out, where)
        rows.append(_with_prompt(row, base, out, n_views, where))
    return _write(rows, out)


def from_multiview_json(sources: Sequence[str], out: str, n_views: int = len(VIEWS), base: str | None = None) -> int:
    """Manifest of files in Cosmos-Predict2.5's form, each an object or a list of objects.

    An object has `prompt` or `prompt_path`, a {"video_path": ...} under each camera's name, and how many frames to
    start from: `inference_type` (text2world, image2world, video2world) or `num_input_frames` (0, 1, 2, in latent
    frames). The id is `id` or `name`, else the file's stem (with the index appended where a file holds several).
    `base` as in `from_batch_json`. The cameras of a text2world object are ignored, as there; of all other keys, only
    our own parameters are taken over.
    """
    rows = []
    for source in sources:
        items = _json_list(source)
        stem = posixpath.splitext(posixpath.basename(source))[0]
        folder = normalise_uri(base) if base else parent_uri(source)
        for index, item in enumerate(items):
            where = f"item {index} of {source}" if len(items) > 1 else source
            row = _renamed(item, where)
            videos = {
                view: _reference(row[view]["video_path"], folder, out, where)
                for view in VIEWS
                if isinstance(row.get(view), dict) and row[view].get("video_path")
            }
            if not row.get("prompt"):
                raise ManifestError(f"{where} has no `prompt`")
            kept = {key: row[key] for key in ("id", "prompt", *_PARAMETERS) if row.get(key) is not None}
            kept.setdefault("id", f"{stem}_{index}" if len(items) > 1 else stem)
            kept |= _conditioning(row, where)
            if videos and kept.get("num_conditional_frames") != 0:
                kept["input_videos"] = _all_views(videos, n_views, where)
            rows.append(_with_prompt(kept, folder, out, n_views, where))
    return _write(rows, out)


def from_folder(folder: str, out: str, n_views: int = len(VIEWS)) -> int:
    """Manifest of a folder of clips, in either form or both:

    * a sub-folder a clip (its name is the id) with `caption.txt` (one line, or n_views), the input as `video.mp4`
      (views one after the other in time; it wins where both are there) or as one mp4 a camera (`view_of` says which),
      neither for a clip from text alone, and optionally `params.json` ({"seed": ..., "num_conditional_frames": ...});
    * `NAME.mp4` (views one after the other in time) beside `NAME.txt`.

    Hidden files and files of other kinds do not matter.
    """
    folder = normalise_uri(folder)
    files, folders = _listing(folder)
    rows = [_folder_clip(f"{folder}/{name}", name, out, n_views) for name in folders]
    videos = {name.removesuffix(".mp4") for name in files if name.endswith(".mp4")}
    captions = {name.removesuffix(".txt") for name in files if name.endswith(".txt")}
    for stem in sorted(videos | captions):
        if stem not in videos or stem not in captions:
            found, lacking = (".mp4", ".txt") if stem in videos else (".txt", ".mp4")
            raise ManifestError(f"{folder}/{stem}{found} has no {stem}{lacking} beside it")
        row = {"id": stem, "input_video": _reference(f"{stem}.mp4", folder, out, stem)}
        rows.append(row | {"prompt": _captions(f"{folder}/{stem}.txt", n_views)})
    if not rows:
        raise ManifestError(f"{folder} holds no clips: expected sub-folders with a caption.txt, or NAME.mp4 + NAME.txt")
    return _write(rows, out)


def view_of(name: str) -> str:
    """The view that a camera's name means: the one name of VIEWS that it contains as whole words.

    So `camera_cross_left_120fov`, `ftheta_camera_cross_left_120fov` and `drive-7_cross-left` are `cross_left`. `rear`
    counts where no longer name fits, so `camera_rear_tele_30fov` is `rear`. Raises ManifestError for none or several.
    """
    words = re.sub(r"[^a-z0-9]+", "_", name.lower())
    fitting = [view for view in VIEWS if f"_{view}_" in f"_{words}_"]
    if len(fitting) > 1 and "rear" in fitting:
        fitting.remove("rear")  # every rear_left contains it
    if len(fitting) != 1:
        raise ManifestError(
            f"camera name {name!r}: found {fitting or 'no view'} in it, expected one of {', '.join(VIEWS)}"
        )
    return fitting[0]


def _folder_clip(folder: str, name: str, out: str, n_views: int) -> dict[str, Any]:
    """One sub-folder's row."""
    files, _ = _listing(folder)
    if "caption.txt" not in files:
        raise ManifestError(f"{folder} has no caption.txt")
    row: dict[str, Any] = {"id": name, "prompt": _captions(f"{folder}/caption.txt", n_views)}
    videos = [file for file in files if file.endswith(".mp4")]
    if "video.mp4" in videos:
        row["input_video"] = _reference("video.mp4", folder, out, folder)
    elif videos:
        cameras: dict[str, str] = {}
        for file in videos:
            view = view_of(file.removesuffix(".mp4"))
            if view in cameras:
                raise ManifestError(f"{folder}: two files for the view {view}, {cameras[view]} and {file}")
            cameras[view] = file
        references = {view: _reference(file, folder, out, folder) for view, file in cameras.items()}
        row["input_videos"] = _all_views(references, n_views, folder)
    if "params.json" in files:
        parameters = _json(f"{folder}/params.json")
        if not isinstance(parameters, dict) or set(parameters) - set(_PARAMETERS):
            raise ManifestError(f"{folder}/params.json: found {parameters!r}, expected keys {', '.join(_PARAMETERS)}")
        row |= parameters
    return row


def _renamed(item: Any, where: str) -> dict[str, Any]:
    """The item with our names for its keys."""
    if not isinstance(item, dict):
        raise ManifestError(f"{where}: found {type(item).__name__}, expected an object")
    row = {key: value for key, value in item.items() if key not in _ALIASES}
    for alias, column in _ALIASES.items():
        if item.get(alias) is not None:
            if row.get(column) is not None:
                raise ManifestError(f"{where} has both `{column}` and `{alias}`, which mean the same")
            row[column] = item[alias]
    return row


def _conditioning(row: Mapping[str, Any], where: str) -> dict[str, int]:
    """`num_conditional_frames` from Cosmos-Predict2.5's own words for it, if the object has them."""
    for key, meanings in (("inference_type", _INFERENCE_TYPES), ("num_input_frames", _LATENT_TO_PIXEL_FRAMES)):
        if (found := row.get(key)) is not None:
            if not isinstance(found, (str, int)) or found not in meanings:
                raise ManifestError(f"{where}: `{key}` is {found!r}, expected one of {list(meanings)}")
            return {"num_conditional_frames": meanings[found]}  # type: ignore[index]
    return {}


def _with_prompt(row: dict[str, Any], base: str, out: str, n_views: int, where: str) -> dict[str, Any]:
    """The row with its prompt read from a `.txt`, or moved to `prompt_embedding`."""
    prompt = row["prompt"]
    if isinstance(prompt, str) and prompt.endswith(".txt"):
        return row | {"prompt": _captions(_absolute(prompt, base, where), n_views)}
    if isinstance(prompt, str) and prompt.endswith(EMBEDDING_SUFFIXES):
        return {**row, "prompt": None, "prompt_embedding": _reference(prompt, base, out, where)}
    if not isinstance(prompt, str) and not (isinstance(prompt, list) and all(isinstance(part, str) for part in prompt)):
        raise ManifestError(f"{where}: `prompt` is {prompt!r}, expected a string or a list of strings")
    return row


def _captions(uri: str, n_views: int) -> str | list[str]:
    """One caption, or one a view, of a text file."""
    lines = [line.strip() for line in _read_text(uri).splitlines() if line.strip()]
    if len(lines) not in (1, n_views):
        raise ManifestError(f"{uri}: found {len(lines)} lines that are not empty, expected 1 or {n_views}, one a view")
    return lines[0] if len(lines) == 1 else lines


def _all_views(videos: Mapping[str, str], n_views: int, where: str) -> dict[str, str]:
    """The first n_views views in order. Raises ManifestError if the cameras are not exactly these."""
    expected = VIEWS[:n_views]
    missing, surplus = [view for view in expected if view not in videos], sorted(set(videos) - set(expected))
    if missing or surplus:
        raise ManifestError(
            f"{where}: found videos of {', '.join(sorted(videos))}; missing {', '.join(missing) or 'none'}, "
            f"not wanted {', '.join(surplus) or 'none'}"
        )
    return {view: videos[view] for view in expected}


def _absolute(path: Any, base: str, where: str) -> str:
    """The absolute URI of a path that a file in `base` names. On a local disk it may climb with `..`."""
    if not isinstance(path, str) or not path:
        raise ManifestError(f"{where}: found {path!r}, expected a path or URI")
    local = scheme_of(base) == "file" and scheme_of(path) == "file"
    try:
        if local and not path.startswith(("/", "file://")):
            return normalise_uri(f"{base}/{path}")
        return resolve_reference(path, base)
    except ValueError as error:
        raise ManifestError(f"{where}: {path!r} is {error}") from None


def _reference(path: Any, base: str, out: str, where: str) -> str:
    """How the manifest `out` names an input: relative to its own folder if the input lies below it, else absolute."""
    uri, folder = _absolute(path, base, where), parent_uri(out)
    if uri.startswith(folder.rstrip("/") + "/"):
        return uri[len(folder.rstrip("/")) + 1 :]
    if scheme_of(uri) == "file" and scheme_of(folder) != "file":
        raise ManifestError(f"{where}: {uri} is a local file, which a manifest at {out} cannot name: upload it first")
    return uri


def _listing(folder: str) -> tuple[list[str], list[str]]:
    """Names of (files, folders) directly in `folder`, sorted, without hidden ones."""
    fs, path = filesystem_of(folder)
    try:
        found = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        raise ManifestError(f"there is no folder {folder}") from None
    named = [(posixpath.basename(entry["name"].rstrip("/")), entry["type"]) for entry in found]
    shown = sorted((name, kind) for name, kind in named if name and not name.startswith("."))
    return [name for name, kind in shown if kind == "file"], [name for name, kind in shown if kind == "directory"]


def _read_text(uri: str) -> str:
    try:
        return read_bytes(uri).decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{uri} cannot be read: {type(error).__name__}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{uri} is no UTF-8 text: {error.reason} at byte {error.start}") from error


def _json(uri: str) -> Any:
    try:
        return json.loads(_read_text(uri))
    except json.JSONDecodeError as error:
        raise ManifestError(f"{uri} is no JSON: {error}") from error


def _json_list(uri: str) -> list[Any]:
    """The items of a JSON list; one object counts as a list of one."""
    found = _json(uri)
    items = [found] if isinstance(found, dict) else found
    if not isinstance(items, list) or not items:
        raise ManifestError(f"{uri}: found {type(found).__name__}, expected a list of objects that is not empty")
    return items


def _write(rows: list[dict[str, Any]], out: str) -> int:
    """Write the rows as Parquet, ids checked; columns in the order of the manifest's documentation."""
    seen: dict[str, int] = {}
    for index, row in enumerate(rows):
        row_id = check_id(row["id"])
        if row_id in seen:
            raise ManifestError(f"rows {seen[row_id]} and {index} both have the id {row_id!r}")
        seen[row_id] = index
    if any(isinstance(row.get("prompt"), list) for row in rows):  # a column has one type: a list of one is a string
        for row in rows:
            row["prompt"] = [row["prompt"]] if isinstance(row.get("prompt"), str) else row.get("prompt")
    present = {key for row in rows for key, value in row.items() if value is not None}
    columns = [name for name in _COLUMN_ORDER if name in present] + sorted(present - set(_COLUMN_ORDER))
    table = {}
    for name in columns:
        try:
            table[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ManifestError(f"column `{name}` has values of different types: {error}") from error
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer)
    name = posixpath.basename(normalise_uri(out))
    Storage(parent_uri(out)).write(name, buffer.getvalue())
    return len(rows)
