"""`cosmos-ray export`: the clips of an output in a layout that training code reads. Copies; the output stays as it is.

`webdataset`: tar files of some clips each, a clip's videos and its JSON under one key (github.com/webdataset).

`rds-hq`: a folder a camera under `videos`, captions beside them, with NVIDIA's camera names, as the post-training of
Cosmos-Predict2 (`metas/CAMERA/*.txt`) and of Cosmos-Predict2.5 and -Transfer2.5 (`captions/CAMERA/*.json`) has it.

`lerobot`: a LeRobot data set of format v3.0 (`lerobot.py`).

What is there already and has the hashes of the records is not copied again.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc

from cosmos_ray.clip.frames import inspect_video
from cosmos_ray.clip.request import ALL_VIEWS, PICTURE, file_of
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.ledger import Ledger, LedgerState, Record
from cosmos_ray.ledger.record import FileEntry, records_of
from cosmos_ray.ledger.rows import RecordReader, read_committed
from cosmos_ray.output.columns import Columns
from cosmos_ray.output.lerobot import Episode, video_path, write_tables
from cosmos_ray.store.places import check_lasts, is_within
from cosmos_ray.store.storage import Storage, fetch_to_file
from cosmos_ray.words import counted

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
#: Groups of clips under way at once; one reads while another writes.
_WORKERS = 8
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
    was asked for, the model, the manifest's columns. there: views that an earlier copy has put in their places."""

    number: int
    videos: dict[str, bytes]
    facts: dict[str, Any]
    there: frozenset[str] = frozenset()

    @property
    def captions(self) -> dict[str, str]:
        """By view; of the front view only, if there is one caption; {} for a clip made from an embedding."""
        return dict(zip(self.videos, self.facts["prompts"], strict=False))


@dataclass(frozen=True)
class Exported:
    """left_out: what is wrong with each clip whose files are not as committed. uncaptioned: made from embeddings."""

    clips: int
    uncaptioned: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Work:
    """like: facts of the first clip, where all must be alike."""

    source: Storage
    target: Storage
    layout: Layout
    columns: Columns
    clips_a_shard: int
    like: dict[str, Any] | None = None


def export(
    output: str,
    layout: Layout,
    to: str,
    say: Callable[[str], None],
    clips_a_shard: int = 64,
    where: str | None = None,
) -> Exported:
    """Copy clips that are ok, in order of ids, to the URI `to`; the same output gives the same files again.

    where: a condition on the index's columns; None: all. Files are compared with their records; a clip of which one is
    missing or altered is left out and said, as is one that the layout has no place for. Raises UsageError for an output
    without (such) clips, for a condition that cannot be read, and for a `to` inside the output.
    """
    source, target = Storage(output), Storage(to)
    if is_within(target.uri, source.uri):
        raise UsageError(f"--to: found {target.uri}, expected a folder outside the output")
    check_lasts(target.uri, "--to:")
    state = Ledger(source).state()
    columns = Columns(source)
    places = _chosen(source, state, columns, where, say)
    reader = RecordReader(source, state)
    work = _Work(source, target, layout, columns, clips_a_shard)
    if layout == "lerobot":
        work = replace(work, like=_first_facts(work, reader, places))
    starts = range(0, len(places), clips_a_shard)
    total, episodes = Exported(0, 0, ()), list[Episode]()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for window in (starts[i : i + _WORKERS] for i in range(0, len(starts), _WORKERS)):
            groups = [records_of(reader.table(places[start : start + clips_a_shard])) for start in window]
            for done, made in pool.map(functools.partial(_export_group, work), window, groups):
                episodes += made
                total = Exported(
                    total.clips + done.clips, total.uncaptioned + done.uncaptioned, total.left_out + done.left_out
                )
            say(f"{total.clips} of {counted(len(places), 'clip')}")
    if episodes:
        write_tables(target, episodes, columns)
    for fault in total.left_out:
        say(f"left out: {fault}")
    return total


def _chosen(
    source: Storage, state: LedgerState, columns: Columns, where: str | None, say: Callable[[str], None]
) -> np.ndarray:
    """Rows of `state.records.table` of clips that are to be copied, in order of ids. UsageError if there are none."""
    table = state.records.table
    ok = np.flatnonzero(state.settled_rows & pc.equal(table["status"], "ok").to_numpy())
    places: np.ndarray = ok[pc.sort_indices(table["id"].take(ok)).to_numpy()]
    if not len(places):
        raise UsageError(f"{source.uri} has no clip that was made")
    ids = table["id"].take(places).to_pylist()
    if missing := columns.missing(ids):
        say(
            f"{counted(missing, 'clip')} not in the index, so without the manifest's columns: `cosmos-ray report` first"
        )
    if where is None:
        return places
    wanted = columns.ids(where)
    chosen: np.ndarray = places[np.array([clip_id in wanted for clip_id in ids])]
    if not len(chosen):
        raise UsageError(f"where {where!r}: no clip of {source.uri} is so")
    return chosen


def _export_group(work: _Work, first: int, records: list[Record]) -> tuple[Exported, list[Episode]]:
    """Clips number `first` and following. One at a time is in memory."""
    captions: list[bool] = []
    left_out: list[str] = []
    episodes: list[Episode] = []

    def whole() -> Iterator[Clip]:
        for number, record in enumerate(records, first):
            try:
                clip = _read(work, record, number)
            except ValueError as error:
                left_out.append(f"{record.id}: {error}")
                continue
            captions.append(bool(clip.captions))
            yield clip

    if work.layout == "webdataset":
        name = f"shard-{first // work.clips_a_shard:06d}.tar"
        if (found := _clips_there(work, name, first, records)) is not None:
            captions += found
        else:
            _write_shard(work.target, name, whole())
    else:
        for clip in whole():
            _write_folders(work.target, clip, work.layout)
            if work.layout == "lerobot":
                episodes.append(_episode(clip))
    return Exported(len(captions), captions.count(False), tuple(left_out)), episodes


def _read(work: _Work, record: Record, number: int) -> Clip:
    """ValueError if a file is not as committed, or the layout has no place for the clip."""
    facts = _facts(work.source, record, work.columns)
    _check_place(work, facts)
    entries = {entry.view: entry for entry in record.files}
    videos, there = {}, set()
    for view in facts["views"]:
        path = None if work.layout == "webdataset" else _path(work.layout, view, record.id, number)
        found = None if path is None else _same(work.target, path, entries[view])
        if found is not None:
            there.add(view)
        videos[view] = read_committed(work.source, entries[view]) if found is None else found
    return Clip(number, videos, facts, frozenset(there))


def _facts(source: Storage, record: Record, columns: Columns) -> dict[str, Any]:
    """ValueError if the sidecar is not as committed, or does not say what one of ours does."""
    assert record.sidecar is not None, "a clip that is ok has one"
    sidecar = json.loads(read_committed(source, record.sidecar))
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
        **columns.facts(record.id),
    }


def _first_facts(work: _Work, reader: RecordReader, places: np.ndarray) -> dict[str, Any] | None:
    """Of the first clip whose sidecar is as committed."""
    for place in range(len(places)):
        try:
            return _facts(work.source, records_of(reader.table(places[place : place + 1]))[0], work.columns)
        except ValueError:
            continue
    return None


def _check_place(work: _Work, facts: dict[str, Any]) -> None:
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
            raise ValueError(f"found {name} {facts[name]}, expected {work.like[name]} as of {work.like['id']}")


def _same(target: Storage, path: str, entry: FileEntry) -> bytes | None:
    """What an earlier copy has left there, if it is what it should be."""
    found = target.stat(path)
    if found is None or found.size != entry.size:
        return None
    data = target.read(path)
    return data if hashlib.sha256(data).hexdigest() == entry.sha256 else None


def _clips_there(work: _Work, name: str, first: int, records: list[Record]) -> list[bool] | None:
    """For each clip whether it has captions, if an earlier copy has left the shard and each member is what it should
    be; else None."""
    if not work.target.exists(name):
        return None
    expected: dict[str, str] = {}
    captions = []
    for number, record in enumerate(records, first):
        try:
            facts = _facts(work.source, record, work.columns)
        except ValueError:
            return None
        captions.append(bool(facts["prompts"]))
        hashes = {entry.view: entry.sha256 for entry in record.files}
        expected |= {f"{number:08d}.{file_of(view)}": hashes[view] for view in facts["views"]}
        expected[f"{number:08d}.json"] = hashlib.sha256(_json(facts)).hexdigest()
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
        path = Path(folder) / name
        fetch_to_file(work.target.uri_of(name), path)
        try:
            with tarfile.open(path) as tar:
                found = [(member.name, _hash_of(tar, member)) for member in tar]
        except tarfile.TarError:
            return None
    return captions if found == list(expected.items()) else None


def _hash_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    return hashlib.sha256(file.read()).hexdigest() if file else ""


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True).encode()


def _write_shard(target: Storage, name: str, clips: Iterator[Clip]) -> None:
    """Keys are the clips' numbers: readers take a name up to its first dot for its key, and ids may have dots."""
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
        path = Path(folder) / "shard.tar"
        with tarfile.open(path, "w") as tar:
            for clip in clips:
                for view, video in clip.videos.items():
                    _add(tar, f"{clip.number:08d}.{file_of(view)}", video)
                _add(tar, f"{clip.number:08d}.json", _json(clip.facts))
        target.write_file(name, path)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # without times and owners: the same clips give the same file
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _path(layout: Layout, view: str, clip_id: str, number: int) -> str:
    """Of a view's video in folders. RDS-HQ's names are CLIP_CHUNK; a clip is one chunk."""
    return video_path(view, number) if layout == "lerobot" else f"videos/{CAMERAS[view]}/{clip_id}_0.mp4"


def _write_folders(target: Storage, clip: Clip, layout: Layout) -> None:
    clip_id = clip.facts["id"]
    for view, video in clip.videos.items():
        if view not in clip.there:
            target.write(_path(layout, view, clip_id, clip.number), video)
    if layout == "lerobot":
        return
    for view, caption in clip.captions.items():
        target.write(f"captions/{CAMERAS[view]}/{clip_id}_0.json", json.dumps({"caption": caption}).encode())
        target.write(f"metas/{CAMERAS[view]}/{clip_id}_0.txt", caption.encode())
    if "columns" in clip.facts:
        target.write(f"columns/{clip_id}_0.json", _json(clip.facts))


def _episode(clip: Clip) -> Episode:
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
        path = Path(folder) / "first.mp4"
        path.write_bytes(next(iter(clip.videos.values())))
        info = inspect_video(path)
    task, facts = next(iter(clip.captions.values()), ""), clip.facts
    return Episode(
        clip.number, facts["id"], task, info.frames, info.height, info.width, facts["fps"], tuple(clip.videos)
    )
