"""Files in a copy's folder that no copy of ours has left there: an export removes and replaces its own alone.

A folder called `data`, `videos` or `meta` may be anybody's, and `shard-000000.tar` is what many call their shards.
"""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cosmos_ray.clip.request import ALL_VIEWS, file_of
from cosmos_ray.errors import UsageError
from cosmos_ray.output.clip_copy import Layout
from cosmos_ray.output.folders import places_of, sign_of
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


def check_none(target: Storage, layout: Layout, ids: Sequence[str]) -> None:
    """Before anything changes. ids: of what is copied. Raises UsageError, with their names."""
    found = list(_LOOK[layout](target, ids))
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise UsageError(
            f"--to: {target.uri} has {counted(len(found), 'file')} that no such export has written "
            f"({', '.join(found[:_NAMED])}{more}), expected a folder without: they would be replaced or removed"
        )


def _of_lerobot(target: Storage, _: Sequence[str]) -> Iterator[str]:
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


def _of_rds_hq(target: Storage, ids: Sequence[str]) -> Iterator[str]:
    """Clips of others stay, where they have other names. Of a million files only names of clips are kept."""
    wanted = set(ids)
    there = list(dict.fromkeys(clip_id for clip_id, _ in _files_of(target, wanted)))
    with ThreadPoolExecutor(_WORKERS) as pool:
        are_ours = pool.map(partial(_is_ours, target), there)
        strange = {clip_id for clip_id, is_ours in zip(there, are_ours, strict=True) if not is_ours}
    if strange:
        yield from (path for _, path in _files_of(target, strange))


def _files_of(target: Storage, ids: Collection[str]) -> Iterator[tuple[str, str]]:
    """(id, path) of each file in a place of one of these clips, but their signs."""
    for folder in sorted({posixpath.dirname(place) for place in places_of("")}):
        for path in target.list_files(folder):
            clip_id = posixpath.splitext(posixpath.basename(path))[0].removesuffix("_0")
            if clip_id in ids and path in places_of(clip_id):
                yield clip_id, path


def _is_ours(target: Storage, clip_id: str) -> bool:
    """By what lies beside a clip's videos and captions. One that is damaged is nobody's else."""
    try:
        found = _read(target, sign_of(clip_id))
    except FileNotFoundError:
        return False
    return found is None or (isinstance(found, dict) and found.get("id") == clip_id and "model" in found)


def _of_shards(target: Storage, _: Sequence[str]) -> Sequence[str]:
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


_LOOK: dict[Layout, Callable[[Storage, Sequence[str]], Iterable[str]]] = {
    "lerobot": _of_lerobot, "rds-hq": _of_rds_hq, "webdataset": _of_shards,
}  # fmt: skip
