"""How far a job is, read from its output alone: works from any machine, while it runs or years after."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.layout import COMPARISON, RUN
from cosmos_ray.ledger.lease import Owner, read_owner
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import Run, read_run
from cosmos_ray.ledger.state import LedgerState, counts_by_outcome
from cosmos_ray.store.storage import Storage
from cosmos_ray.words import counted, duration, node_name

#: A job that was heard of last so long ago is at work no more: four times what makes another take over.
SILENT_S = 60.0
#: The rate is that of the last clips, so that it follows a job that grows.
_RATE_CLIPS = 200


@dataclass(frozen=True)
class Status:
    """clips: all that the manifest asks for; ok, failed and left are of those. removed: settled clips whose rows the
    manifest no longer had when a job began last; their videos stay. eta_s: seconds, None before there is a rate.
    owner: the job, if one runs or was cut off; None if there is none or it has ended. stale: files that are not of what
    the ledger and the manifest say now; manifest_changed: it was written since a job or a report read it
    (`derived.with_stale` looks for both).
    """

    output: str
    model: str
    clips: int
    ok: int
    failed: int
    failed_by_class: dict[str, int]
    left: int
    clips_per_hour: float | None
    eta_s: float | None
    removed: int = 0
    owner: Owner | None = None
    stale: tuple[str, ...] = ()
    manifest_changed: bool = False

    @property
    def is_at_work(self) -> bool:
        """There is a job that was heard of, and that may be alive."""
        return self.owner is not None and not self.owner.has_ended and self.owner.age_s < SILENT_S


def read_status(output: str) -> tuple[Status, Run, LedgerState]:
    """Raises UsageError if no job has begun at `output`."""
    storage = Storage(output)
    run = run_of(storage)
    state = Ledger(storage).state()
    owner = read_owner(storage)
    status = summarise(storage.uri, run, state)
    if owner is None or owner.released:
        return status, run, state
    # A job that runs knows its gangs; the ledger's last clips may be of a run before it, and of fewer gangs.
    known = {name: owner.job[name] for name in ("eta_s", "clips_per_hour") if owner.job.get(name) is not None}
    return replace(status, owner=owner, **known), run, state


def run_of(storage: Storage) -> Run:
    """What the output is made from. Raises UsageError if no job has begun there."""
    run = read_run(storage)
    if run is None:
        check_no_comparison(storage)
        raise UsageError(f"there is no run at {storage.uri}: expected {storage.uri_of(RUN)}")
    return run


def check_no_comparison(storage: Storage) -> None:
    """Raises UsageError for the folder of a comparison, which is no output, but holds some."""
    try:
        names = [setting["name"] for setting in json.loads(storage.read(COMPARISON))["settings"]]
    except (OSError, ValueError, LookupError, TypeError):
        return
    raise UsageError(
        f"{storage.uri} is the folder of a comparison, expected the output of one of its settings: "
        f"{', '.join(map(storage.uri_of, names))}"
    )


def summarise(output: str, run: Run, state: LedgerState) -> Status:
    """As the run and the ledger tell it, whoever owns the output."""
    settled = state.settled_table
    counts = counts_by_outcome(settled)
    for outcome, removed in run.removed.items():
        counts[outcome] = max(0, counts.get(outcome, 0) - removed)
    ok = counts.pop("ok", 0)
    by_class = {name: count for name, count in counts.items() if count}
    left = max(0, run.clips - ok - sum(by_class.values()))
    rate = _clips_per_hour(settled.filter(pc.equal(settled["status"], "ok"))["finished"])
    eta_s = left / rate * 3600 if rate else None
    return Status(
        output=output,
        model=run.model,
        clips=run.clips,
        ok=ok,
        failed=sum(by_class.values()),
        failed_by_class=by_class,
        left=left,
        clips_per_hour=rate,
        eta_s=eta_s,
        removed=sum(run.removed.values()),
    )


def _clips_per_hour(finished: pa.ChunkedArray) -> float | None:
    known = finished.drop_null()
    if len(known) < 2:
        return None  # of a column without chunks, not every pyarrow finds the latest
    recent = sorted(known.take(pc.top_k_unstable(known, _RATE_CLIPS)).to_pylist())
    first, last = datetime.datetime.fromisoformat(recent[0]), datetime.datetime.fromisoformat(recent[-1])
    hours = (last - first).total_seconds() / 3600
    return (len(recent) - 1) / hours if hours > 0 else None


def removed_line(clips: int) -> str:
    """What is said of clips that were made, or failed, and whose rows are gone."""
    return f"{counted(clips, 'more clip')} of rows that the manifest no longer has: they stay, in no other count"


def owner_lines(owner: Owner) -> Iterator[str]:
    """What a person wants to know of the job that owns an output."""
    yield f"job {owner.name}, last heard of {owner.age_s:.0f} s ago"
    gangs = owner.job.get("gangs", {})
    if gangs:
        yield "gangs: " + ", ".join(f"{name} on node {node_name(node)}" for name, node in sorted(gangs.items()))
    for name, at in sorted(owner.job.get("at", {}).items()):
        left = "" if at.get("left_s") is None else f", {duration(at['left_s'])} left"
        yield f"  {name}: {at['clip']}, step {at['step']} of {at['steps']}{left}"
    if avoided := owner.job.get("avoided_nodes"):
        yield "avoided, because gangs broke on them: node " + ", ".join(node_name(node) for node in avoided)
    if draining := owner.job.get("draining_nodes"):
        yield "being drained: node " + ", ".join(node_name(node) for node in draining)
    if pause := owner.job.get("pause"):
        yield f"the job pauses: {pause}"


def record_lines(output: str) -> Iterator[dict[str, Any]]:
    """One dict a commit record, all generations: id, generation, status, class, attempt, error.

    Raises UsageError if no job has begun at `output`.
    """
    storage = Storage(output)
    run_of(storage)
    for record in Ledger(storage).records():
        yield {
            "id": record.id,
            "generation": record.generation,
            "status": record.status,
            "class": record.failure_class,
            "attempt": record.attempt,
            "error": record.error,
        }
