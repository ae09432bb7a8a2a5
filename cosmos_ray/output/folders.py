"""Copies in folders: a video a view, and beside it what belongs to its clip (`rds-hq`), or tables (`lerobot.py`)."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Sequence

from cosmos_ray.clip.frames import inspect_video
from cosmos_ray.output.clip_copy import CAMERAS, Clip, Work, as_json, place_of
from cosmos_ray.output.copy_target import CopyTarget
from cosmos_ray.output.lerobot import FOLDERS, INFO, Episode, tables
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage


def put_clip(work: Work, target: CopyTarget, clip: Clip) -> bool:
    """Whether anything was to do."""
    clip_id = clip.facts["id"]
    if work.layout == "lerobot":
        videos = {place_of(work.layout, view, clip_id, clip.number): video for view, video in clip.videos.items()}
        return target.put(videos, clip.known)
    files = {sign_of(clip_id): as_json({"columns": {}, **clip.facts})}
    files |= {place_of(work.layout, view, clip_id, clip.number): video for view, video in clip.videos.items()}
    for view, caption in clip.captions.items():
        files[_caption(view, clip_id)] = json.dumps({"caption": caption}).encode()
        files[_text(view, clip_id)] = caption.encode()
    beside = [path for path in places_of(clip_id) if path not in files]
    return target.put(files, clip.known, beside, sign_of(clip_id))


def episode_of(clip: Clip) -> Episode:
    """A clip that was copied, with the size and the frames of its first video."""
    with scratch() as folder:
        path = folder / "first.mp4"
        path.write_bytes(next(iter(clip.videos.values())))
        info = inspect_video(path)
    task, facts = next(iter(clip.captions.values()), ""), clip.facts
    return Episode(
        clip.number, facts["id"], task, info.frames, info.height, info.width, facts["fps"], tuple(clip.videos)
    )


def put_tables(work: Work, target: CopyTarget, episodes: Sequence[Episode]) -> None:
    """All of a LeRobot data set but its videos, and nothing of another one; what says that it is whole comes last."""
    ours = {place_of("lerobot", view, one.clip_id, one.number) for one in episodes for view in one.views}
    for path, data in tables(episodes, work.columns):
        ours.add(path)
        if path == INFO:
            target.drop([there for name in FOLDERS for there in work.target.list(name) if there not in ours])
        target.put({path: data}, {})


def clips_in(target: Storage) -> set[str]:
    """Ids of clips that a folder of RDS-HQ has, by the first of its cameras that has any."""
    for camera in CAMERAS.values():
        if names := target.list_files(f"videos/{camera}"):
            return {posixpath.basename(name).removesuffix("_0.mp4") for name in names}
    return set()


def places_of(clip_id: str) -> Iterator[str]:
    """Of all files that a clip of RDS-HQ may have, but its sign."""
    for view in CAMERAS:
        yield from (place_of("rds-hq", view, clip_id, 0), _caption(view, clip_id), _text(view, clip_id))


def _caption(view: str, clip_id: str) -> str:
    return f"captions/{CAMERAS[view]}/{clip_id}_0.json"


def _text(view: str, clip_id: str) -> str:
    return f"metas/{CAMERAS[view]}/{clip_id}_0.txt"


def sign_of(clip_id: str) -> str:
    """Of the file that says what the clip is, and that its other files are of a copy of ours: there before they are,
    and after they are gone."""
    return f"columns/{clip_id}_0.json"
