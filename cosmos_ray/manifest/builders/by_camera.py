"""A folder a camera, with a file a clip in each: RDS-HQ, what Cosmos is post-trained on, PhysicalAI-AV, our own export.

videos/CAMERA/CLIP.mp4      or CAMERA/CLIP.mp4, or camera/CAMERA/CLIP.CAMERA.mp4
captions/CAMERA/CLIP.json   {"caption": ...}
metas/CAMERA/CLIP.txt       the caption alone
columns/CLIP.json           of our own export: {"columns": what its manifest carried, ...}
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.foreign import shown_value
from cosmos_ray.manifest.builders.caption_files import Captions, by_view
from cosmos_ray.manifest.builders.notes import UNUSED, Built, Notes
from cosmos_ray.manifest.builders.pictures import check_frames
from cosmos_ray.manifest.builders.rig import Rig, check_alike, in_order, rig_of
from cosmos_ray.manifest.builders.sources import (
    MAX_CAPTION_BYTES,
    VIDEOS,
    Folder,
    list_folder,
    read_json,
    read_text,
    stem_of,
    suffix_of,
)
from cosmos_ray.manifest.builders.writing import Draft, references, write
from cosmos_ray.manifest.columns import COLUMNS
from cosmos_ray.manifest.rows import ID_PATTERN
from cosmos_ray.manifest.unknown_cameras import Unknown
from cosmos_ray.store.places import place_of
from cosmos_ray.store.uris import normalise_uri

_HOMES = ("videos", "camera")
_PACKED = (".zip", ".tar", ".tgz", ".gz", ".7z")
_CAPTIONS = {"captions": ".json", "metas": ".txt"}
#: Of our own export: what the index says of each clip.
_COLUMNS = "columns"
#: By clip, then by view.
_ByClip = dict[str, dict[str, str]]


@dataclass(frozen=True)
class _LaidOut:
    """What such a folder holds. videos: URIs, at least one clip's. carried: names of our own export's files of columns,
    `CLIP.json`."""

    top: Folder
    videos: _ByClip
    captions: _ByClip
    carried: frozenset[str]


@dataclass(frozen=True)
class _Asked:
    """Of all clips alike. columns: that every row has. named: how the manifest names a video, from (URI, where)."""

    rig: Rig
    captions: Captions
    columns: Mapping[str, object]
    named: Callable[[str, str], str]


def from_rds_hq(
    folder: str,
    out: str,
    *,
    rig: Rig | None = None,
    captions: Captions | None = None,
    fps: int | None = None,
    frames: int | None = None,
    base: str | None = None,
) -> Built:
    """Manifest of such a folder: our own export of this format, RDS-HQ's layout, or one of the same kind.

    The id is the file's stem (CLIP_CHUNK, as it is named there). A clip that has a caption for its first view only has
    it as a string; one that has others, as a list, "" for the views without. Control videos, embeddings, poses and maps
    are not used, which is a warning. fps: of the clips. frames: how many of each camera a clip starts from, 1 or 5.
    base: where the folder lies for the job, if not here.
    """
    rig, notes, given = rig or rig_of("rds-hq"), Notes(), captions or Captions()
    check_frames(frames)
    laid = _laid_out(list_folder(normalise_uri(folder)), out, rig, given, notes)
    if rig.asked is None:
        check_alike(laid.videos.items(), notes)
    asked = _Asked(rig, given, {"fps": fps, "num_conditional_frames": frames}, references(laid.top.uri, base, out))
    drafts = [_draft(clip, laid, asked, notes) for clip in laid.videos]
    for clip in laid.captions:
        if clip not in laid.videos:
            notes.warn("captions without a clip", clip)
    given.warn_unused(notes)
    return write(drafts, out, notes, is_one_view=rig.is_one_view)


def _laid_out(top: Folder, out: str, rig: Rig, given: Captions, notes: Notes) -> _LaidOut:
    """Raises ManifestError if no clip is there. What nothing is made of is a warning, but for the manifest itself and
    a file of captions, which may lie among the clips."""
    home = next((list_folder(top.uri_of(name)) for name in _HOMES if name in top.folders), top)
    cameras = _cameras(home, rig, strict=home is not top)
    for name in (*top.folders, *top.files):
        ours = place_of(top.uri_of(name)) == place_of(out) or given.is_file(top.uri_of(name))
        if name not in (*_CAPTIONS, _COLUMNS) and top.uri_of(name) not in (home.uri, *cameras.values()) and not ours:
            notes.warn(UNUSED, name)
    videos = _videos(cameras, notes)
    if not videos:
        packed = next((uri for camera in cameras.values() for uri in _archives(camera)), None)
        way = f"; {packed} is an archive: unpack it first" if packed else ""
        raise ManifestError(f"{top.uri} holds no clips: expected CAMERA/CLIP.mp4 in it, or in its folder videos{way}")
    told = _captions(top, rig, notes)
    carried = frozenset(list_folder(top.uri_of(_COLUMNS)).files) if _COLUMNS in top.folders else frozenset[str]()
    for name in sorted(carried - {f"{clip}.json" for clip in videos}):
        notes.warn(UNUSED, f"{_COLUMNS}/{name}")
    return _LaidOut(top, videos, told, carried)


def _draft(clip: str, laid: _LaidOut, asked: _Asked, notes: Notes) -> Draft:
    """Raises ManifestError for captions and cameras that do not fit."""
    where = f"clip {clip} of {laid.top.uri}"
    row: dict[str, object] = {"id": _id_of(clip), **asked.columns}
    views = asked.rig.views_of(row, laid.videos[clip], where) or VIEWS
    own = _own_captions(laid.captions.get(clip, {}), views, where, notes)
    row["prompt"] = asked.captions.of(clip, own, views, asked.rig, where)
    chosen = in_order(laid.videos[clip], views, where, notes)
    row |= asked.rig.as_inputs({view: asked.named(uri, where) for view, uri in chosen.items()})
    if f"{clip}.json" in laid.carried:
        row |= _carried(f"{laid.top.uri_of(_COLUMNS)}/{clip}.json")
    return Draft(where, row)


def _own_captions(told: Mapping[str, str], views: tuple[str, ...], where: str, notes: Notes) -> str | list[str] | None:
    """As a row has them; None if none of the clip's cameras has one."""
    own = {view: told[view] for view in views if view in told}
    if surplus := sorted(set(told) - set(views)):
        notes.warn("captions of cameras that are not made", f"{where}: {surplus[0]}")
    if own and views[0] not in own:
        notes.warn("clips with a caption for other views than the first only", where)
    return by_view(own, views) if own else None


def _id_of(clip: str) -> str:
    """The file's stem; without the `_0` of our own export where that makes too long an id of a long one."""
    return clip if ID_PATTERN.fullmatch(clip) else clip.removesuffix("_0")


def is_by_camera(top: Folder, rig: Rig) -> bool:
    """Whether a folder is laid out so, and not a folder a clip."""
    if rig.names.one == "any":
        return False
    if any(name in top.folders for name in _HOMES) and _is_cameras(
        list_folder(top.uri_of(next(name for name in _HOMES if name in top.folders))), rig
    ):
        return True
    return _is_cameras(top, rig)


def _is_cameras(folder: Folder, rig: Rig) -> bool:
    try:
        cameras = _cameras(folder, rig, strict=True)
    except ManifestError:
        return False
    return bool(cameras) and not any("caption.txt" in list_folder(uri).files for uri in cameras.values())


def _cameras(home: Folder, rig: Rig, strict: bool) -> dict[str, str]:
    """URI of the folder of each view. strict: raises ManifestError for folders that are no camera's."""
    found: dict[str, str] = {}
    unknown = Unknown(rig.names)
    named = {name: unknown.view_of(name, home.uri_of(name)) for name in home.folders}
    if strict:
        unknown.check()
    for name, view in named.items():
        if view is not None and view in found:
            raise ManifestError(f"{home.uri}: two folders for the view {view}, {stem_of(found[view])} and {name}")
        if view is not None:
            found[view] = home.uri_of(name)
    return found


def _videos(cameras: dict[str, str], notes: Notes) -> _ByClip:
    """URIs of videos, in order of the clips' ids."""
    found: _ByClip = {}
    for view, uri in cameras.items():
        for video in _videos_of(uri, notes):
            clip = stem_of(video).removesuffix(f".{posixpath.basename(uri)}")
            if view in found.setdefault(clip, {}):
                raise ManifestError(f"clip {clip}: two videos, {found[clip][view]} and {video}")
            found[clip][view] = video
    return dict(sorted(found.items()))


def _videos_of(camera: str, notes: Notes) -> Iterator[str]:
    for folder in _with_folders(camera):
        folder.check_media()
        yield from _of_kind(folder, VIDEOS, notes)


def _of_kind(folder: Folder, suffixes: Collection[str], notes: Notes) -> Iterator[str]:
    """URIs of the folder's files that end so; the others are warned of."""
    for name in folder.files:
        if suffix_of(name) in suffixes:
            yield folder.uri_of(name)
        else:
            notes.warn(UNUSED, folder.uri_of(name))


def _with_folders(uri: str) -> Iterator[Folder]:
    """A camera's folder and those in it: PhysicalAI-AV comes in chunks."""
    folder = list_folder(uri)
    yield folder
    for name in folder.folders:
        yield list_folder(folder.uri_of(name))


def _archives(camera: str) -> Iterator[str]:
    for folder in _with_folders(camera):
        yield from (folder.uri_of(name) for name in folder.files if suffix_of(name) in _PACKED)


def _carried(uri: str) -> dict[str, object]:
    """What the manifest of an exported clip carried and no clip is made from."""
    found = read_json(uri)
    columns = found.get("columns") if isinstance(found, dict) else None
    if not isinstance(columns, dict):
        raise ManifestError(f'{uri}: found {shown_value(found)}, expected {{"columns": {{...}}}}')
    return {name: value for name, value in columns.items() if name not in COLUMNS}


def _captions(top: Folder, rig: Rig, notes: Notes) -> _ByClip:
    found: _ByClip = {}
    for home, suffix in _CAPTIONS.items():
        if home not in top.folders:
            continue
        told = list_folder(top.uri_of(home))
        for name in told.files:
            notes.warn(UNUSED, told.uri_of(name))
        for view, uri in _cameras(told, rig, strict=True).items():
            for caption in _of_kind(list_folder(uri), (suffix,), notes):
                text = _caption(caption)
                if found.setdefault(stem_of(caption), {}).setdefault(view, text) != text:
                    notes.warn("captions in metas that differ from those in captions, which count", caption)
    return found


def _caption(uri: str) -> str:
    if suffix_of(uri) == ".txt":
        return read_text(uri, MAX_CAPTION_BYTES).strip()
    found = read_json(uri)
    text = found.get("caption") if isinstance(found, dict) else None
    if not isinstance(text, str):
        raise ManifestError(f'{uri}: found {shown_value(found)}, expected {{"caption": "..."}}')
    return text
