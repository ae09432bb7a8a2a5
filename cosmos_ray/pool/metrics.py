"""A job's metrics in Prometheus' terms: what each one is, its unit and its labels, and when it is recorded.

Ray's agent on the driver's node exports them, with the prefix `ray_`, at most 10 s after they were recorded
(docs/observability.md). All are recorded by the driver, from what it is told anyway. Ray gives each process's series a
label of its own, so metrics of leaders and ranks would become more with every gang that is replaced, and what a killed
process had not sent yet would be lost. The driver sends the rest when it ends, so counts agree with the ledger.

Recording adds to a number in this process, and a fault of it is logged once and forgotten: no job fails by its metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ray.util.metrics import Counter, Gauge, Histogram

from cosmos_ray.errors import FAILURE_CLASSES, FailureClass
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.store.traffic import Traffic, take

log = logging.getLogger(__name__)

PREFIX = "cosmos_ray_"
#: Ray forgets a gauge that was not set for two of its export intervals of 10 s.
_SAMPLE_S = 5.0
#: Five a decade, from 0.1 s (the fake model on a CPU) to 6300 s.
BUCKETS_S = [round(step * 10.0**decade, 2) for decade in range(-1, 4) for step in (1, 1.6, 2.5, 4, 6.3)]

MODES = {0: "text2world", 1: "image2world", 5: "video2world"}
PHASES = ("prepare", "wait", "denoise", "decode", "encode", "put")
#: An attempt's end beside the failure classes: its gang had to leave, so it does not count.
HANDED_BACK = "handed_back"
#: Where clips are that were taken from the stream and not settled: in the driver's queue, set aside after their last
#: attempt (workload.py), and the four stages of a gang.
STAGES = ("waiting", "parked", "preparing", "prepared", "denoising", "publishing")
GANG_STATES = ("wanted", "placed", "up")
#: Whose exchange with stores: leaders and ranks, or the driver.
STORE_USERS = ("gang", "driver")


@dataclass(frozen=True)
class Metric:
    """label: the one beside `output`, if any; values: all that it can have."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    label: str = ""
    values: tuple[str, ...] = ()

    @property
    def exported(self) -> str:
        """The name to query."""
        return f"ray_{PREFIX}{self.name}"


#: Every metric. A GPU is a rank: on gangs of CPU ranks it counts those.
METRICS = (
    # When a clip is made (`pool._finished`) or recorded as failed (`pool._settled`).
    Metric("clips_done_total", "counter", "Clips committed as ok.", "mode", tuple(MODES.values())),
    Metric("clips_failed_total", "counter", "Clips recorded as failed.", "failure_class", FAILURE_CLASSES),
    Metric("clip_seconds", "histogram", "From the start of the attempt to its commit.", "mode", tuple(MODES.values())),
    Metric("clip_phase_seconds", "histogram", "Time of a clip in each phase of its gang.", "phase", PHASES),
    Metric("gpu_denoise_seconds_total", "counter", "GPU time spent denoising clips that were committed."),
    Metric("gpu_idle_seconds_total", "counter", "GPU time between the denoising of one committed clip and the next."),
    # When an attempt ends, for gangs; every few seconds, for the driver.
    Metric("read_bytes_total", "counter", "Read from stores and disks: inputs, records.", "by", STORE_USERS),
    Metric("written_bytes_total", "counter", "Stored: videos, sidecars, records, states.", "by", STORE_USERS),
    Metric("store_retries_total", "counter", "Requests to stores made again after a fault.", "by", STORE_USERS),
    # When an attempt ends (`pool._settle`, `pool._give_up_all`). Attempts are retries where one went before.
    Metric(
        "attempts_total", "counter", "Attempts at clips, by how they ended.",
        "outcome", ("ok", *FAILURE_CLASSES, HANDED_BACK),
    ),
    # When a gang is up, did not come up, or broke (`pool._start`, `pool._work`).
    Metric("gang_starts_total", "counter", "Gangs that loaded, and that failed to.", "outcome", ("up", "failed")),
    Metric("gang_start_seconds", "histogram", "From having the GPUs to having the model loaded."),
    Metric("gang_deaths_total", "counter", "Gangs that broke, by why.", "failure_class", FAILURE_CLASSES),
    # Every few seconds (`JobMetrics.keep`).
    Metric("clips_wanted", "gauge", "Clips that the manifest asks for."),
    Metric("clips_settled", "gauge", "Clips that are committed or failed, in all runs so far."),
    Metric("clips_open", "gauge", "Clips between manifest and record, by where they are.", "stage", STAGES),
    Metric("gangs", "gauge", "Gangs wanted, of these with GPUs, of these loaded.", "state", GANG_STATES),
    Metric("paused", "gauge", "1 while the job starts nothing after faults in a row, else 0."),
    Metric("nodes_avoided", "gauge", "Nodes that get no gangs because gangs broke there."),
    Metric("gpu_held_seconds_total", "counter", "GPU time of gangs, from having GPUs to giving them back."),
)  # fmt: skip


@dataclass(frozen=True)
class Levels:
    """How a job stands at one moment. stages, gangs: counts by STAGES and GANG_STATES (left out: none);
    held_gpu_seconds: since the job began."""

    stages: Mapping[str, int]
    gangs: Mapping[str, int]
    paused: bool
    nodes_avoided: int
    held_gpu_seconds: float


class JobMetrics:
    """Records the metrics of one job: `clips` in its manifest, `settled` of them before it began."""

    def __init__(self, output: str, clips: int, settled: int, gang_size: int) -> None:
        self._clips, self._settled, self._gang_size = clips, settled, gang_size
        self._held_s = 0.0
        self._failing: set[str] = set()
        take()  # what came before is not this job's
        self._series: dict[str, tuple[Metric, Any]] = {}
        for metric in METRICS:
            recorder = _recorder(metric)
            recorder.set_default_tags({"output": output})
            self._series[metric.name] = (metric, recorder)
            if metric.kind == "counter":
                self._begin_at_zero(metric, recorder)

    async def keep(self, levels: Callable[[], Levels]) -> None:
        """Sample the job's state for as long as it runs."""
        while True:
            self.sample(levels())
            await asyncio.sleep(_SAMPLE_S)

    def sample(self, levels: Levels) -> None:
        self._record("clips_wanted", self._clips)
        self._record("clips_settled", self._settled)
        for stage in STAGES:
            self._record("clips_open", levels.stages.get(stage, 0), stage)
        for state in GANG_STATES:
            self._record("gangs", levels.gangs.get(state, 0), state)
        self._record("paused", int(levels.paused))
        self._record("nodes_avoided", levels.nodes_avoided)
        self._record("gpu_held_seconds_total", levels.held_gpu_seconds - self._held_s)
        self._held_s = levels.held_gpu_seconds
        self.exchanged("driver", take())

    def exchanged(self, by: Literal["gang", "driver"], traffic: Traffic) -> None:
        """What was exchanged with stores since this was told last."""
        self._record("read_bytes_total", traffic.read, by)
        self._record("written_bytes_total", traffic.written, by)
        self._record("store_retries_total", traffic.retries, by)

    def settled(self, record: Record) -> None:
        self._settled += 1
        if record.status == "failed":
            self._record("clips_failed_total", 1, record.failure_class or "internal")

    def made(self, clip: Clip, record: Record) -> None:
        """A gang has committed this record."""
        mode = MODES[clip.num_conditional_frames]
        self._record("clips_done_total", 1, mode)
        self._record("clip_seconds", _seconds_between(record.started, record.finished), mode)
        for phase in PHASES:
            self._record("clip_phase_seconds", record.seconds.get(phase, 0.0), phase)
        self._record("gpu_denoise_seconds_total", record.seconds.get("denoise", 0.0) * self._gang_size)
        self._record("gpu_idle_seconds_total", record.seconds.get("idle", 0.0) * self._gang_size)

    def attempt_ended(self, outcome: str) -> None:
        """outcome: `ok`, the failure class, or HANDED_BACK."""
        self._record("attempts_total", 1, outcome)

    def gang_started(self, load_seconds: float) -> None:
        self._record("gang_starts_total", 1, "up")
        self._record("gang_start_seconds", load_seconds)

    def gang_did_not_start(self) -> None:
        self._record("gang_starts_total", 1, "failed")

    def gang_died(self, failure_class: FailureClass) -> None:
        self._record("gang_deaths_total", 1, failure_class)

    def _begin_at_zero(self, metric: Metric, counter: Counter) -> None:
        """Prometheus cannot see the first increase of a series that was not there. `Counter.inc` refuses 0."""
        with self._harmless(metric.name):
            for value in metric.values or ("",):
                counter._record(0.0, {metric.label: value} if metric.label else None)

    def _record(self, name: str, value: float, label_value: str = "") -> None:
        metric, recorder = self._series[name]
        labels = {metric.label: label_value} if metric.label else None
        with self._harmless(name):
            if isinstance(recorder, Gauge):
                recorder.set(value, labels)
            elif isinstance(recorder, Histogram):
                recorder.observe(value, labels)
            elif value > 0:
                recorder.inc(value, labels)

    @contextlib.contextmanager
    def _harmless(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            if name not in self._failing:
                log.exception("%s is not recorded", name)
            self._failing.add(name)


def _recorder(metric: Metric) -> Counter | Gauge | Histogram:
    name, labels = f"{PREFIX}{metric.name}", ("output", *((metric.label,) if metric.label else ()))
    if metric.kind == "counter":
        return Counter(name, metric.description, labels)
    if metric.kind == "gauge":
        return Gauge(name, metric.description, labels)
    return Histogram(name, metric.description, BUCKETS_S, labels)


def _seconds_between(started: str | None, finished: str | None) -> float:
    """Of two times as `commit.now` writes them."""
    if started is None or finished is None:
        return 0.0
    return (datetime.datetime.fromisoformat(finished) - datetime.datetime.fromisoformat(started)).total_seconds()
