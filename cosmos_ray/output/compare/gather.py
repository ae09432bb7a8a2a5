"""What each setting has made of the same clips, from the outputs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cosmos_ray.clip.check_rules import worst
from cosmos_ray.ledger.history import JobTook, read_jobs
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.store.storage import Storage

#: Records that are read at once.
_AT_ONCE = 1000


@dataclass(frozen=True)
class Compared:
    """One setting. output: URI. given: what its file says."""

    name: str
    output: str
    given: Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """One clip under one setting. record: None while it is `left`. gang_size: that it was made by; None: not known.

    is_first: it was the first one that its gang made, while kernels and caches were warming up.
    """

    clip_id: str
    status: Literal["ok", "failed", "left"]
    record: Record | None = None
    gang_size: int | None = None
    is_first: bool = False

    @property
    def seconds(self) -> float | None:
        """Of its gang, denoising: what decides how many clips a gang makes in an hour."""
        return self.record.seconds.get("denoise") if self.record is not None and self.status == "ok" else None

    @property
    def gpu_hours(self) -> float | None:
        if self.seconds is None or self.gang_size is None:
            return None
        return self.seconds * self.gang_size / 3600

    @property
    def agreement(self) -> float | None:
        """Of neighbouring views, where their pictures meet."""
        found = worst(self.record.scores) if self.record is not None else None
        return None if found is None else found.agreement


@dataclass(frozen=True)
class Taken:
    """A setting, and its side of every clip, in the clips' order. device: `cuda`, or `cpu`."""

    setting: Compared
    storage: Storage
    sides: tuple[Side, ...]
    device: str = "cuda"
    jobs: Sequence[JobTook] = field(default=())


def gather(setting: Compared, clip_ids: Sequence[str]) -> Taken:
    """What the output of one setting says of these clips."""
    storage = Storage(setting.output)
    state, jobs = Ledger(storage).state(), read_jobs(storage)
    settled = [clip_id for clip_id in clip_ids if state.is_settled(clip_id)]
    reader = RecordReader(storage, state)
    records: dict[str, Record] = {}
    for start in range(0, len(settled), _AT_ONCE):
        records |= {record.id: record for record in reader.newest(settled[start : start + _AT_ONCE])}
    sizes, firsts = {job.epoch: job.gang_size for job in jobs}, _firsts(records.values())

    def side(clip_id: str) -> Side:
        record = records.get(clip_id)
        if record is None:
            return Side(clip_id, "left")
        return Side(clip_id, record.status, record, sizes.get(record.epoch), clip_id in firsts)

    return Taken(setting, storage, tuple(map(side, clip_ids)), jobs[0].device if jobs else "cuda", jobs)


def _firsts(records: Any) -> set[str]:
    """Clips that were the first of a gang in a job."""
    first: dict[tuple[int, str | None], Record] = {}
    for record in records:
        if record.status != "ok":
            continue
        key = record.epoch, record.gang
        if key not in first or (record.finished or "") < (first[key].finished or ""):
            first[key] = record
    return {record.id for record in first.values()}
