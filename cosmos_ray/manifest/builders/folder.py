"""A folder of clips."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cosmos_ray.clip.family import PREDICT2, VIDEO2WORLD
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import ManifestError
from cosmos_ray.foreign import shown_value
from cosmos_ray.manifest.builders.by_camera import from_rds_hq, is_by_camera
from cosmos_ray.manifest.builders.caption_files import Captions
from cosmos_ray.manifest.builders.clip_files import ClipFiles
from cosmos_ray.manifest.builders.flat import clips_beside
from cosmos_ray.manifest.builders.notes import UNUSED, Built, Notes
from cosmos_ray.manifest.builders.pictures import MOST, check_frames, last_pictures
from cosmos_ray.manifest.builders.rig import Rig, check_alike, in_order, rig_of
from cosmos_ray.manifest.builders.sources import (
    MEDIA,
    PICTURES,
    VIDEOS,
    Folder,
    list_folder,
    read_json,
    stem_of,
)
from cosmos_ray.manifest.builders.windows import Windows, cut_pictures
from cosmos_ray.manifest.builders.writing import PARAMETERS, Draft, references, with_references, write
from cosmos_ray.manifest.rows import check_id
from cosmos_ray.manifest.unknown_cameras import Unknown
from cosmos_ray.store.uris import normalise_uri

#: Of unknown cameras, in the way out.
_LISTED = 12
#: Where the cameras of a clip may lie in its folder: Argoverse 2, PhysicalAI-AV's own tool, many fleets.
_INSIDE = ("sensors/cameras", "camera", "cameras")
#: Of pictures that are named by time, where nothing else is said.
_FPS, _FPS_OF_ONE_VIEW = PREDICT2.fps, VIDEO2WORLD.fps


def from_folder(
    folder: str,
    out: str,
    *,
    rig: Rig | None = None,
    captions: Captions | None = None,
    fps: int | None = None,
    frames: int | None = None,
    windows: Windows | None = None,
    base: str | None = None,
) -> Built:
    """Manifest of a folder of clips, in any of these forms:

    * a sub-folder a clip (its name is the id) with `caption.txt` (one line, or one a view), the input as `video.mp4`
      (views one after the other in time; it wins where both are there), as one video a camera (`rear.mp4`), as a folder
      of pictures a camera (`rear/0001.jpg`) or as pictures that name their camera (`rear_0001.jpg`); neither for a clip
      from text alone; optionally `params.json` ({"seed": ..., "num_conditional_frames": ...});
    * `NAME.mp4` (views one after the other in time), or `NAME.CAMERA.mp4` or `NAME_CAMERA.mp4` for each camera, beside
      `NAME.txt`, as `flat` reads them;
    * a folder a camera, as `by_camera` reads it.

    Of a rig of one view, `NAME.mp4` or a picture, beside `NAME.txt` or that alone, is a clip, and so is a sub-folder
    with one video or with pictures of any name, and a `caption.txt`.

    Videos are .mp4, .mov or .m4v, pictures .jpg, .jpeg or .png, in any case. Hidden files and folders do not count;
    every other one is used, an error, or a warning. captions: instead of caption.txt. fps: of the clips, and so of the
    pictures that are taken. frames: how many of each camera a clip with inputs starts from, 1 or 5, if it does not say
    so. windows: a clip's one video is one camera's, of which seven are cut. base: where the folder lies for the job, if
    not here: its files are named there.
    """
    rig, notes, given = rig or rig_of(), Notes(), captions or Captions()
    if windows is not None and rig.is_one_view:
        raise ManifestError("--windows: it cuts seven cameras out of a video, and a model of one view has none")
    check_frames(frames)
    top = list_folder(normalise_uri(folder))
    if is_by_camera(top, rig):
        if windows is not None:
            raise ManifestError(f"--windows: found a folder a camera in {top.uri}, expected clips of one video")
        return from_rds_hq(folder, out, rig=rig, captions=captions, fps=fps, frames=frames, base=base)
    unknown = Unknown(rig.names)
    found = [
        _sub_folder(list_folder(top.uri_of(name)), name, unknown, notes, windows is not None) for name in top.folders
    ]
    unknown.check(_way_out(unknown.found))
    clips = [clip for clip in found if clip.says_something or clip.id in given.by_id]
    for clip in found:
        if clip not in clips:
            notes.warn("folders without a video, a picture or a caption, which are no clips", clip.id)
    clips += clips_beside(top, out, rig, given, notes)
    if not clips:
        raise ManifestError(
            f"{top.uri} holds no clips: expected sub-folders with a caption.txt, NAME.mp4 + NAME.txt or CAMERA/CLIP.mp4"
        )
    if rig.asked is None:
        undecided = [clip for clip in clips if not {"views", "n_views"} & set(clip.parameters)]
        check_alike((clip.where, clip.found) for clip in undecided)
    asked = _Asked(rig, given, fps, frames, windows, out, references(top.uri, base, out))
    drafts = [_draft(clip, asked, notes) for clip in clips]
    given.warn_unused(notes)
    return write(drafts, out, notes, is_one_view=rig.is_one_view)


@dataclass(frozen=True)
class _Asked:
    """Of all clips alike. fps, frames: None for what a clip says itself. named: how the manifest `out` names a file,
    from (URI, where)."""

    rig: Rig
    captions: Captions
    fps: int | None
    frames: int | None
    windows: Windows | None
    out: str
    named: Callable[[str, str], str]


def _draft(clip: ClipFiles, asked: _Asked, notes: Notes) -> Draft:
    row: dict[str, Any] = {"id": clip.id, **clip.parameters}
    if asked.fps is not None:
        row.setdefault("fps", asked.fps)
    if asked.frames is not None and clip.has_input:
        row.setdefault("num_conditional_frames", asked.frames)
    if asked.windows is not None and clip.found:
        notes.warn("clips with files of several cameras, of which no windows are cut", clip.id)
    views = asked.rig.views_of(row, clip.found, clip.where) or VIEWS
    row["prompt"] = asked.captions.of(clip.id, clip.captions(views), views, asked.rig, clip.where, "caption.txt")
    if clip.video and asked.windows is not None:
        pictures = cut_pictures(clip.video, check_id(clip.id), views, _fps(row, _FPS), asked.windows)
        row.setdefault("num_conditional_frames", MOST)
        row |= with_references({"input_frames": pictures}, "", asked.out, clip.where)
    else:
        row |= _inputs(clip, views, _fps(row, _FPS_OF_ONE_VIEW if asked.rig.is_one_view else _FPS), asked, notes)
    return Draft(clip.where, row)


def _inputs(clip: ClipFiles, views: tuple[str, ...], fps: float, asked: _Asked, notes: Notes) -> dict[str, Any]:
    """The columns of what lies beside the caption: one video, or one a camera, or pictures; nothing for a clip from
    text alone."""
    if clip.video:
        return {"input_video": asked.named(clip.video, clip.where)}
    if clip.videos:
        chosen = in_order(clip.videos, views, clip.where, notes)
        return asked.rig.as_inputs({view: asked.named(uri, clip.where) for view, uri in chosen.items()})
    if clip.pictures:
        found = _pictures(clip, views, fps, notes)
        return {"input_frames": {view: [asked.named(uri, clip.where) for uri in uris] for view, uris in found.items()}}
    return {}


def _fps(row: Mapping[str, Any], usual: float) -> float:
    """At which pictures are taken; the usual one where the row says nothing, or what the manifest's check refuses."""
    said = row.get("fps")
    return said if isinstance(said, int | float) and 1 <= said <= 120 else usual


def _pictures(clip: ClipFiles, views: tuple[str, ...], fps: float, notes: Notes) -> dict[str, list[str]]:
    """URIs by view, in order of time."""
    cameras = in_order(clip.pictures, views, clip.where, notes, "pictures")
    names = {view: names for view, (_, names) in cameras.items()}
    taken = last_pictures(names, fps)
    counts = sorted({len(one) for one in names.values()})
    if len(counts) > 1 and all(taken[view] == names[view][-MOST:] for view in names):
        notes.warn(
            "clips whose cameras have different numbers of pictures, so that the last may be of different instants",
            f"{clip.where}: {', '.join(map(str, counts))}",
        )
    return {view: [f"{cameras[view][0]}/{name}" for name in taken[view]] for view in cameras}


def _sub_folder(folder: Folder, name: str, unknown: Unknown, notes: Notes, cuts_windows: bool) -> ClipFiles:
    """cuts_windows: a video that lies there alone, and has no camera's name, is the clip's one video."""
    clip = ClipFiles(name, folder.uri)
    folder.check_media()
    used = {file for file in (folder.named("caption.txt"), folder.named("params.json")) if file}
    if caption := folder.named("caption.txt"):
        clip.caption_file = folder.uri_of(caption)
    if parameters := folder.named("params.json"):
        clip.parameters = _parameters(folder.uri_of(parameters))
    videos = folder.of_kind(VIDEOS)
    is_whole = cuts_windows and len(videos) == 1 and _is_no_camera(stem_of(videos[0]), unknown)
    whole = videos if is_whole else [file for file in videos if stem_of(file).lower() == "video"]
    if len(whole) > 1:
        raise ManifestError(f"{folder.uri}: two files of all views, {' and '.join(whole)}")
    clip.video = folder.uri_of(whole[0]) if whole else None
    home, beside = _home(folder)
    home.check_media()
    used.update(whole, _videos(clip, home, unknown, notes), _loose_pictures(clip, home, unknown, notes))
    used.update(_picture_folders(clip, home, unknown, notes))
    if clip.videos and clip.pictures and not clip.video and not unknown.found:
        raise ManifestError(f"{folder.uri} has videos and pictures of its cameras, expected one kind")
    if clip.video and (clip.videos or clip.pictures):
        notes.warn("clips with a video of all views, whose cameras' own files are not used", name)
    for entry in (*beside, *home.files, *home.folders):
        if entry not in used:
            notes.warn(UNUSED, f"{name}/{entry}")
    return clip


def _is_no_camera(name: str, unknown: Unknown) -> bool:
    asked = Unknown(unknown.names)
    asked.view_of(name)
    return bool(asked.found)


def _home(folder: Folder) -> tuple[Folder, list[str]]:
    """Where the clip's cameras lie: in its folder, or in one of _INSIDE. And what lies beside the way there."""
    for path in _INSIDE:
        inside, beside, names = folder, [], path.split("/")
        for depth, name in enumerate(names):
            if name not in inside.folders:
                break
            above = "".join(f"{one}/" for one in names[:depth])
            beside += [f"{above}{one}" for one in (*inside.files, *inside.folders) if one != name]
            inside = list_folder(inside.uri_of(name))
        else:
            return inside, beside
    return folder, []


def _videos(clip: ClipFiles, home: Folder, unknown: Unknown, notes: Notes) -> list[str]:
    """Takes one video a camera into the clip; the names of the files."""
    others = [name for name in home.of_kind(VIDEOS) if home.uri_of(name) != clip.video]
    names = [name for name in others if stem_of(name).lower() != "video"]
    for name in names:
        view = _view_of(stem_of(name), clip, home, unknown)
        if view is None:
            notes.warn("cameras that are not used", f"{clip.id}/{name}")
        elif view in clip.videos:
            first = clip.videos[view].rpartition("/")[2]
            raise ManifestError(f"{home.uri}: two files for the view {view}, {first} and {name}")
        else:
            clip.videos[view] = home.uri_of(name)
    return names


def _loose_pictures(clip: ClipFiles, home: Folder, unknown: Unknown, notes: Notes) -> list[str]:
    """Takes pictures that name their camera themselves; the names of the files."""
    names = home.of_kind(PICTURES)
    for name in names:
        view = _view_of(stem_of(name).rstrip("0123456789_-."), clip, home, unknown)
        if view is None:
            notes.warn("cameras that are not used", f"{clip.id}/{name}")
        else:
            clip.pictures.setdefault(view, (home.uri, []))[1].append(name)
    return names


def _picture_folders(clip: ClipFiles, home: Folder, unknown: Unknown, notes: Notes) -> list[str]:
    """Takes folders of pictures, a camera each; the names of the folders that were looked at."""
    seen = []
    for name in home.folders:
        inside = list_folder(home.uri_of(name))
        pictures = inside.of_kind(PICTURES)
        if not inside.of_kind(MEDIA):
            continue
        seen.append(name)
        view = _view_of(name, clip, home, unknown)
        if view is None:
            notes.warn("cameras that are not used", f"{clip.id}/{name}")
            continue
        inside.check_media()
        if not pictures:
            raise ManifestError(f"{inside.uri} holds videos, expected pictures of one camera, or {name}.mp4 beside it")
        if view in clip.pictures:
            raise ManifestError(f"{home.uri}: pictures for the view {view} in several places, {name} is one")
        clip.pictures[view] = (inside.uri, pictures)
        for other in (*inside.files, *inside.folders):
            if other not in pictures:
                notes.warn(UNUSED, f"{clip.id}/{name}/{other}")
    return seen


def _view_of(name: str, clip: ClipFiles, home: Folder, unknown: Unknown) -> str | None:
    """None for a camera that is not used, and for one that `unknown` gathers: without the clip's id, since others have
    a camera of that name too."""
    short = name.removeprefix(clip.id).lstrip(" _-.")
    return unknown.view_of(name, home.uri, short)


def _way_out(unknown: Collection[str]) -> str:
    named = ",".join(f"{name}=VIEW" for name in list(unknown)[:_LISTED])
    which, none = ("which they are", "that one is") if len(unknown) > 1 else ("which it is", "that it is")
    return (
        f"; `--cameras {named}` says {which}, `NAME=` {none} none, and `video.mp4` is a video of all views, one after "
        "the other; `--cameras video` is for models of one view"
    )


def _parameters(uri: str) -> dict[str, Any]:
    found = read_json(uri)
    if not isinstance(found, dict) or set(found) - set(PARAMETERS):
        raise ManifestError(f"{uri}: found {shown_value(found)}, expected keys {', '.join(PARAMETERS)}")
    return found
