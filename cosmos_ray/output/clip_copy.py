"""One clip on its way into a copy: what the output says of it, and which of its files lie there already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cosmos_ray.clip.request import ALL_VIEWS, PICTURE
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.rows import read_committed
from cosmos_ray.output.columns import Columns
from cosmos_ray.output.copy_target import Earlier
from cosmos_ray.output.lerobot import video_path
from cosmos_ray.store.storage import Storage

Layout = Literal["webdataset", "rds-hq", "lerobot"]

#: NVIDIA's names of the cameras, by view.
CAMERAS = {
    "front_wide": "ftheta_camera_front_wide_120fov",
    "cross_right": "ftheta_camera_cross_right_120fov",
    "rear_right": "ftheta_camera_rear_right_70fov",
    "rear": "ftheta_camera_rear_tele_30fov",
    "rear_left": "ftheta_camera_rear_left_70fov",
    "cross_left": "ftheta_camera_cross_left_120fov",
    "front_tele": "ftheta_camera_front_tele_30fov",
}
#: What a sidecar says of its clip that is of use without the output.
_CLIP_FIELDS = (
    "prompts",
    "prompt_embedding",
    "negative_prompt",
    "inputs",
    "num_conditional_frames",
    "guidance",
    "seed",
    "num_steps",
    "n_views",
    "fps",
)


@dataclass(frozen=True)
class Clip:
    """number: in order of ids, of those that are copied. videos: files by view, in view order. facts: its id, what it
    was asked for, the model, the manifest's columns. known: what an earlier copy has left in its videos' places."""

    number: int
    videos: dict[str, bytes]
    facts: dict[str, Any]
    known: Mapping[str, Earlier] = field(default_factory=dict)

    @property
    def captions(self) -> dict[str, str]:
        """By view; of the front view only, if there is one caption; {} for a clip made from an embedding."""
        return dict(zip(self.videos, self.facts["prompts"], strict=False))


@dataclass(frozen=True)
class Work:
    """like: facts of the first clip, where all must be alike."""

    source: Storage
    target: Storage
    layout: Layout
    columns: Columns
    clips_a_shard: int
    like: dict[str, Any] | None = None


@dataclass(frozen=True)
class Group:
    """Clips that are copied together. captions: of each that was, whether it has any. left_out: what is wrong with the
    others."""

    captions: tuple[bool, ...]
    left_out: tuple[str, ...]


def read_clip(work: Work, record: Record, number: int) -> Clip:
    """ValueError if a file is not as committed, or the layout has no place for the clip."""
    facts = facts_of(work, record)
    _check_place(work, facts)
    entries = {entry.view: entry for entry in record.files}
    videos, known = dict[str, bytes](), dict[str, Earlier]()
    for view in facts["views"]:
        earlier = None
        if work.layout != "webdataset":
            path = place_of(work.layout, view, record.id, number)
            known[path], earlier = _earlier(work.target, path, entries[view])
        videos[view] = read_committed(work.source, entries[view]) if earlier is None else earlier
    return Clip(number, videos, facts, known)


def facts_of(work: Work, record: Record) -> dict[str, Any]:
    """ValueError if the sidecar is not as committed, or does not say what one of ours does."""
    assert record.sidecar is not None, "a clip that is ok has one"
    sidecar = json.loads(read_committed(work.source, record.sidecar))
    try:
        asked, model = {name: sidecar["clip"][name] for name in _CLIP_FIELDS}, sidecar["model"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{record.sidecar.path}: found a sidecar without {error}, expected one of ours") from None
    made = {entry.view for entry in record.files}
    return {
        "id": record.id,
        **asked,
        "views": [view for view in ALL_VIEWS if view in made],
        "model": model,
        **work.columns.facts(record.id),
    }


def place_of(layout: Layout, view: str, clip_id: str, number: int) -> str:
    """Of a view's video in folders. RDS-HQ's names are CLIP_CHUNK; a clip is one chunk."""
    return video_path(view, number) if layout == "lerobot" else f"videos/{CAMERAS[view]}/{clip_id}_0.mp4"


def as_json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True).encode()


def _check_place(work: Work, facts: dict[str, Any]) -> None:
    views = facts["views"]
    if work.layout == "rds-hq" and (strange := [view for view in views if view not in CAMERAS]):
        raise UsageError(
            f"--format rds-hq: clip {facts['id']} has the view {strange[0]}, expected cameras of a rig; "
            "webdataset takes clips of one view"
        )
    if work.like is None:
        return
    if PICTURE in views:
        raise ValueError("the layout has no pictures")
    for name in ("views", "fps"):
        if facts[name] != work.like[name]:
            found, expected = (", ".join(one[name]) if name == "views" else one[name] for one in (facts, work.like))
            raise ValueError(
                f"found {name} {found}, expected {expected} as of {work.like['id']}, for all clips of a LeRobot data "
                "set are alike: `--where` chooses the clips of one"
            )


def _earlier(target: Storage, path: str, entry: FileEntry) -> tuple[Earlier, bytes | None]:
    """What an earlier copy has left there, and its bytes if that is right."""
    found = target.stat(path)
    if found is None:
        return "none", None
    if found.size != entry.size:
        return "wrong", None
    data = target.read(path)
    return ("right", data) if hashlib.sha256(data).hexdigest() == entry.sha256 else ("wrong", None)
