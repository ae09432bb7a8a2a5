"""webdataset (github.com/webdataset): tar files of some clips each.

Keys are the clips' numbers: readers take a name up to its first dot for its key, and ids may have dots.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cosmos_ray.clip.request import file_of
from cosmos_ray.ledger.record import Record
from cosmos_ray.output.clip_copy import Clip, Group, Work, as_json, facts_of, read_clip
from cosmos_ray.output.copy_target import OTHER, CopyTarget
from cosmos_ray.scratch import scratch
from cosmos_ray.store.storage import Storage, fetch_to_file

_NAME = re.compile(r"shard-\d{6,}\.tar")


def shard_name(work: Work, first: int) -> str:
    """Of the shard that begins with clip number `first`."""
    return f"shard-{first // work.clips_a_shard:06d}.tar"


def look(work: Work, target: CopyTarget, first: int, records: list[Record]) -> Group | None:
    """What is in the shard, if it is there and each member is what it should be; else None, and it is gone."""
    name = shard_name(work, first)
    if not work.target.exists(name):
        target.find(f"{name}: missing")
        return None
    found = _group_in(work, name, first, records)
    if found is None:
        target.drop([name], OTHER)
    return found


def others(target: Storage, ours: Sequence[str]) -> list[str]:
    """Shards that are there beside ours."""
    known = set(ours)
    return [path for path in shards_in(target) if path not in known]


def shards_in(target: Storage) -> list[str]:
    """All files of such a name."""
    return [path for path in target.list_files() if _NAME.fullmatch(path)]


def write_shard(work: Work, first: int, records: list[Record], read: Callable[[Record, int], Clip | None]) -> None:
    """read: a clip, or None for one that is left out. One at a time is in memory."""
    with scratch() as folder:
        path = folder / "shard.tar"
        with tarfile.open(path, "w") as tar:
            for number, record in enumerate(records, first):
                clip = read(record, number)
                for name, data in _members(clip) if clip else ():
                    _add(tar, name, data)
        work.target.write_file(shard_name(work, first), path)


def _members(clip: Clip) -> Iterator[tuple[str, bytes]]:
    for view, video in clip.videos.items():
        yield f"{clip.number:08d}.{file_of(view)}", video
    yield f"{clip.number:08d}.json", as_json(clip.facts)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_entry(name, len(data)), io.BytesIO(data))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Without times and owners: the same clips give the same file."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


def _group_in(work: Work, name: str, first: int, records: list[Record]) -> Group | None:
    there = _hashes_in(work, name)
    expected, captions, left_out = dict[str, str](), list[bool](), list[str]()
    for number, record in enumerate(records, first):
        try:
            facts = facts_of(work, record)
            hashes = {entry.view: entry.sha256 for entry in record.files}
            members = {f"{number:08d}.{file_of(view)}": hashes[view] for view in facts["views"]}
            members[f"{number:08d}.json"] = hashlib.sha256(as_json(facts)).hexdigest()
            if not there.keys() & members.keys():
                read_clip(work, record, number)
                return None  # it can be copied, and is not there
        except ValueError as error:
            left_out.append(f"{record.id}: {error}")
            continue
        captions.append(bool(facts["prompts"]))
        expected |= members
    return Group(tuple(captions), tuple(left_out)) if list(there.items()) == list(expected.items()) else None


def _hashes_in(work: Work, name: str) -> dict[str, str]:
    """Of each member of a shard, in order; none of what is no tar file of ours."""
    with scratch() as folder:
        path = folder / name
        fetch_to_file(work.target.uri_of(name), path)
        try:
            with tarfile.open(path, "r:") as tar:
                members = tar.getmembers()
                found = {member.name: _hash_of(tar, member) for member in members}
        except tarfile.TarError:
            return {}
        return found if len(found) == len(members) and _is_as_written(path, members) else {}


def _is_as_written(path: Path, members: Sequence[tarfile.TarInfo]) -> bool:
    """Whether nothing but these lies in the file, with zeros between them and at its end: what no hash looks at."""
    with open(path, "rb") as file:
        for member in members:
            head = _entry(member.name, member.size).tobuf()
            if file.read(len(head)) != head:
                return False
            file.seek(member.size, io.SEEK_CUR)
            if any(file.read(-member.size % tarfile.BLOCKSIZE)):
                return False
        size = file.tell() + 2 * tarfile.BLOCKSIZE
        size += -size % tarfile.RECORDSIZE
        return path.stat().st_size == size and not any(file.read())


def _hash_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    return hashlib.sha256(file.read()).hexdigest() if file else ""
