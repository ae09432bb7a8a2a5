"""Benchmarks that need GPUs run here in miniature: what they print, not what it says of speed."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from pipeline import figures_of  # type: ignore[import-not-found]  # noqa: E402

from cosmos_ray.ledger import FileEntry, Record  # noqa: E402


@pytest.mark.slow
def test_denoise_prints_every_mode_of_every_gang_size() -> None:
    words = ["--size", "small", "--seconds", "0.05", "--gang-sizes", "1", "2"]
    command = [sys.executable, str(ROOT / "benchmarks" / "denoise.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    _, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(line["mode"], line["gang_size"]): line for line in lines}
    assert found.keys() == {(mode, size) for mode in ("baseline", "exact") for size in (1, 2)}
    for line in found.values():
        assert line["steps"] >= 3
        assert 0 < line["least_s"] <= line["step_s"] <= line["most_s"]
        assert line["ratio"] == pytest.approx(line["step_s"] / found["baseline", line["gang_size"]]["step_s"], abs=1e-3)


def clip(began: float, wait: float, denoise: float, ended: float, idle: float) -> Record:
    """Prepared in a second."""
    times = [datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat() for at in (began, ended)]
    seconds = {"prepare": 1.0, "wait": wait, "denoise": denoise, "idle": idle, "decode": 1.0, "encode": 1.0, "put": 1.0}
    file = FileEntry("rear", "r.mp4", 2_000_000, "s")
    return Record(
        "a", 0, "ok", None, 1, None, "h", 1, started=times[0], finished=times[1], seconds=seconds, files=(file,)
    )


def test_what_the_pipelines_benchmark_reads_out_of_records() -> None:
    """Four clips of 9.5 s, half a second apart: so much of each publishing lies in a gap. The fourth's preparing begins
    half a second before the first is denoised."""
    clips = [
        clip(0, 0, 9.5, ended=13, idle=1.0),
        clip(1, 9, 9.5, ended=23, idle=0.5),
        clip(2, 18, 9.5, ended=34.5, idle=0.5),
        clip(0.5, 29.5, 9.5, ended=44, idle=0.5),
    ]
    figures = figures_of(clips)
    assert figures["idle_ms"] == {"first": 1000.0, "median": 500.0, "most": 500.0}
    assert figures["busy_share"] == pytest.approx(1 - 1.5 / 39.5, abs=1e-4)
    assert figures["hidden_share"]["prepare"] == 0.5
    assert figures["hidden_share"]["publish"] == pytest.approx(7.5 / 9, abs=1e-4)
    assert figures["megabytes_a_clip"] == 2.0


@pytest.mark.ray
@pytest.mark.slow
def test_the_pipelines_benchmark_runs_a_real_job() -> None:
    words = ["--clips", "4", "--seconds", "0.3", "--conditional", "0"]
    command = [sys.executable, str(ROOT / "benchmarks" / "pipeline.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["clips"] == 4
    assert found["megabytes_a_clip"] > 10
    assert found["seconds"]["denoise"] >= 0.3
    assert 0 < found["idle_ms"]["median"] <= found["idle_ms"]["most"]
    assert "processes" in found["gang_start_s"]
