"""`cosmos-ray compare`: the same rows under several settings, one after the other, by gangs that stay.

Each setting is a job with an output of its own, so each resumes, is looked at and exported like any other. Gangs
outlive the jobs: a setting that changes how clips are sampled is taken up by the model that is loaded; one that changes
what is loaded has its gangs load again, once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cosmos_ray import signals
from cosmos_ray.errors import UsageError
from cosmos_ray.foreign import saying
from cosmos_ray.job.check import Job, check
from cosmos_ray.job.compared import Setting
from cosmos_ray.job.job import Summary, carry_out
from cosmos_ray.job.plan import Plan, RowGroup
from cosmos_ray.job.say import Say, hearers_of
from cosmos_ray.ledger.layout import RUN
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import Manifest
from cosmos_ray.manifest.table import fan_out
from cosmos_ray.output.compare.build import write_comparison
from cosmos_ray.output.compare.gather import Compared
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.stop import Stop, goes_on
from cosmos_ray.store.storage import Storage
from cosmos_ray.words import counted

if TYPE_CHECKING:
    from cosmos_ray.pool.resident import Resident


@dataclass(frozen=True)
class Comparison:
    """summaries: of the settings, in their order. page: its URI; table: its table as lines of text."""

    summaries: tuple[Summary, ...]
    page: str
    table: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return max(one.exit_code for one in self.summaries)


@dataclass(frozen=True)
class _Work:
    setting: Setting
    job: Job
    plan: Plan


def compare(settings: Sequence[Setting], folder: str, say: Say, price: float | None = None) -> Comparison:
    """Make what is left of each setting's clips, then the page of all in `folder`. The same call goes on.

    Their `limit` is of rows, the manifest's first ones, so that all make the same. price: USD of a GPU for an hour.
    Raises what `generate` raises, and UsageError for two settings that are the same.
    """
    home = Storage(folder)
    if home.exists(RUN):
        raise UsageError(f"{home.uri} is the output of a job, expected a folder for the outputs of all settings")
    loud, limit = saying(say), settings[0].config.limit
    works = [_work(setting, limit, loud) for setting in settings]
    _check_different(works)
    for line in _overruled(works):
        loud(line)
    clips = [clip_id for ids in _ids(works[0].job.manifest, limit) for clip_id in ids]
    for line in _loads(works, len(clips)):
        loud(line)
    with Stop().heeds_signals(lambda: None):  # also between jobs, when there is a Ray to be ended
        with _resident() as resident:
            summaries = dict(_carried_out(works, say, resident))
        compared = [Compared(one.setting.name, summaries[one.setting.name].output, one.setting.given) for one in works]
        written = write_comparison(home, compared, clips, loud, price)
    return Comparison(tuple(summaries[one.name] for one in compared), written.page, written.table)


def _carried_out(works: Sequence[_Work], say: Say, resident: Resident) -> Iterator[tuple[str, Summary]]:
    """One job after the other, those with the same model together."""
    loud = saying(say)
    for work in sorted(works, key=lambda one: _first_like(works, one)):
        if why := signals.reason():  # it came when the job before had nothing left to stop
            raise JobFailedError(goes_on(why))
        loud(f"setting {work.setting.name}:")
        yield work.setting.name, carry_out(work.job, work.plan, hearers_of(say), resident)


def _resident() -> contextlib.closing[Resident]:
    from cosmos_ray.pool.resident import Resident  # Ray is imported by jobs only

    return contextlib.closing(Resident())


def _work(setting: Setting, limit: int | None, say: Say) -> _Work:
    try:
        job, plan = check(setting.config, say)
    except UsageError as error:
        raise UsageError(f"setting {setting.name}: {error}") from None
    if limit is None:
        return _Work(setting, job, plan)
    groups, left = first_rows(job.manifest, job.work, job.ledger.state(), limit)
    config = job.config.model_copy(update={"limit": left})
    return _Work(setting, replace(job, work=groups, config=config), plan if left else replace(plan, left=0))


def first_rows(
    manifest: Manifest, work: Sequence[RowGroup], state: LedgerState, limit: int
) -> tuple[tuple[RowGroup, ...], int]:
    """What of `work` lies within the first `limit` rows of the manifest, and how many clips are left in them."""
    starts, start = {}, 0
    for file in manifest.files:
        for number, rows in enumerate(file.rows):
            starts[file.uri, number], start = start, start + rows
    kept = []
    for group in work:
        rows = group.file.rows[group.number]
        bits = np.unpackbits(np.frombuffer(group.left, np.uint8), count=rows)
        bits[max(0, limit - starts[group.file.uri, group.number]) :] = 0
        if bits.any():
            kept.append(replace(group, left=np.packbits(bits).tobytes()))
    left = sum(not state.is_settled(clip_id) for ids in _ids(manifest, limit) for clip_id in ids)
    return tuple(kept), left


def _ids(manifest: Manifest, limit: int | None) -> Iterator[list[str]]:
    """Of the clips of the manifest's first `limit` rows, in its order."""
    room = limit
    for _, batch in manifest.batches():
        if room is not None:
            batch, room = batch.slice(0, room), max(0, room - batch.num_rows)
        if batch.num_rows:
            yield fan_out(batch).ids.to_pylist()
        if room == 0:
            return


def _loaded(work: _Work) -> tuple[str, int | None]:
    return work.job.bundle.fingerprint, work.setting.config.gang_size


def _first_like(works: Sequence[_Work], work: _Work) -> int:
    """Settings with the same model come one after the other."""
    return next(place for place, one in enumerate(works) if _loaded(one) == _loaded(work))


def _loads(works: Sequence[_Work], clips: int) -> Iterator[str]:
    """How many clips, and by which models."""
    names: dict[tuple[str, int | None], list[str]] = {}
    for work in works:
        names.setdefault(_loaded(work), []).append(work.setting.name)
    models = "one model for all" if len(names) == 1 else f"{len(names)} models, one after the other"
    yield f"{counted(len(works), 'setting')}, {counted(clips, 'clip')} each: {models}"
    for same in list(names.values())[1:]:
        work = next(one for one in works if one.setting.name == same[0])
        yield f"loaded again for {', '.join(same)}: {work.job.bundle.name} ({work.job.bundle.numerics}), as it asks for"


def _overruled(works: Sequence[_Work]) -> Iterator[str]:
    """What settings differ in and rows say themselves: clips of such rows come out alike, as if nothing were lost."""
    columns = works[0].job.manifest.schema.names
    defaults = [work.job.defaults.to_json() for work in works]
    for name in defaults[0]:
        if name in columns and any(one.get(name) != defaults[0][name] for one in defaults):
            yield f"settings differ in {name}: a row that has a value in the column of this name has it in all of them"


def _check_different(works: Sequence[_Work]) -> None:
    seen: dict[str, str] = {}
    for work in works:
        facts = [*_loaded(work), work.job.defaults.to_json(), work.setting.config.sampling.approximations.chosen]
        key = json.dumps(facts, sort_keys=True)
        if key in seen:
            raise UsageError(
                f"--settings: {seen[key]} and {work.setting.name} ask for the same clips, expected settings that differ"
            )
        seen[key] = work.setting.name
