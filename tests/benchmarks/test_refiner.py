"""The benchmark of the local refiner runs, in miniature."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from refiner import Prompts  # type: ignore[import-not-found]
from support.paths import ROOT
from support.waiting import PATIENCE_S

SMALL = ["--tiny", "--device", "cpu", "--runs", "2", "--tokens", "8", "--height", "64", "--width", "112"]


def run(*words: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(ROOT / "benchmarks" / "refiner.py"), *SMALL, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.long
def test_it_prints_what_a_prompt_takes() -> None:
    model, *prompts = run()
    assert model["parameters"] > 0
    assert [(one["pictures"], one["tokens"]) for one in prompts] == [(0, 8), (1, 8), (5, 8)]
    assert all(one["seconds"] > 0 for one in prompts)


@pytest.mark.long
def test_it_prints_what_prompts_cost_the_clips_beside_them() -> None:
    """Of models with both kinds of solvers, one of them steered."""
    _, *found = run("--beside", "tiny-video2world", "tiny-transfer25", "--passes", "2")
    assert [one["model"] for one in found] == ["tiny-video2world", "tiny-transfer25"]
    for one in found:
        assert (len(one["pass_alone_s"]), len(one["pass_beside_s"])) == (2, 2)
        assert one["prompts"] > 0
        longer = sum(one["pass_beside_s"]) - sum(one["pass_alone_s"])
        assert one["a_prompt_costs_s"] == pytest.approx(longer / one["prompts"], abs=0.01)


def test_a_prompt_counts_by_its_part_in_the_time_that_was_looked_at() -> None:
    prompts = Prompts(None, 8, (64, 112))
    prompts.spans = [(0.0, 4.0), (4.0, 6.0), (6.0, 16.0), (16.0, 17.0)]
    assert prompts.written(3.0, 11.0) == pytest.approx(0.25 + 1 + 0.5)
