"""Benchmarks that need GPUs run here in miniature: what they print, not what it says of speed."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import figures_of  # type: ignore[import-not-found]
from support.paths import ROOT
from support.waiting import PATIENCE_S

from cosmos_ray.ledger.record import FileEntry, Record


@pytest.mark.long
def test_denoise_prints_every_mode_of_every_gang_size() -> None:
    savings = ["one-call", "views", "second-block", "given-frames", "fa3", "fused", "modulation"]
    words = ["--size", "small", "--seconds", "0.05", "--gang-sizes", "1", "2", "--without", *savings]
    words += ["--modes", "baseline", "baseline-fa3", "exact", "fp8", "--all-to-all", "10"]
    command = [sys.executable, str(ROOT / "benchmarks" / "denoise.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    _, exchange, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(line["mode"], line["gang_size"]): line for line in lines}
    modes = ["baseline", "baseline-fa3", "exact", "fp8", *(f"without {saving}" for saving in savings)]
    assert found.keys() == {(mode, size) for mode in modes for size in (1, 2)}
    for line in found.values():
        assert line["steps"] >= 3
        assert 0 < line["least_s"] <= line["step_s"] <= line["most_s"]
        for name, baseline in {"ratio": "baseline", "ratio_fa3": "baseline-fa3"}.items():
            if (line["mode"], name) != ("baseline", "ratio_fa3"):  # that is measured before the other
                of_it = line["step_s"] / found[baseline, line["gang_size"]]["step_s"]
                assert line[name] == pytest.approx(of_it, abs=1e-3)
    assert exchange["gang_size"] == 2
    assert 0 < exchange["least_ms"] <= exchange["ms"] <= exchange["most_ms"]
    assert exchange["gb_s_sent"] == pytest.approx(5 / exchange["ms"], abs=0.06)  # half of the 10 MB stays


@pytest.mark.slow
def test_denoise_prints_the_savings_of_predict25_and_refuses_another_familys() -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "denoise.py"), "--family", "predict2.5", "--size", "small"]
    savings = ["one-call", "given-frames", "one-timestep", "text-once"]
    words = ["--seconds", "0.01", "--modes", "baseline", "exact", "--without", *savings]
    done = subprocess.run([*script, *words], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    _, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["mode"] for line in lines] == ["baseline", "exact", *(f"without {saving}" for saving in savings)]
    assert {"one-timestep", "text-once"} < set(lines[0]["without"])
    refused = subprocess.run([*script, "--without", "views"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert refused.returncode == 2
    assert "views: no saving of predict2.5" in refused.stderr


def test_the_page_of_benchmarks_names_every_file() -> None:
    """Who looks for an answer finds the script that gives it."""
    page = (ROOT / "benchmarks" / "README.md").read_text()
    files = {path.name for path in (ROOT / "benchmarks").iterdir() if path.suffix in (".py", ".sh")}
    assert {name for name in files if f"`{name}" not in page} == set()


def test_the_page_of_benchmarks_has_every_result_beside_the_script_that_gave_it() -> None:
    """Of a file of results, each script whose command it shows; a file without commands stands anywhere."""
    rows = [line for line in (ROOT / "benchmarks" / "README.md").read_text().splitlines() if line.startswith("|")]
    page = (ROOT / "benchmarks" / "README.md").read_text()
    for results in sorted((ROOT / "benchmarks" / "results").iterdir()):
        assert f"(results/{results.name}" in page, f"{results.name} is not on the page"
        commands = re.findall(r"benchmarks/(\w+\.(?:py|sh))", results.read_text())
        for script in sorted(set(commands) - {"make_published.py"}):
            beside = [row for row in rows if f"`{script}" in row and f"(results/{results.name}" in row]
            assert beside, f"{results.name} has figures of {script}, whose row does not lead there"


@pytest.mark.long
def test_gangs_of_two_sizes_make_the_same_clip() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gang_sizes.py"), "--size", "small", "--gang-sizes", "1", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    _, one, two, other, difference = [json.loads(line) for line in done.stdout.splitlines()]
    assert (one["gang_size"], two["gang_size"]) == (1, 2)
    assert two["efficiency"] == pytest.approx(one["step_s"] / two["step_s"] / 2, rel=0.1)
    assert 0 < other["rounding"] < 1e-5  # float32 on a CPU
    assert 0 < difference["error"] <= difference["allowed"] == 2 * other["rounding"]


def test_tables_show_what_a_job_that_was_cut_has_measured(tmp_path: Path) -> None:
    """As it was when the time was over: one gang loaded, no clip committed, nothing of the other sections."""
    nothing = {"made": 0, "failed": [], "step_s": None, "idle_s": None, "recovery": None, "versions": {}}
    job = {"section": "job", "gang_size": 8, "gangs": 1, "is_cut": True, "load_s": [41.5], "wall_s": 99.0, **nothing}
    end = {"section": "job", "began_s": 100, "took_s": 105, "limit_s": 100, "exit_code": 124}
    (tmp_path / "results.jsonl").write_text(f"{json.dumps(job)}\n{json.dumps(end)}\n")
    command = [sys.executable, str(ROOT / "benchmarks" / "eight_gpus_table.py"), str(tmp_path / "results.jsonl")]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| job | 1 of 8 | 0 | 41.5 |" in table
    assert "| job | 100 | 105 | 100 | cut |" in table


@pytest.mark.long
@pytest.mark.ray
def test_every_section_of_eight_gpus_runs_in_miniature(tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "benchmarks" / "eight_gpus.sh"), "--small"]
    environment = {**os.environ, "OUT": str(tmp_path), "PYTHON": sys.executable, "BUDGET": "850"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    logs = "\n".join(log.read_text()[-2000:] for log in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    ended = {line["section"]: line["exit_code"] for line in lines if "took_s" in line}
    assert ended == dict.fromkeys(("gangs", "job", "split-half", "split-ones", "exchange"), 0), logs
    jobs = {line["section"]: line for line in lines if "load_s" in line}
    assert {section: job["made"] for section, job in jobs.items()} == {"job": 3, "split-half": 3, "split-ones": 1}
    assert jobs["job"]["recovery"]["to_denoising_s"] > 0
    clips = {line["clip"]: line for line in lines if line["section"] == "job" and "clip" in line}
    assert {clip: line["attempt"] for clip, line in clips.items()} == {"clip-0": 1, "clip-1": 1, "clip-2": 2}
    table = (tmp_path / "table.md").read_text()
    assert all(words in table for words in ("A rank killed in mid-clip", "| measured |", "| reckoned |", "Exchange of"))


@pytest.mark.slow
def test_decode_prints_every_way_and_how_far_it_is_from_the_librarys() -> None:
    small = ["--dim", "8", "--frames", "2", "--height", "4", "--width", "6", "--repeats", "1"]
    command = [sys.executable, str(ROOT / "benchmarks" / "decode.py"), "--ways", "chunks", "whole", *small]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    _, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["way"] for line in lines] == ["chunks", "whole"]
    assert lines[0]["largest"] == 0
    assert 0 < lines[1]["largest"] < 1e-4


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


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_the_pipelines_benchmark_runs_a_real_job() -> None:
    words = ["--clips", "4", "--seconds", "0.3", "--conditional", "0"]
    command = [sys.executable, str(ROOT / "benchmarks" / "pipeline.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["clips"] == 4
    assert found["megabytes_a_clip"] > 10
    assert found["seconds"]["denoise"] >= 0.3
    assert 0 < found["idle_ms"]["median"] <= found["idle_ms"]["most"]
    assert "processes" in found["gang_start_s"]
