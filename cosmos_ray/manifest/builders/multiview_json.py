"""The JSON of Cosmos-Predict2.5's and -Transfer2.5's multiview examples: one object a clip that names a file for each
camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.foreign import shown_value
from cosmos_ray.manifest.builders.inference_specs import objects_of
from cosmos_ray.manifest.builders.notes import Built, Notes
from cosmos_ray.manifest.builders.rig import Rig, in_order, rig_of
from cosmos_ray.manifest.builders.sources import ANY_VIDEOS, read_json_list, stem_of, suffix_of
from cosmos_ray.manifest.builders.writing import PARAMETERS, Draft, reference, renamed, with_prompt, write
from cosmos_ray.manifest.names import INPUTS, near_column
from cosmos_ray.manifest.unknown_cameras import Unknown, UnknownCamerasError
from cosmos_ray.store.uris import normalise_uri, parent_uri

#: Conditioning in those releases' own words, by name or in latent frames, as pixel frames.
_INFERENCE_TYPES = {"text2world": 0, "image2world": 1, "video2world": 5}
_LATENT_TO_PIXEL_FRAMES = {0: 0, 1: 1, 2: 5}
_OF_A_CAMERA = ("video_path", "input_path")
#: NVIDIA's older name of a camera; anywhere else it could be either front camera.
_FRONT = {"front": "front_wide"}


def from_multiview_json(sources: Sequence[str], out: str, *, rig: Rig | None = None, base: str | None = None) -> Built:
    """Manifest of files in that form, each an object or a list of objects.

    An object has `prompt` or `prompt_path`, a {"video_path": ...} or {"input_path": ...} under each camera's name,
    and how many frames to start from: `inference_type` (text2world, image2world, video2world), `num_input_frames` (0,
    1, 2, in latent frames) or `num_conditional_frames`. The id is `id` or `name`, else the file's stem (with the
    index appended where a file holds several). Cameras' `control_path`, if all have one, become `control_videos`;
    with `enable_autoregressive` the clip has `num_chunks` chunks (2). Of all other keys our own parameters are taken
    over; the rest is not used, which is a warning. So are the cameras of a text2world object, as there. `.jsonl` and
    `.yaml` files are read too.

    base: folder that relative paths in the files start from (each file's own by default).
    """
    rig, notes = rig or rig_of(), Notes()
    drafts = []
    for source in sources:
        items = read_json_list(source) if suffix_of(source) == ".json" else objects_of(source)
        folder = normalise_uri(base) if base else parent_uri(source)
        for index, item in enumerate(items):
            where = f"item {index} of {source}" if len(items) > 1 else source
            row = renamed(item, where)
            row.setdefault("id", f"{stem_of(source)}_{index}" if len(items) > 1 else stem_of(source))
            drafts.append(Draft(where, _row(row, folder, out, rig, where, notes)))
    return write(drafts, out, notes, is_one_view=rig.is_one_view)


def is_camera_object(found: Any) -> bool:
    """Whether this is how such a file names a camera's video."""
    return isinstance(found, Mapping) and any(key in found for key in _OF_A_CAMERA)


def _row(item: dict[str, Any], folder: str, out: str, rig: Rig, where: str, notes: Notes) -> dict[str, Any]:
    if given := [name for name in INPUTS if item.get(name) is not None]:
        raise ManifestError(
            f"{where} has `{given[0]}`, expected a file under each camera's name: "
            "`cosmos-ray manifest from-batch-json` reads that"
        )
    if not item.get("prompt"):
        raise ManifestError(f"{where} has no `prompt`")
    row = {key: item[key] for key in ("id", "prompt", *PARAMETERS) if item.get(key) is not None}
    row |= _conditioning(item, where) | _chunks(item)
    named, videos, controls = _cameras(item, rig, where, notes)
    for key in item:
        if key in ("id", "prompt", *PARAMETERS, "inference_type", "num_input_frames", "enable_autoregressive", *named):
            continue
        if (near := near_column(key, item)) is not None:
            raise ManifestError(f"{where}: `{key}` is no key of a spec, `{near}` is, which it nearly is")
        notes.warn("keys of a spec that are not used", f"`{key}` of {where}")
    used = bool(videos) and row.get("num_conditional_frames") != 0
    if videos and not used:
        notes.warn("clips from text alone, whose cameras' files are not used", where)
    is_used = used or bool(controls)
    views = rig.views_of(row, {view for view in named.values() if view} if is_used else (), where)
    if used:
        chosen = in_order(videos, views or VIEWS, where, notes)
        row |= rig.as_inputs({view: reference(path, folder, out, where) for view, path in chosen.items()})
    if controls:
        chosen = in_order(controls, views or VIEWS, where, notes, "control videos")
        row["control_videos"] = {view: reference(path, folder, out, where) for view, path in chosen.items()}
    return with_prompt(row, folder, out, len(views or VIEWS), where)


def _chunks(item: Mapping[str, Any]) -> dict[str, Any]:
    """`num_chunks` of a longer video, in those releases' words or ours."""
    if "enable_autoregressive" not in item:
        return {}
    if not item["enable_autoregressive"]:
        return {"num_chunks": None, "chunk_overlap": None}
    return {"num_chunks": item.get("num_chunks", 2)}


def _cameras(
    item: dict[str, Any], rig: Rig, where: str, notes: Notes
) -> tuple[dict[str, str | None], dict[str, Any], dict[str, Any]]:
    """(view by key, of every key that names a camera; path by view, of those that name a file; of control files)."""
    controls: dict[str, Any] = {}
    keys: list[str] = []
    named: dict[str, str | None] = {}
    videos: dict[str, Any] = {}
    unknown = Unknown(rig.names)
    for key, found in item.items():
        if not (is_camera_object(found) or (_names_a_file(found) and _is_camera(key, rig))):
            continue
        view = _view_of(key, unknown, where)
        if view is not None and view in named.values():
            first = next(name for name in named if named[name] == view)
            raise ManifestError(f"{where}: two cameras for the view {view}, `{first}` and `{key}`")
        named[key] = view
        path = _path(found, f"{where}: `{key}`", notes)
        if view is None:
            notes.warn("cameras that are not used", f"`{key}` of {where}")
        else:
            if path is not None:
                videos[view] = path
            if isinstance(found, Mapping) and found.get("control_path"):
                controls[view] = found["control_path"]
                keys.append(key)
    unknown.check()
    if any(view not in controls for view in named.values() if view):
        for key in keys:
            notes.warn("cameras' `control_path`, which is not used", f"{where}: `{key}`")
        controls = {}
    return named, videos, controls


def _names_a_file(found: Any) -> bool:
    """Whether a camera's key says a file, however: a text about a camera (`rear_caption`) says none."""
    return isinstance(found, Mapping | list) or (isinstance(found, str) and suffix_of(found) in ANY_VIDEOS)


def _is_camera(key: str, rig: Rig) -> bool:
    if rig.is_one_view:  # which has a view for any name, or none for most
        return rig.names.is_told(key)
    unknown = Unknown(rig.names)
    _view_of(key, unknown, "")
    return not unknown.found


def _view_of(key: str, unknown: Unknown, where: str) -> str | None:
    """None for a camera that is not used, and for one that `unknown` gathers."""
    try:
        return unknown.names.view_of(key)
    except UnknownCamerasError:
        return _FRONT[key] if key in _FRONT else unknown.view_of(key, where)


def _path(found: Any, where: str, notes: Notes) -> Any:
    """The file of a camera; None if it names none."""
    if isinstance(found, str):
        return found
    if not isinstance(found, Mapping):
        raise ManifestError(f'{where}: found {found!r}, expected one file, such as {{"video_path": ...}}')
    paths = [found[key] for key in _OF_A_CAMERA if found.get(key)]
    if len(paths) > 1 and paths[0] != paths[1]:
        raise ManifestError(f"{where} has both `video_path` and `input_path`, expected one of them")
    for key, value in found.items():
        if key in (*_OF_A_CAMERA, "control_path") or value is None:
            continue
        if not paths and isinstance(value, str) and suffix_of(value) in ANY_VIDEOS:
            raise ManifestError(f"{where}: found a video under `{key}`, expected it under `video_path` or `input_path`")
        notes.warn(f"cameras' `{key}`, which is not used", where)
    if not paths and not found.get("control_path"):
        notes.warn("cameras that name no file", where)
    return paths[0] if paths else None


def _conditioning(item: Mapping[str, Any], where: str) -> dict[str, int]:
    """`num_conditional_frames` from those releases' own words for it, if the object has them."""
    said = {}
    for key, meanings in (("inference_type", _INFERENCE_TYPES), ("num_input_frames", _LATENT_TO_PIXEL_FRAMES)):
        if (found := item.get(key)) is not None:
            if isinstance(found, bool) or not isinstance(found, (str, int)) or found not in meanings:
                raise ManifestError(f"{where}: `{key}` is {found!r}, expected one of {list(meanings)}")
            said[key] = meanings[found]  # type: ignore[index]
    if (frames := item.get("num_conditional_frames")) is not None:
        if isinstance(frames, list | dict):
            raise ManifestError(f"{where}: `num_conditional_frames` is {shown_value(frames)}, expected an integer")
        said["num_conditional_frames"] = frames
    if len(set(said.values())) > 1:
        raise ManifestError(f"{where}: {', '.join(f'`{key}` means {frames}' for key, frames in said.items())} frames")
    return {"num_conditional_frames": next(iter(said.values()))} if said else {}
