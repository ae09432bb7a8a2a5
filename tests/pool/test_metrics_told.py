"""Which metric each event of a job is recorded in, with which label. Without Ray: recorders that keep what they get."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from ray.util.metrics import Counter, Gauge, Histogram

from cosmos_ray.errors import FAILURE_CLASSES
from cosmos_ray.ledger.record import Record
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.pool import metrics as module
from cosmos_ray.pool.metrics import METRICS, JobMetrics, Levels, Metric, _seconds_between
from cosmos_ray.store.traffic import Traffic, count, take

Told = list[tuple[str, float, str]]


class Scene:
    """told: name, value and label of what was recorded, in order. begun: of what began at zero."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: Told = []
        self.begun: list[tuple[str, str]] = []
        self.tags: list[dict[str, str]] = []
        self.breaks: set[str] = set()
        monkeypatch.setattr(module, "_recorder", self.recorder)
        count(read=1000)  # of before this job
        self.metrics = JobMetrics("/out", clips=10, settled=3, gang_size=4)

    def recorder(self, metric: Metric) -> Any:
        kind: Any = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}[metric.kind]
        found = kind.__new__(kind)

        def record(value: float, labels: dict[str, str] | None) -> None:
            if metric.name in self.breaks:
                raise RuntimeError("no agent")
            assert list(labels or {}) == ([metric.label] if metric.label else [])
            self.told.append((metric.name, value, (labels or {}).get(metric.label, "")))

        def begin(value: float, labels: dict[str, str] | None) -> None:
            assert value == 0
            self.begun.append((metric.name, (labels or {}).get(metric.label, "")))

        found.set = found.observe = found.inc = record
        found._record, found.set_default_tags = begin, self.tags.append
        return found

    def since(self) -> Told:
        """What was told since this was asked last."""
        found, self.told[:] = list(self.told), []
        return found


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_counters_begin_at_zero_with_each_of_their_labels(scene: Scene) -> None:
    expected = [(one.name, value) for one in METRICS if one.kind == "counter" for value in one.values or ("",)]
    assert scene.begun == expected
    assert ("clips_failed_total", "oom") in expected
    assert scene.tags == [{"output": "/out"}] * len(METRICS)
    assert scene.told == []


def test_a_clip_that_is_made_counts_in_its_mode_and_each_phase(scene: Scene) -> None:
    """Time of GPUs is that of all of the gang's."""
    seconds = {"prepare": 1.0, "wait": 2.0, "denoise": 3.0, "decode": 4.0, "encode": 5.0, "put": 6.0, "idle": 0.5}
    record = Record(
        "a", 0, "ok", None, 1, None, "h", 1, seconds=seconds,
        started="2026-01-01T00:00:10+00:00", finished="2026-01-01T00:01:20.500000+00:00",
    )  # fmt: skip
    for frames, mode in ((0, "text2world"), (1, "image2world"), (5, "video2world")):
        scene.metrics.made(Clip("a", "a", num_conditional_frames=frames), record)
        assert scene.since() == [
            ("clips_done_total", 1, mode),
            ("clip_seconds", 70.5, mode),
            *(("clip_phase_seconds", float(number), phase) for number, phase in enumerate(list(seconds)[:6], 1)),
            ("gpu_denoise_seconds_total", 12.0, ""),
            ("gpu_idle_seconds_total", 2.0, ""),
        ]


def test_times_that_nobody_has_written_down_take_none() -> None:
    assert (
        _seconds_between(None, "2026-01-01T00:00:10+00:00") == _seconds_between("2026-01-01T00:00:10+00:00", None) == 0
    )


def test_clips_that_failed_count_by_class_and_all_count_as_settled(scene: Scene) -> None:
    for failure_class in FAILURE_CLASSES:
        scene.metrics.settled(Record("a", 0, "failed", failure_class, 1, "why", "h", 1))
        assert scene.since() == [("clips_failed_total", 1, failure_class)]
    scene.metrics.settled(Record("a", 0, "ok", None, 1, None, "h", 1))
    assert scene.since() == []
    scene.metrics.sample(Levels({}, {}, False, 0, 0.0))
    assert [told for told in scene.told if told[0] in ("clips_wanted", "clips_settled")] == [
        ("clips_wanted", 10, ""),
        ("clips_settled", 3 + len(FAILURE_CLASSES) + 1, ""),
    ]


def test_gangs_and_attempts_count_by_how_they_ended(scene: Scene) -> None:
    scene.metrics.attempt_ended("ok")
    scene.metrics.attempt_ended("handed_back")
    scene.metrics.gang_started(6.5)
    scene.metrics.gang_did_not_start()
    scene.metrics.gang_died("timeout")
    assert scene.told == [
        ("attempts_total", 1, "ok"),
        ("attempts_total", 1, "handed_back"),
        ("gang_starts_total", 1, "up"),
        ("gang_start_seconds", 6.5, ""),
        ("gang_starts_total", 1, "failed"),
        ("gang_deaths_total", 1, "timeout"),
    ]


def test_a_sample_says_every_level_and_what_was_added_since(scene: Scene) -> None:
    """Levels that are not told are 0, and are recorded: a gauge that is not set is forgotten."""
    count(read=7, written=8, retries=9)
    scene.metrics.sample(Levels({"denoising": 2, "parked": 1}, {"wanted": 3, "up": 2}, True, 4, 50.0))
    first = scene.since()
    assert first == [
        ("clips_wanted", 10, ""),
        ("clips_settled", 3, ""),
        *(("clips_open", {"denoising": 2, "parked": 1}.get(stage, 0), stage) for stage in module.STAGES),
        ("gangs", 3, "wanted"),
        ("gangs", 0, "placed"),
        ("gangs", 2, "up"),
        ("paused", 1, ""),
        ("nodes_avoided", 4, ""),
        ("gpu_held_seconds_total", 50.0, ""),
        ("read_bytes_total", 7, "driver"),
        ("written_bytes_total", 8, "driver"),
        ("store_retries_total", 9, "driver"),
    ]
    assert len(module.STAGES) == 6
    scene.metrics.sample(Levels({}, {}, False, 0, 60.0))
    second = scene.since()
    assert ("gpu_held_seconds_total", 10.0, "") in second
    assert ("paused", 0, "") in second
    assert not [told for told in second if told[0] == "read_bytes_total"], "nothing was read, and 0 is refused"
    scene.metrics.sample(Levels({}, {}, False, 0, 60.0))
    assert not [told for told in scene.since() if told[0] == "gpu_held_seconds_total"]
    scene.metrics.sample(Levels({}, {}, False, 0, 75.0))
    assert ("gpu_held_seconds_total", 15.0, "") in scene.since()


def test_what_gangs_exchange_counts_as_theirs(scene: Scene) -> None:
    scene.metrics.exchanged("gang", Traffic(1, 2, 3))
    assert scene.told == [
        ("read_bytes_total", 1, "gang"),
        ("written_bytes_total", 2, "gang"),
        ("store_retries_total", 3, "gang"),
    ]
    assert take() == Traffic()


def test_a_metric_that_cannot_be_recorded_is_said_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.breaks = {"gang_starts_total"}
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            scene.metrics.gang_started(1.0)
    assert [record.getMessage() for record in caplog.records] == ["gang_starts_total is not recorded"]
    assert scene.told == [("gang_start_seconds", 1.0, "")] * 3


def test_levels_are_sampled_for_as_long_as_the_job_runs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SAMPLE_S", 0.0)
    held = iter(range(1, 100))

    async def keep() -> None:
        keeping = asyncio.create_task(scene.metrics.keep(lambda: Levels({}, {}, False, 0, float(next(held)))))
        while len([told for told in scene.told if told[0] == "gpu_held_seconds_total"]) < 3:
            await asyncio.sleep(0)
        keeping.cancel()

    asyncio.run(keep())
    assert {told[1] for told in scene.told if told[0] == "gpu_held_seconds_total"} == {1.0}
