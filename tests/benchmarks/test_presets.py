"""What a preset costs: its passes by kind, and the sum that the script reckons."""

from __future__ import annotations

import collections
import json
import subprocess
import sys

import pytest
from presets import kinds_of  # type: ignore[import-not-found]
from support.paths import ROOT
from support.waiting import PATIENCE_S

from cosmos_ray.clip.sampling import SamplingConfig


def kinds(preset: str, attention: str, passes: int) -> dict[tuple[int, str], int]:
    chosen = SamplingConfig.model_validate({"preset": preset, "attention": attention}).approximations
    return dict(collections.Counter(kinds_of(chosen, passes, 28)))


def test_a_clips_passes_are_those_of_its_settings() -> None:
    """In 8 bits are the ones between the first tenth and the last twentieth of the schedule."""
    assert kinds("exact", "exact", 36) == {(2, "exact"): 36}
    assert kinds("exact", "fp8", 36) == {(2, "exact"): 6, (2, "fp8"): 30}
    assert kinds("balanced", "exact", 21) == {(2, "exact"): 10, (1, "exact"): 11}
    assert kinds("fast", "fp8", 12) == {(2, "exact"): 1, (2, "fp8"): 4, (1, "fp8"): 6, (1, "exact"): 1}


@pytest.mark.slow
def test_every_preset_is_told_with_what_plan_says_of_it() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "presets.py"), "--size", "small", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    pass_s = {(line["texts"], line["attention"]): line["pass_s"] for line in lines if "texts" in line}
    (view_s,) = [line["decode_view_s"] for line in lines if "decode_view_s" in line]
    told = {(line["preset"], line["attention"]): line for line in lines if "preset" in line}
    assert told.keys() == {(name, how) for name in ("exact", "balanced", "fast") for how in ("exact", "fp8")}
    exact = told["exact", "exact"]
    assert (exact["ratio"], exact["planned"]) == (1.0, 1.0)
    assert exact["clip_s"] == pytest.approx(36 * pass_s[2, "exact"] + 3 * view_s, rel=0.02)
    balanced = told["balanced", "exact"]
    assert balanced["steps"] == 21
    assert balanced["passes"] == {"2 texts, exact": 10, "1 text, exact": 11}
    assert balanced["planned"] == pytest.approx(31 / 72, abs=1e-3)
    assert told["fast", "fp8"]["planned"] < told["fast", "exact"]["planned"] == pytest.approx(0.236, abs=0.01)
