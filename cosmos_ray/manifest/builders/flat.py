"""Clips that are files of one folder: `NAME.mp4` with all views, or a file a camera, beside their captions.

`NAME.CAMERA.mp4` and `NAME_CAMERA.mp4` are one camera's of the clip NAME. So many videos end with a camera's name by
chance (`car_front.mp4`), and would be taken for all views, that the latter needs a sign: another camera of the same
clip, a caption `NAME.txt`, or `--cameras` with that name. Without one it is refused; and `NAME_CAMERA.txt` beside one
alone says that it has all views.

For models of one view a clip is one file, a video or a picture, or a caption alone.
"""

from __future__ import annotations

from collections import Counter

from cosmos_ray.errors import ManifestError
from cosmos_ray.manifest.builders.caption_files import Captions
from cosmos_ray.manifest.builders.clip_files import ClipFiles
from cosmos_ray.manifest.builders.notes import UNUSED, Notes
from cosmos_ray.manifest.builders.rig import Rig
from cosmos_ray.manifest.builders.sources import PICTURES, VIDEOS, Folder, stem_of
from cosmos_ray.store.places import place_of


def clips_beside(top: Folder, out: str, rig: Rig, given: Captions, notes: Notes) -> list[ClipFiles]:
    """Clips that are files of the folder itself. out: the manifest, which may lie there too. Raises ManifestError."""
    top.check_media()
    if top.named("caption.txt") and not top.named("caption.mp4"):
        raise ManifestError(
            f"{top.uri} holds a caption.txt, as one clip's folder does: give the folder that it lies in"
        )
    texts = {stem_of(name): name for name in top.of_kind((".txt",))}
    is_one_file = rig.names.one == "any"
    names = top.of_kind((*VIDEOS, *PICTURES) if is_one_file else VIDEOS)
    cameras = _cameras([stem_of(name) for name in names], texts, rig, given)
    clips: dict[str, ClipFiles] = {}
    for name in names:
        stem = stem_of(name)
        clip_id, view = cameras.get(stem, (stem, ""))
        if view is None:
            notes.warn("cameras that are not used", name)
            continue
        clip = clips.setdefault(clip_id, ClipFiles(clip_id, f"{top.uri}/{name}"))
        if clip.video or view in clip.videos or (clip.videos and not view):
            raise ManifestError(f"{top.uri}: two files for {view or 'the clip'} {clip_id}, {name} is one")
        if view:
            clip.videos[view] = top.uri_of(name)
            if stem in texts:
                clip.captions_by_view[view] = top.uri_of(texts[stem])
        else:
            clip.video = top.uri_of(name)
    if is_one_file:
        clips |= {stem: ClipFiles(stem, f"{top.uri}/{name}") for stem, name in texts.items() if stem not in clips}
    _give_captions(top, texts, cameras, clips)
    for clip in clips.values():
        _check(clip, rig, given)
    media = {*names, *texts.values()}
    for name in top.files:
        ours = place_of(top.uri_of(name)) == place_of(out) or given.is_file(top.uri_of(name))
        if name not in media and not ours:
            notes.warn(UNUSED, name)
    return [clips[clip_id] for clip_id in sorted(clips)]


def _cameras(stems: list[str], texts: dict[str, str], rig: Rig, given: Captions) -> dict[str, tuple[str, str | None]]:
    """(clip, view) of the files that are one camera's; a view of None is not used."""
    split = {stem: place for stem in stems if (place := rig.names.split(stem)) is not None}
    views = Counter(clip for clip, view in {place for place in split.values() if place[1]})
    found = {}
    for stem, (clip, view) in split.items():
        told = stem not in texts and (clip in texts or clip in given.by_id or rig.names.ends_with_told(stem))
        dotted = stem not in texts and stem.startswith(f"{clip}.")
        if told or dotted or views[clip] > 1:
            found[stem] = (clip, view)
    return found


def _give_captions(
    top: Folder, texts: dict[str, str], cameras: dict[str, tuple[str, str | None]], clips: dict[str, ClipFiles]
) -> None:
    for stem, name in texts.items():
        if stem in cameras:
            continue
        if stem not in clips:
            raise ManifestError(f"{top.uri}/{name} has no {stem}.mp4 beside it")
        if clips[stem].captions_by_view:
            raise ManifestError(f"{top.uri}: found {name} and captions of its cameras, expected one of them")
        clips[stem].caption_file = top.uri_of(name)


def _check(clip: ClipFiles, rig: Rig, given: Captions) -> None:
    if clip.has_caption or clip.id in given.by_id:
        return
    if clip.video and rig.names.ends_with_one(clip.id):
        raise ManifestError(
            f"{clip.where} is named like the video of one camera, and would be taken for all views, one after the "
            "other: expected CLIP.CAMERA.mp4, another camera of the same clip beside it, `--cameras` that names its "
            f"camera, a folder a clip with its cameras' videos in it, or {clip.id}.txt beside it if it has all views"
        )
    if given.text is None:
        raise ManifestError(f"{clip.where} has no {clip.id}.txt beside it, and no caption is given for it")
