"""What an output has taken: time, GPU-hours, cost, throughput, how busy its gangs were, what was tried again."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.ledger.history import JobTook
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.words import counted, duration

_BARS = 48


@dataclass(frozen=True)
class Throughput:
    """Clips made in each of `bars` equal parts of the time from `began` to `ended` (ISO 8601), `bar_s` seconds each."""

    bars: tuple[int, ...]
    began: str
    ended: str
    bar_s: float

    @property
    def most(self) -> int:
        return max(self.bars)

    def in_words(self) -> str:
        bar = f"{self.bar_s:.2g} s" if self.bar_s < 1 else duration(self.bar_s)
        return f"{self.began} to {self.ended}, {bar} a bar, at most {counted(self.most, 'clip')}"


def throughput(state: LedgerState) -> Throughput | None:
    """None before two clips were made at two moments."""
    settled = state.settled_table
    finished = settled.filter(pc.equal(settled["status"], "ok"))["finished"].drop_null().to_pylist()
    if len(finished) < 2 or min(finished) == max(finished):
        return None
    times = [datetime.datetime.fromisoformat(one).timestamp() for one in finished]
    first, last = min(times), max(times)
    bars = [0] * _BARS
    for one in times:
        bars[min(_BARS - 1, int((one - first) / (last - first) * _BARS))] += 1
    return Throughput(tuple(bars), min(finished)[:19], max(finished)[:19], (last - first) / _BARS)


def facts(
    state: LedgerState, jobs: Sequence[JobTook], index: pa.Table, price: float | None = None
) -> list[tuple[str, str]]:
    """(what, how much) in words. index: of all clips. price: USD of a GPU for an hour."""
    return [*_of_jobs(jobs, index, state, price), ("tried again", _retries(state))]


def _of_jobs(
    jobs: Sequence[JobTook], index: pa.Table, state: LedgerState, price: float | None
) -> list[tuple[str, str]]:
    if not jobs:
        return [("time and GPUs", "not known: it was made by an older release")]
    actual_s = sum(_seconds(one) for one in jobs)
    gpu_s = sum(one.gpu_seconds for one in jobs)
    planned = [one.planned_gpu_seconds for one in jobs[:1] if one.planned_gpu_seconds is not None]
    first = jobs[0]
    if planned:
        planned_s = planned[0] / first.gang_size / max(1, first.gangs)
        time = (
            f"{duration(actual_s)}; planned at the beginning: {duration(planned_s)} with {counted(first.gangs, 'gang')}"
        )
        gpus = f"{gpu_s / 3600:.2f}; planned: {planned[0] / 3600:.2f}"
    else:
        time = f"{duration(actual_s)}; not planned: times of this model were not measured"
        gpus = f"{gpu_s / 3600:.2f}"
    made = index.num_rows
    unit = "GPU-hours" if first.device == "cuda" else "rank-hours"
    found = [
        ("time", f"{time} ({counted(len(jobs), 'job')})"),
        (unit if first.device == "cuda" else f"{unit} (no GPUs)", gpus),
    ]
    if made and gpu_s:
        found.append(("a clip", f"{gpu_s / 3600 / made:.3f} {unit}"))
    if price is not None:
        found.append(("cost", f"{gpu_s / 3600 * price:,.2f} USD at {price:g} USD a GPU-hour"))
    busy = _busy(jobs, index, state)
    if busy is not None:
        found.append(("gangs were busy", f"{100 * busy:.1f} % of their time, denoising clips that were made"))
    return found


def _seconds(job: JobTook) -> float:
    began, seen = (datetime.datetime.fromisoformat(one) for one in (job.began, job.seen))
    return (seen - began).total_seconds()


def _busy(jobs: Sequence[JobTook], index: pa.Table, state: LedgerState) -> float | None:
    """None where clips were made by jobs that nothing is known of, or by gangs of several sizes."""
    sizes = {one.gang_size for one in jobs}
    finished = state.settled_table["finished"].drop_null()
    gpu_s = sum(one.gpu_seconds for one in jobs)
    if len(sizes) != 1 or not gpu_s or "seconds" not in index.column_names or not len(finished):
        return None
    if pc.min(finished).as_py() < jobs[0].began:
        return None
    return min(1.0, (pc.sum(index["seconds"]).as_py() or 0.0) * sizes.pop() / gpu_s)


def _retries(state: LedgerState) -> str:
    attempts = state.settled_table["attempt"]
    more = pc.sum(pc.max_element_wise(pc.subtract(attempts, 1), 0)).as_py() or 0
    clips = pc.sum(pc.greater(attempts, 1)).as_py() or 0
    return f"{counted(more, 'attempt')} of {counted(clips, 'clip')}" if more else "nothing"
