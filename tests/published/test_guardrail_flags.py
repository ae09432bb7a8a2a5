"""Guardrails of the published commands: on, off, and where their files are."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from cosmos_ray.clip.guardrail_rules import LLAMA_GUARD, WEIGHTS, GuardrailRules
from cosmos_ray.errors import UsageError
from cosmos_ray.published import (
    inference,
    multiview25,
    one_view,
    text2image,
    text2world,
    transfer_multiview,
    video2world,
)

COMMANDS = (video2world, text2world, text2image)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__.rpartition(".")[2])
def test_they_are_on_as_published_and_off_where_nobody_has_said_where_they_are(command: ModuleType) -> None:
    said: list[str] = []

    def rules(*flags: str) -> tuple[bool, str, str, bool]:
        found = one_view.guardrails_of(command.build_parser().parse_args(list(flags)), said.append)
        return found.enabled, found.weights, found.llama_guard, found.offload

    assert rules() == (True, WEIGHTS, LLAMA_GUARD, False)
    assert rules("--offload_guardrail") == (True, WEIGHTS, LLAMA_GUARD, True)
    assert rules("--disable_guardrail")[0] is False
    assert said == []
    assert rules("--model", "tiny")[0] is False
    assert "guardrails are off" in said[0]
    given = ("--model", "tiny", "--guardrail_weights", "/W", "--llama_guard", "/L")
    assert rules(*given) == (True, "/W", "/L", False)
    assert rules(*given, "--disable_guardrail")[0] is False


@pytest.mark.parametrize("command", [multiview25, transfer_multiview])
def test_those_of_the_later_multiview_models_are_on_as_published_too(command: ModuleType) -> None:
    said: list[str] = []

    def rules(*flags: str) -> tuple[bool, str, str, bool]:
        given = command.parser().parse_args(["-i", "s.json", "-o", "out", *flags])
        found = inference.GUARDED.rules(given, inference.is_published(given), said.append)
        return found.enabled, found.weights, found.llama_guard, found.offload

    assert rules() == rules("--model", "2B/auto/multiview") == (True, WEIGHTS, LLAMA_GUARD, True)
    assert rules("--model", "nvidia/Cosmos-Predict2.5-2B")[0] is True
    assert rules("--no-offload-guardrail-models") == (True, WEIGHTS, LLAMA_GUARD, False)
    assert rules("--disable-guardrails")[0] is False
    assert said == []
    assert rules("--model", "tiny25")[0] is False
    assert said == ["guardrails are off: --guardrail-weights and --llama-guard turn them on with --model"]
    given = ("--model", "tiny25", "--guardrail-weights", "/W", "--llama-guard", "/L")
    assert rules(*given) == (True, "/W", "/L", True)
    assert rules(*given, "--disable-guardrails")[0] is False


def test_clips_that_are_checked_have_a_work_folder_of_their_own(tmp_path: Path) -> None:
    flags = multiview25.parser().parse_args(["-i", "s.json", "-o", str(tmp_path)])
    folders = [
        inference.work_folder(flags, [], rules)
        for rules in (GuardrailRules(), GuardrailRules(enabled=True), GuardrailRules(enabled=True, weights="W"))
    ]
    assert len({*folders}) == 3
    assert folders[0] == inference.work_folder(flags, [])


@pytest.mark.parametrize("flag", [("--experiment", "x"), ("--config-file", "x"), ("--use-config-dataloader",)])
def test_flags_that_name_a_training_configuration_are_refused_with_the_reason(
    flag: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        multiview25.parser().parse_args(["-i", "s.json", "-o", "out", *flag])
    assert caught.value.code == 2
    assert f"argument {flag[0]}: no training configuration is read here" in capsys.readouterr().err


def test_files_that_are_missing_are_said_with_the_flags_that_name_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ("--guardrail_weights", str(tmp_path / "w"), "--llama_guard", str(tmp_path / "l"))
    flags = ("--model", "tiny", "--device", "cpu", "--prompt", "a street", "--save_path", str(tmp_path / "a.jpg"))
    assert text2image.main([*flags, *places]) == 2
    said = capsys.readouterr().err
    assert f"no folder {tmp_path}/w" in said
    assert "--guardrail_weights PLACE and --llama_guard PLACE, or --disable_guardrail" in said
    assert not (tmp_path / "a.jpg").exists()


def test_specs_of_a_checked_job_without_the_files_say_their_own_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {"name": "a", "prompt": "A street.", "num_conditional_frames": 0, "rear": {"control_path": "r.mp4"}}
    (tmp_path / "s.json").write_text(json.dumps(spec))
    places = ("--guardrail-weights", str(tmp_path / "w"), "--llama-guard", str(tmp_path / "l"))
    flags = ("-i", str(tmp_path / "s.json"), "-o", str(tmp_path / "out"), "--model", "tiny25", "--device", "cpu")
    assert transfer_multiview.main([*flags, *places]) == 2
    said = capsys.readouterr().err
    assert f"no folder {tmp_path}/w" in said
    assert "--guardrail-weights PLACE and --llama-guard PLACE, or --disable-guardrails" in said


def test_an_error_of_something_else_says_nothing_of_these_flags() -> None:
    with pytest.raises(UsageError, match=r"^the checkpoint of guardrails\.pt is none$"), one_view.GUARDED.named():
        raise UsageError("the checkpoint of guardrails.pt is none")
