"""Commands that pages show, run as they stand, each page's in a folder that has what it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import Answer
from support.job_runs import write_manifest
from support.pages import commands_of, shown_to

from cosmos_ray.job.doctor import Finding
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.shapes import dit_shapes

ROWS = [{"id": "drive-1", "prompt": "A street."}, {"id": "drive-2", "prompt": "Rain.", "num_steps": 20}]


@pytest.fixture
def run(cosmos_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs blocks of commands, in a folder with a manifest and a cache of its own; what each has answered, with 0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    write_manifest(tmp_path / "m.parquet", ROWS)

    def answers(shown: Sequence[str]) -> list[Answer]:
        found = []
        for program, *words in (words for code in shown for words in commands_of(code)):
            assert program == "cosmos-ray"
            found.append(cosmos_ray(*words))
            assert found[-1].code == 0, (words, found[-1])
        return found

    return answers


def test_the_doctor_is_asked_as_shown(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it finds on this machine is tested elsewhere (tests/job/test_doctor.py)."""
    asked: list[tuple[Any, ...]] = []
    said = [Finding("ok", "GPUs", "none")]
    monkeypatch.setattr("cosmos_ray.job.doctor.examine", lambda *given: asked.append(given) or said)
    run(shown_to(__file__, "test_the_doctor_is_asked_as_shown"))
    assert [given[:2] for given in asked] == [("tiny", "results")]


@pytest.mark.slow
def test_a_checkpoint_becomes_a_model_as_shown(run: Any) -> None:
    tiny = load_bundle("tiny")
    state = {f"net.{name}": torch.zeros(shape) for name, shape in dit_shapes(tiny.network).items()}
    torch.save(state, "iter_000001000.pt")
    _, checked, planned = run(shown_to(__file__, "test_a_checkpoint_becomes_a_model_as_shown"))
    assert "names and shapes as expected" in checked.err + checked.out
    assert "2 rows" in planned.out
    assert load_bundle("mine").name.startswith("tiny.")


def test_weights_are_fetched_and_mirrored_as_shown(run: Any) -> None:
    _, copied, checked = run(shown_to(__file__, "test_weights_are_fetched_and_mirrored_as_shown"))
    assert "tiny.mirror: --model " in copied.err + copied.out
    assert "sha256 as expected" in checked.err + checked.out


def test_a_job_is_reckoned_as_shown(run: Any) -> None:
    (told,) = run(shown_to(__file__, "test_a_job_is_reckoned_as_shown"))
    assert "gang of 4: " in told.out
    assert " USD" in told.out


def test_an_output_is_asked_before_it_goes_on_as_shown(run: Any) -> None:
    (told,) = run(shown_to(__file__, "test_an_output_is_asked_before_it_goes_on_as_shown"))
    assert "2 clips" in told.out
