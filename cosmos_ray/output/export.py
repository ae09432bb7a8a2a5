"""`cosmos-ray export`: the clips of an output in a layout that training code reads. Copies; the output stays as it is.

`webdataset`: tar files of some clips each, a clip's videos and its JSON under one key (github.com/webdataset).

`rds-hq`: a folder a camera under `videos`, captions beside them, with NVIDIA's camera names, as the post-training of
Cosmos-Predict2 (`metas/CAMERA/*.txt`) and of Cosmos-Predict2.5 and -Transfer2.5 (`captions/CAMERA/*.json`) has it.
"""

from __future__ import annotations

import functools
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc

from cosmos_ray.clip.request import ALL_VIEWS, file_of
from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.ledger import Ledger, LedgerState, Record
from cosmos_ray.ledger.record import records_of
from cosmos_ray.ledger.rows import RecordReader, read_committed
from cosmos_ray.store.places import check_lasts
from cosmos_ray.store.storage import Storage
from cosmos_ray.words import counted

Layout = Literal["webdataset", "rds-hq"]

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
    """number: in order of ids, over the whole output. videos: mp4s by view, in view order. facts: its id, what it was
    asked for, and the model."""

    number: int
    videos: dict[str, bytes]
    facts: dict[str, Any]

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


def export(output: str, layout: Layout, to: str, say: Callable[[str], None], clips_a_shard: int = 64) -> Exported:
    """Copy every clip that is ok, in order of ids, to the URI `to`; the same output gives the same files again.

    Files are compared with their records; a clip of which one is missing or altered is left out and said. Raises
    UsageError for an output without clips, and for a `to` inside the output.
    """
    source, target = Storage(output), Storage(to)
    if f"{target.uri}/".startswith(f"{source.uri}/"):
        raise UsageError(f"--to: found {target.uri}, expected a folder outside the output")
    check_lasts(target.uri, "--to:")
    state = Ledger(source).state()
    places = _ok_places(state)
    if not len(places):
        raise UsageError(f"{source.uri} has no clip that was made")
    reader = RecordReader(source, state)
    starts = range(0, len(places), clips_a_shard)
    total = Exported(0, 0, ())
    with ThreadPoolExecutor(_WORKERS) as pool:
        for window in (starts[i : i + _WORKERS] for i in range(0, len(starts), _WORKERS)):
            groups = [records_of(reader.table(places[start : start + clips_a_shard])) for start in window]
            for done in pool.map(
                functools.partial(_export_group, source, target, layout, clips_a_shard), window, groups
            ):
                total = Exported(
                    total.clips + done.clips, total.uncaptioned + done.uncaptioned, total.left_out + done.left_out
                )
            say(f"{total.clips} of {counted(len(places), 'clip')}")
    for fault in total.left_out:
        say(f"left out: {fault}")
    return total


def _ok_places(state: LedgerState) -> np.ndarray:
    """Rows of `state.records.table` of clips that are ok, in order of ids."""
    table = state.records.table
    ok = np.flatnonzero(state.settled_rows & pc.equal(table["status"], "ok").to_numpy())
    found: np.ndarray = ok[pc.sort_indices(table["id"].take(ok)).to_numpy()]
    return found


def _export_group(
    source: Storage, target: Storage, layout: Layout, clips_a_shard: int, first: int, records: list[Record]
) -> Exported:
    """Clips number `first` and following. One at a time is in memory."""
    captions: list[bool] = []
    left_out: list[str] = []

    def whole() -> Iterator[Clip]:
        for number, record in enumerate(records, first):
            try:
                clip = _read(source, record, number)
            except ValueError as error:
                left_out.append(f"{record.id}: {error}")
                continue
            captions.append(bool(clip.captions))
            yield clip

    if layout == "webdataset":
        _write_shard(target, first // clips_a_shard, whole())
    else:
        for clip in whole():
            _write_folders(target, clip)
    return Exported(len(captions), captions.count(False), tuple(left_out))


def _read(source: Storage, record: Record, number: int) -> Clip:
    """ValueError if a file is not as committed."""
    assert record.sidecar is not None, "a clip that is ok has one"
    entries = {entry.view: entry for entry in record.files}
    videos = {view: read_committed(source, entries[view]) for view in ALL_VIEWS if view in entries}
    sidecar = json.loads(read_committed(source, record.sidecar))
    asked = {name: sidecar["clip"][name] for name in _CLIP_FIELDS}
    return Clip(number, videos, {"id": record.id, **asked, "model": sidecar["model"]})


def _write_shard(target: Storage, number: int, clips: Iterator[Clip]) -> None:
    """Keys are the clips' numbers: readers take a name up to its first dot for its key, and ids may have dots."""
    with tempfile.TemporaryDirectory(prefix="cosmos-ray-") as folder:
        path = Path(folder) / "shard.tar"
        with tarfile.open(path, "w") as tar:
            for clip in clips:
                for view, video in clip.videos.items():
                    _add(tar, f"{clip.number:08d}.{file_of(view)}", video)
                _add(tar, f"{clip.number:08d}.json", json.dumps(clip.facts, sort_keys=True).encode())
        target.write_file(f"shard-{number:06d}.tar", path)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # without times and owners: the same clips give the same file
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _write_folders(target: Storage, clip: Clip) -> None:
    """Names are CLIP_CHUNK there; a clip is one chunk. UsageError for a clip of other views than a rig's cameras."""
    if others := [view for view in clip.videos if view not in CAMERAS]:
        raise UsageError(
            f"--format rds-hq: clip {clip.facts['id']} has the view {others[0]}, expected cameras of a rig; "
            "webdataset takes clips of one view"
        )
    name = f"{clip.facts['id']}_0"
    for view, video in clip.videos.items():
        target.write(f"videos/{CAMERAS[view]}/{name}.mp4", video)
    for view, caption in clip.captions.items():
        target.write(f"captions/{CAMERAS[view]}/{name}.json", json.dumps({"caption": caption}).encode())
        target.write(f"metas/{CAMERAS[view]}/{name}.txt", caption.encode())
