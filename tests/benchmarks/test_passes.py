"""The benchmark of passes runs, in miniature: of files, and of weights that are drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from drawn import drawn_request, steps_of  # type: ignore[import-not-found]
from support.paths import ROOT
from support.waiting import PATIENCE_S

from cosmos_ray.models.bundle.bundle import load_bundle


def run(*words: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(ROOT / "benchmarks" / "passes.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        (("cosmos-predict2-2b-video2world", "--size", "small"), {"network", "vae", "text encoder"}),
        (("tiny-video2world", "--drawn"), {"drawing"}),
    ],
)
def test_a_line_a_gang_says_what_a_pass_takes(words: tuple[str, ...], loaded: set[str]) -> None:
    _, one, two = run(*words, "--passes", "2", "--gang-sizes", "1", "2")
    assert [(line["model"], line["gang_size"]) for line in (one, two)] == [(words[0], 1), (words[0], 2)]
    for line in (one, two):
        assert len(line["passes_s"]) == 2
        assert line["pass_s"] == pytest.approx(line["passes_s"][1], abs=1e-3)
        assert line["load_s"].keys() == loaded
    assert one["clip_of_35_steps_s"] == pytest.approx(36 * one["pass_s"] + one["decode_s"], abs=0.2)
    assert two["efficiency"] == pytest.approx(one["pass_s"] / two["pass_s"] / 2, abs=0.05)


@pytest.mark.parametrize(
    ("name", "steps"), [("cosmos-predict2-14b-video2world", 2), ("cosmos-transfer2.5-2b-multiview", 3)]
)
def test_a_clip_has_the_passes_that_are_asked_for(name: str, steps: int) -> None:
    """One pass more than steps with Predict2's solver."""
    assert steps_of(load_bundle(name), 3) == steps
    assert load_bundle(name).recipe.passes(steps) == 3


def test_a_drawn_request_gives_a_model_what_it_takes() -> None:
    steered, picture = (drawn_request(load_bundle(name), 2) for name in ("tiny-transfer25", "tiny-text2image"))
    assert steered.frames.shape[:2] == (7, 1)
    assert steered.controls.shape[:2] == (7, load_bundle("tiny-transfer25").num_frames)
    assert (picture.frames, picture.controls, picture.views) == (None, None, ("picture",))
