"""Outputs to be exported, without a model: some clips, and what a folder holds of them afterwards."""

from __future__ import annotations

import hashlib
import json
import struct
import tarfile
from collections import Counter
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.store.storage import Storage
from support.videos import moving_picture

ONE = Clip(id="a", row_id="a", prompts=("A street.",), seed=4, num_steps=9, n_views=1, row_hash="h")


def commit_clip(storage: Storage, clip_id: str, generation: int = 0, views: int = 1) -> None:
    """A clip as a gang leaves it; no two clips or generations have a video in common. generation 1: made again."""
    clip = replace(ONE, id=clip_id, prompts=(f"Street {clip_id}, {generation}.",), n_views=views)

    def store(view: str, name: str, data: bytes) -> FileEntry:
        path = f"clips/{clip_id}/{generation + 1}/{name}"
        storage.write(path, data)
        return FileEntry(view, path, len(data), hashlib.sha256(data).hexdigest())

    files = tuple(store(view, f"{view}.mp4", video(f"{clip_id} {view} {generation}")) for view in VIEWS[:views])
    sidecar = store("", "clip.json", json.dumps({"clip": asdict(clip), "model": {"name": "fake"}}).encode())
    if generation:
        Ledger(storage).redo([clip_id])
    record = Record(clip_id, generation, "ok", None, generation + 1, None, "h", 1, files=files, sidecar=sidecar)
    Ledger(storage).commit(record)


def video(words: str) -> bytes:
    """Five frames, and after them in the file something that only it has."""
    return _frames() + struct.pack(">I", 8 + len(words)) + b"free" + words.encode()


@cache
def _frames() -> bytes:
    return encode_mp4(moving_picture(5, 16, 16), 10)


def files_in(folder: Path) -> dict[str, bytes]:
    """By path; without what a killed writer has left half done, which no reader takes for anything."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not path.name.startswith(".tmp-")}


def clips_in_shards(folder: Path) -> Counter[str]:
    """How often each clip is there."""
    found: Counter[str] = Counter()
    for shard in folder.glob("*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    found[json.loads(tar.extractfile(member).read())["id"]] += 1  # type: ignore[union-attr]
    return found
