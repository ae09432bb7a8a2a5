"""Missing guardrails on the command line: said by `model check`, by `doctor`, and by a job before it takes a GPU."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from support.job_runs import write_manifest
from support.pages import commands_of, shown_to

from cosmos_ray.models.bundle.bundle import load_bundle


def test_guardrails_are_looked_at_as_shown(cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (code,) = shown_to(__file__, "test_guardrails_are_looked_at_as_shown")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints" / "Cosmos-Guardrail1").mkdir(parents=True)
    codes = {}
    for command in commands_of(code):
        answer = cosmos_ray(*command[1:])
        codes[command[1]], said = answer.code, answer.out
        assert "guardrail blocklist" in said, shlex.join(command)
        assert "guardrail llama_guard" in said
    assert codes == {"model": 2, "doctor": 1}


def test_a_job_without_what_its_guardrails_need_ends_before_a_gpu_is_taken(cosmos_ray: Any, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "one", "prompt": "a street"}])
    ours = ("--manifest", manifest, "--output", str(tmp_path / "out"), "--model", "fake")
    settings = ("guardrails.enabled=true", f"guardrails.weights={tmp_path}", "guardrails.checks=[blocklist]")
    answer = cosmos_ray("generate", *ours, *(word for one in settings for word in ("--set", one)))
    assert answer.code == 2
    assert (
        f"guardrails: guardrail blocklist: {tmp_path} has no blocklist. Give them: `--set guardrails.weights"
        in answer.err
    )
    assert not (tmp_path / "out").exists()


def test_plan_reckons_the_packages_copies_of_the_longest_video(cosmos_ray: Any, tmp_path: Path) -> None:
    bytes_of = {}
    for chunks in (1, 3):
        row = {"id": "one", "prompt": "a street", "num_chunks": chunks}
        ours = ("--manifest", write_manifest(tmp_path / f"{chunks}.parquet", [row]), "--json", "--gang-size", "4")
        settings = ("--set", "guardrails.enabled=true", "--set", "guardrails.provider=package")
        answer = cosmos_ray("plan", "--model", "cosmos-predict2.5-2b-multiview", *ours, *settings)
        (estimate,) = json.loads(answer.out)["estimates"]
        bytes_of[chunks] = estimate["memory_bytes"]
    bundle = load_bundle("cosmos-predict2.5-2b-multiview")
    longer = bundle.shape_of(bundle.recipe.views[0], 3)[0] - bundle.num_frames
    assert bytes_of[3] - bytes_of[1] == 3 * longer * bundle.height * bundle.width * 3 * 4
