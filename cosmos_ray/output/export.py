"""`cosmos-ray export`: the clips of an output in a layout that training code reads. Copies; the output stays as it is.

`webdataset`: tar files of some clips each, a clip's videos and its JSON under one key (`shards.py`).

`rds-hq`: a folder a camera under `videos`, captions beside them, with NVIDIA's camera names, as the post-training of
Cosmos-Predict2 (`metas/CAMERA/*.txt`) and of Cosmos-Predict2.5 and -Transfer2.5 (`captions/CAMERA/*.json`) has it.

`lerobot`: a LeRobot data set of format v3.0 (`lerobot.py`).

What is there already and has the hashes of the records is not copied again; what has not goes first (`copy_target.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record, records_of
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.ledger.run import read_run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.output.clip_copy import Clip, Group, Layout, Work, facts_of, read_clip
from cosmos_ray.output.columns import Columns
from cosmos_ray.output.copy_target import CopyTarget
from cosmos_ray.output.folders import clips_in, episode_of, put_clip, put_tables
from cosmos_ray.output.lerobot import INFO, Episode
from cosmos_ray.output.shards import look, others, shard_name, write_shard
from cosmos_ray.output.status import run_of
from cosmos_ray.output.strangers import check_none
from cosmos_ray.store.places import check_lasts, is_within
from cosmos_ray.store.storage import Storage
from cosmos_ray.words import counted

#: Groups of clips under way at once; one reads while another writes.
_WORKERS = 8
#: Faults of a copy that are said.
_SAID = 50
_T = TypeVar("_T")


@dataclass(frozen=True)
class Exported:
    """left_out: what is wrong with each clip whose files are not as committed. uncaptioned: made from embeddings.

    there: clips that an earlier copy had left as they should be. faults: of a copy that was only looked at, what is
    missing in it, or not as it should be.
    """

    clips: int
    uncaptioned: int
    left_out: tuple[str, ...]
    there: int = 0
    faults: tuple[str, ...] = ()


def export(
    output: str,
    layout: Layout,
    to: str,
    say: Callable[[str], None],
    clips_a_shard: int = 64,
    where: str | None = None,
    verify: bool = False,
) -> Exported:
    """Copy clips that are ok, in order of ids, to the URI `to`; the same output gives the same files again.

    where: a condition on the index's columns; None: all. Files are compared with their records; a clip of which one is
    missing or altered is left out and said, as is one that the layout has no place for. verify: nothing is written, and
    what would be is in `faults`. Raises UsageError for an output without (such) clips, for a condition that cannot be
    read, for a `to` inside the output, and for one with files of strangers that the copy would replace or remove.
    """
    source, target = Storage(output), Storage(to)
    if is_within(target.uri, source.uri):
        raise UsageError(f"--to: found {target.uri}, expected a folder outside the output")
    check_lasts(target.uri, "--to:")
    read_run(source)  # which refuses one of a newer release
    state = Ledger(source).state()
    columns = Columns(source)
    places = _chosen(source, state, columns, where, say)
    reader = RecordReader(source, state)
    work = Work(source, target, layout, columns, clips_a_shard)
    if layout == "lerobot":
        work = replace(work, like=_first_facts(work, reader, places))
    if not verify:
        check_none(target, layout, state.records.table["id"].take(places).to_pylist())
    copy = CopyTarget(target, verify, INFO if layout == "lerobot" else None)
    with ThreadPoolExecutor(_WORKERS) as pool:
        groups = _Groups(reader, places, clips_a_shard, pool)
        total = (_shards if layout == "webdataset" else _folders)(work, copy, groups, say)
    copy.tidy()
    for fault in total.left_out:
        say(f"left out: {fault}")
    faults = tuple(sorted(copy.faults))  # found by several threads
    for fault in faults[:_SAID]:
        say(fault)
    if len(faults) > _SAID:
        say(f"and {len(faults) - _SAID} more")
    return replace(total, faults=faults)


def _chosen(
    source: Storage, state: LedgerState, columns: Columns, where: str | None, say: Callable[[str], None]
) -> np.ndarray:
    """Rows of `state.records.table` of clips that are to be copied, in order of ids. UsageError if there are none."""
    table = state.records.table
    ok = np.flatnonzero(state.made_rows)
    places: np.ndarray = ok[pc.sort_indices(table["id"].take(ok)).to_numpy()]
    if not len(places):
        run_of(source)  # a folder that is no output at all is said to be none
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


@dataclass(frozen=True)
class _Groups:
    """Clips in order of ids, some at a time."""

    reader: RecordReader
    places: np.ndarray
    size: int
    pool: ThreadPoolExecutor

    @property
    def starts(self) -> range:
        return range(0, len(self.places), self.size)

    def each(self, do: Callable[[int, list[Record]], _T], starts: Iterable[int]) -> Iterator[tuple[int, _T]]:
        """Number of the first clip, and what `do` answers to it and the group's records; several at once, in order."""
        left = list(starts)
        for window in (left[i : i + _WORKERS] for i in range(0, len(left), _WORKERS)):
            groups = [records_of(self.reader.table(self.places[start : start + self.size])) for start in window]
            yield from zip(window, self.pool.map(do, window, groups), strict=True)


def _shards(work: Work, copy: CopyTarget, groups: _Groups, say: Callable[[str], None]) -> Exported:
    """Those that are not as they should be go before the first is written: no clip is ever in two."""
    found = dict(groups.each(functools.partial(look, work, copy), groups.starts))
    copy.drop(others(work.target, [shard_name(work, first) for first in groups.starts]))
    total = _sum(Exported(0, 0, ()), [group for group in found.values() if group], are_there=True)
    left = [first for first, group in found.items() if group is None]
    if not copy.checks:
        for number, (_, group) in enumerate(groups.each(functools.partial(_write, work), left), 1):
            total = _sum(total, [group])
            if number % _WORKERS == 0 or number == len(left):
                say(f"{total.clips} of {counted(len(groups.places), 'clip')}")
    return replace(total, left_out=tuple(sorted(total.left_out, key=lambda fault: fault.partition(": ")[0])))


def _write(work: Work, first: int, records: list[Record]) -> Group:
    """A shard."""
    captions, left_out = list[bool](), list[str]()

    def read(record: Record, number: int) -> Clip | None:
        try:
            clip = read_clip(work, record, number)
        except ValueError as error:
            left_out.append(f"{record.id}: {error}")
            return None
        captions.append(bool(clip.captions))
        return clip

    write_shard(work, first, records, read)
    return Group(tuple(captions), tuple(left_out))


def _folders(work: Work, copy: CopyTarget, groups: _Groups, say: Callable[[str], None]) -> Exported:
    total, episodes, ids = Exported(0, 0, ()), list[Episode](), set[str]()
    for first, done in groups.each(functools.partial(_put_group, work, copy), groups.starts):
        total = replace(_sum(total, [done.group]), there=total.there + done.there)
        episodes += done.episodes
        ids.update(done.ids)
        if first == groups.starts[-1] or (first // groups.size + 1) % _WORKERS == 0:
            say(f"{total.clips} of {counted(len(groups.places), 'clip')}")
    if episodes:
        put_tables(work, copy, episodes)
    if work.layout == "rds-hq" and (strangers := clips_in(work.target) - ids):
        say(f"{work.target.uri} has {counted(len(strangers), 'clip')} of other copies, which stay")
    return total


@dataclass(frozen=True)
class _Done:
    """A group in folders. there: clips of which nothing was to be written."""

    group: Group
    there: int
    ids: tuple[str, ...]
    episodes: tuple[Episode, ...]


def _put_group(work: Work, copy: CopyTarget, first: int, records: list[Record]) -> _Done:
    """One clip at a time is in memory."""
    captions, left_out, episodes, there = list[bool](), list[str](), list[Episode](), 0
    for number, record in enumerate(records, first):
        try:
            clip = read_clip(work, record, number)
        except ValueError as error:
            left_out.append(f"{record.id}: {error}")
            continue
        captions.append(bool(clip.captions))
        there += not put_clip(work, copy, clip)
        if work.layout == "lerobot":
            episodes.append(episode_of(clip))
    return _Done(
        Group(tuple(captions), tuple(left_out)), there, tuple(record.id for record in records), tuple(episodes)
    )


def _sum(total: Exported, groups: Iterable[Group], are_there: bool = False) -> Exported:
    for group in groups:
        clips = len(group.captions)
        total = Exported(
            total.clips + clips,
            total.uncaptioned + group.captions.count(False),
            total.left_out + group.left_out,
            total.there + clips * are_there,
        )
    return total


def _first_facts(work: Work, reader: RecordReader, places: np.ndarray) -> dict[str, Any] | None:
    """Of the first clip whose sidecar is as committed."""
    for place in range(len(places)):
        try:
            return facts_of(work, records_of(reader.table(places[place : place + 1]))[0])
        except ValueError:
            continue
    return None
