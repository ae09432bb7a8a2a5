"""nuScenes, as it is downloaded: JSON tables beside folders of JPEGs. Clips start from pictures.

Cameras give about 12 pictures a second (`samples` and `sweeps` together) and 2 key frames; each camera looks at another
moment. A clip ends its conditioning at a key frame: of each camera the pictures nearest to that instant, and to those
1/fps apart before it.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cosmos_ray.errors import ManifestError
from cosmos_ray.foreign import shown_value
from cosmos_ray.manifest.builders.caption_files import Captions
from cosmos_ray.manifest.builders.notes import Built, Notes
from cosmos_ray.manifest.builders.pictures import at_instants, back, check_frames
from cosmos_ray.manifest.builders.rig import Rig, in_order, rig_of
from cosmos_ray.manifest.builders.sources import each_object, list_folder
from cosmos_ray.manifest.builders.writing import Draft, reference, write
from cosmos_ray.manifest.unknown_cameras import Unknown
from cosmos_ray.store.uris import normalise_uri

_MICROSECONDS = 1e-6
STRIDE = 6
FRAMES = 5


@dataclass
class _Scene:
    """samples: (time, token) of key frames. pictures: (time, file) by view; times in microseconds."""

    name: str
    description: str
    samples: list[tuple[int, str]] = field(default_factory=list)
    pictures: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))


def from_nuscenes(
    dataroot: str,
    out: str,
    *,
    version: str = "v1.0-mini",
    stride: int = STRIDE,
    fps: int = 10,
    frames: int = FRAMES,
    rig: Rig | None = None,
    captions: Captions | None = None,
    base: str | None = None,
) -> Built:
    """Manifest of a data set: rows with `input_frames` and `views`.

    The id is the scene's name and the number of the key frame in it (`scene-0061_007`): the same whatever else is
    taken. stride: key frames from a clip to the next; 6 are 3 s, about a clip's length. fps: of the clips, and so of
    the pictures that one starts from. frames: how many, 1 or 5. captions: those given by the scene's name or the row's
    id, or one for all, in which `{description}` and `{scene}` stand for the scene's; the description by default.
    base: where the pictures lie, if not beside the tables.

    Raises ManifestError for tables that are missing or do not fit, for an fps above the cameras' own, and if no clip is
    left. Clips for which the cameras have no picture in time, or whose files are not there, are left out, as a warning.
    """
    rig, notes, given = rig or rig_of("nuscenes"), Notes(), captions or Captions("{description}")
    check_frames(frames)
    if stride < 1 or not 1 <= fps <= 120:
        raise ManifestError(f"--stride, --fps: found {stride} and {fps}, expected 1 or more, and 1 to 120")
    root = normalise_uri(dataroot)
    try:
        scenes = _scenes(f"{root}/{version}", rig, notes)
    except KeyError as error:
        raise ManifestError(f"the tables in {root}/{version}: a row has no {error}, as nuScenes has it") from None
    home = normalise_uri(base) if base else root
    place = _Place(home, out, _files(home, scenes))
    asked = _Asked(stride, fps, frames, rig, given)
    drafts: list[Draft] = []
    off: list[float] = []
    empty = []
    for scene in scenes:
        found = list(_clips(scene, asked, place, off, notes))
        drafts += found
        empty += [] if found else [scene.name]
    if not drafts:
        left_out = "; ".join(notes.built(0).warnings) or "no scene has key frames and pictures enough"
        raise ManifestError(f"{root}/{version} gives no clip: {left_out}")
    for name in empty:
        notes.warn("scenes that give no clip", name)
    milliseconds = np.array(off) * 1e3
    notes.remarks.append(
        f"of each camera the picture nearest to each instant, {fps} a second: off by {milliseconds.mean():.0f} ms in "
        f"the mean, {milliseconds.max():.0f} ms at most"
    )
    given.warn_unused(notes)
    return write(drafts, out, notes, is_one_view=rig.is_one_view)


@dataclass(frozen=True)
class _Asked:
    """Of all clips alike. stride: key frames from one to the next. fps: of the clips. frames: how many each starts
    from."""

    stride: int
    fps: int
    frames: int
    rig: Rig
    captions: Captions


@dataclass(frozen=True)
class _Place:
    """Where pictures lie, which of them are there, and the manifest that names them."""

    root: str
    out: str
    there: Collection[str]


def _clips(scene: _Scene, asked: _Asked, place: _Place, off: list[float], notes: Notes) -> Iterator[Draft]:
    """The scene's rows. off: takes how far each picture is from its instant, in seconds."""
    if not scene.samples:
        return
    row: dict[str, Any] = {}
    views = asked.rig.views_of(row, scene.pictures, scene.name)
    cameras = in_order(scene.pictures, views or tuple(scene.pictures), scene.name, notes, "pictures")
    start = min((stamps[0][0] for stamps in cameras.values()), default=0)
    times = {view: _seconds(stamps, start) for view, stamps in cameras.items()}
    _check_rate(times, asked.fps, scene.name)
    first = (asked.frames - 1) / asked.fps
    next_one = 0
    for number, (stamp, token) in enumerate(scene.samples):
        end = (stamp - start) * _MICROSECONDS
        where = f"{scene.name}_{number:03d}"
        if number < next_one or end - first < min(one[0] - _apart(one) for one in times.values()):
            continue
        next_one = number + asked.stride
        instants = end - back(asked.frames, asked.fps)
        chosen = _chosen(times, instants, where, notes)
        named = {view: [cameras[view][i][1] for i in indices] for view, indices in chosen.items()}
        if missing := [name for names in named.values() for name in names if name not in place.there]:
            notes.warn("clips left out because their pictures are not there", f"{where}: {missing[0]}")
        if not named or missing:
            continue
        off += [abs(d) for view, indices in chosen.items() for d in (times[view][indices] - instants).tolist()]
        pictures = {
            view: [reference(name, place.root, place.out, where) for name in names] for view, names in named.items()
        }
        yield Draft(
            where,
            row
            | {"id": where, "prompt": _caption(scene, where, asked.captions, tuple(cameras), asked.rig)}
            | {"input_frames": pictures, "num_conditional_frames": asked.frames, "fps": asked.fps}
            | {"scene": scene.name, "sample_token": token, "timestamp": stamp},
        )


def _check_rate(times: Mapping[str, np.ndarray], fps: int, scene: str) -> None:
    """times: of pictures, in seconds, by view. Raises ManifestError if a camera has fewer than `fps` a second."""
    apart = max(map(_apart, times.values()), default=0.0)
    if apart and fps > (rate := 1 / apart):
        raise ManifestError(f"--fps: found {fps}, expected at most the {rate:.1f} pictures a second of {scene}")


def _chosen(times: Mapping[str, np.ndarray], instants: np.ndarray, where: str, notes: Notes) -> dict[str, np.ndarray]:
    """Numbers of the pictures nearest to the instants, by view; none at all if one of the cameras lacks one in time."""
    found = {view: at_instants(one, instants) for view, one in times.items()}
    if late := [view for view, indices in found.items() if indices is None]:
        notes.warn("clips left out because a camera has no pictures in time", f"{where}: {late[0]}")
        return {}
    return {view: indices for view, indices in found.items() if indices is not None}


def _caption(scene: _Scene, clip_id: str, given: Captions, views: tuple[str, ...], rig: Rig) -> Any:
    key = clip_id if clip_id in given.by_id else scene.name
    found = given.of(key, None, views, rig, scene.name)
    if not isinstance(found, str) or key in given.by_id:
        return found
    text = found.replace("{description}", scene.description).replace("{scene}", scene.name)
    if not text.strip():
        raise ManifestError(f"{scene.name} has no description: `--prompt` gives all clips a caption")
    return text


def _scenes(tables: str, rig: Rig, notes: Notes) -> list[_Scene]:
    """In the order of their names."""
    scenes = {one["token"]: _Scene(one["name"], one.get("description") or "") for one in _table(tables, "scene")}
    scene_of = {}
    for sample in _table(tables, "sample"):
        scene = scenes[_known(scenes, sample["scene_token"], "sample", "scene")]
        scene.samples.append((sample["timestamp"], sample["token"]))
        scene_of[sample["token"]] = scene
    views = _views(tables, rig, notes)
    for data in _table(tables, "sample_data"):
        view = views[_known(views, data["calibrated_sensor_token"], "sample_data", "calibrated_sensor")]
        if view is not None:
            scene = scene_of[_known(scene_of, data["sample_token"], "sample_data", "sample")]
            scene.pictures[view].append((data["timestamp"], data["filename"]))
    for scene in scenes.values():
        scene.samples.sort()
        for view, pictures in scene.pictures.items():
            scene.pictures[view] = _one_an_instant(pictures, notes)
    return sorted(scenes.values(), key=lambda scene: scene.name)


def _one_an_instant(pictures: list[tuple[int, str]], notes: Notes) -> list[tuple[int, str]]:
    """In order of time. Tables that were put together from parts name a picture twice."""
    found: dict[int, str] = {}
    for time, name in sorted(pictures):
        if found.setdefault(time, name) != name:
            notes.warn("pictures of a camera that claim the instant of another, which is taken", name)
    return list(found.items())


def _views(tables: str, rig: Rig, notes: Notes) -> dict[str, str | None]:
    """View of each calibrated sensor; None for what is no camera, or one that is not used."""
    channels: dict[str, str | None] = {}
    named: dict[str, str] = {}
    unknown = Unknown(rig.names)
    for sensor in _table(tables, "sensor"):
        is_camera, channel = sensor["modality"] == "camera", sensor["channel"]
        view = channels[sensor["token"]] = unknown.view_of(channel) if is_camera else None
        if is_camera and view is None:
            notes.warn("cameras that are not used", channel)
        if view is not None and named.setdefault(view, channel) != channel:
            raise ManifestError(
                f"{tables}: two cameras for the view {view}, `{named[view]}` and `{channel}`: "
                f"`--cameras {channel}=VIEW` says which it is"
            )
    unknown.check()
    calibrated = _table(tables, "calibrated_sensor")
    return {
        one["token"]: channels[_known(channels, one["sensor_token"], "calibrated_sensor", "sensor")]
        for one in calibrated
    }


#: What is read of rows.
_TEXTS = ("token", "name", "channel", "modality", "sensor_token", "scene_token", "sample_token",
          "calibrated_sensor_token", "filename")  # fmt: skip
_KINDS = (
    *((key, str, "a text") for key in _TEXTS),
    ("description", str | None, "a text or null"),
    ("timestamp", int, "microseconds, a whole number"),
)


def _table(tables: str, name: str) -> Iterator[dict[str, Any]]:
    """Row after row: `sample_data` of the whole data set would be 5 GB. What is read of them is of its type."""
    for row in each_object(f"{tables}/{name}.json"):
        for key, kind, expected in _KINDS:
            value: Any = row.get(key)
            is_right = isinstance(value, kind) and not (isinstance(value, int) and value.bit_length() > 62)
            if key in row and not is_right:
                raise ManifestError(f"{tables}/{name}.json: `{key}` is {shown_value(value)}, expected {expected}")
        yield row


def _known(table: Mapping[str, Any], token: str, where: str, what: str) -> str:
    if token not in table:
        raise ManifestError(f"{where}.json names the {what} {token!r}, which {what}.json does not have")
    return token


def _files(root: str, scenes: list[_Scene]) -> set[str]:
    """Of the pictures that the tables name, those that are there: people download parts."""
    folders = {posixpath.dirname(name) for scene in scenes for found in scene.pictures.values() for _, name in found}
    there: set[str] = set()
    for folder in sorted(folders):
        try:
            there.update(f"{folder}/{name}" for name in list_folder(f"{root}/{folder}").files)
        except ManifestError:
            continue  # a part without any
    return there


def _apart(times: np.ndarray) -> float:
    """Seconds from a picture to the next; 0 for one alone."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def _seconds(stamps: list[tuple[int, str]], start: int) -> np.ndarray:
    return np.array([(stamp - start) * _MICROSECONDS for stamp, _ in stamps])
