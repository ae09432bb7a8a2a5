"""Benchmarks that need GPUs run here in miniature: what they print, not what it says of speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_denoise_prints_every_mode_of_every_gang_size() -> None:
    words = ["--size", "small", "--seconds", "0.05", "--gang-sizes", "1", "2"]
    command = [sys.executable, str(ROOT / "benchmarks" / "denoise.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    _, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(line["mode"], line["gang_size"]): line for line in lines}
    assert found.keys() == {(mode, size) for mode in ("baseline", "exact", "fp8") for size in (1, 2)}
    for line in found.values():
        assert line["steps"] >= 3
        assert 0 < line["least_s"] <= line["step_s"] <= line["most_s"]
        assert line["ratio"] == pytest.approx(line["step_s"] / found["baseline", line["gang_size"]]["step_s"], abs=1e-3)
