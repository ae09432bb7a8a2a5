"""The benchmark of the local refiner runs, in miniature."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.paths import ROOT
from support.waiting import PATIENCE_S


@pytest.mark.long
def test_it_prints_what_a_prompt_takes() -> None:
    words = [
        "--tiny",
        "--device",
        "cpu",
        "--beside",
        "--runs",
        "2",
        "--tokens",
        "8",
        "--height",
        "64",
        "--width",
        "112",
    ]
    command = [sys.executable, str(ROOT / "benchmarks" / "refiner.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    model, *prompts, beside = [json.loads(line) for line in done.stdout.splitlines()]
    assert model["parameters"] > 0
    assert [(one["pictures"], one["tokens"]) for one in prompts] == [(0, 8), (1, 8), (5, 8)]
    assert all(one["seconds"] > 0 for one in prompts)
    assert beside["share_of_the_other"] > 0
