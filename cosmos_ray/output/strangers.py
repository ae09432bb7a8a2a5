"""Files in a copy's folder that no copy of ours has left there: an export removes and replaces its own alone.

A folder called `data`, `videos` or `meta` may be anybody's, and `shard-000000.tar` is what many call their shards.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cosmos_ray.clip.request import ALL_VIEWS, file_of
from cosmos_ray.errors import UsageError
from cosmos_ray.output.clip_copy import Layout
from cosmos_ray.output.lerobot import FOLDERS, INFO, is_info, key
from cosmos_ray.output.shards import shards_in
from cosmos_ray.store.storage import Storage, read_bytes
from cosmos_ray.words import counted

_PLACE = r"chunk-\d{3,}/file-\d{3,}"
_VIEWS = "|".join(re.escape(key(view)) for view in ALL_VIEWS)
_OF_LEROBOT = re.compile(
    rf"(?:meta/(?:info\.json|tasks\.parquet|episodes/{_PLACE}\.parquet)|data/{_PLACE}\.parquet"
    rf"|videos/(?:{_VIEWS})/{_PLACE}\.mp4)"
)
_FILES = "|".join(re.escape(file_of(view)) for view in ALL_VIEWS)
_MEMBER = re.compile(rf"\d{{8,}}\.(?:{_FILES}|json)")
_WORKERS = 8
_NAMED = 3


def check_none(target: Storage, layout: Layout) -> None:
    """Before anything changes. Raises UsageError, with their names."""
    found = list(_of_folders(target) if layout == "lerobot" else _of_shards(target) if layout == "webdataset" else ())
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise UsageError(
            f"--to: {target.uri} has {counted(len(found), 'file')} that no such export has written "
            f"({', '.join(found[:_NAMED])}{more}), expected a folder without: they would be replaced or removed"
        )


def _of_folders(target: Storage) -> Iterator[str]:
    there = [path for folder in FOLDERS for path in target.list(folder)]
    strange = [path for path in there if not _OF_LEROBOT.fullmatch(path)]
    if INFO in there and not is_info(_read(target, INFO)):
        strange.insert(0, INFO)
    yield from strange


def _read(target: Storage, path: str) -> object:
    """None: nobody knows whose it is, for it is damaged."""
    try:
        return json.loads(target.read(path))
    except (ValueError, RecursionError):
        return None


def _of_shards(target: Storage) -> Sequence[str]:
    names = shards_in(target)
    with ThreadPoolExecutor(_WORKERS) as pool:
        return [
            name
            for name, is_ours in zip(names, pool.map(partial(_may_be_ours, target), names), strict=True)
            if not is_ours
        ]


def _may_be_ours(target: Storage, name: str) -> bool:
    """By the name of its first member. What is no tar file, or an empty one, is one of ours that is damaged."""
    try:
        head = tarfile.TarInfo.frombuf(
            read_bytes(target.uri_of(name), 0, tarfile.BLOCKSIZE), "utf-8", "surrogateescape"
        )
    except tarfile.TarError:
        return True
    return bool(_MEMBER.fullmatch(head.name))
