"""Guardrails of the published commands of one view: on, off, and where their files are."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from cosmos_ray.clip.guardrail_rules import LLAMA_GUARD, WEIGHTS
from cosmos_ray.published import one_view, text2image, text2world, video2world

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
    given = ("--model", "tiny", "--guardrail_weights", "W", "--llama_guard", "L")
    assert rules(*given) == (True, "W", "L", False)
    assert rules(*given, "--disable_guardrail")[0] is False


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
