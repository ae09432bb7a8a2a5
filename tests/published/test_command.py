"""How every published command begins and ends: torchrun refused, one line a fault, and its exit code."""

from __future__ import annotations

import argparse
from types import ModuleType

import pytest

from cosmos_ray.errors import CosmosRayError, ManifestError, UsageError
from cosmos_ray.published import multiview, multiview25, text2image, text2world, transfer_multiview, video2world
from cosmos_ray.published.command import Say, run

COMMANDS = {
    multiview: ["--prompt", "A street."],
    video2world: ["--prompt", "A street."],
    text2image: ["--prompt", "A street."],
    text2world: ["--prompt", "A street."],
    multiview25: ["-i", "spec.json", "-o", "out"],
    transfer_multiview: ["-i", "spec.json", "-o", "out"],
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__.rpartition(".")[2])
def test_torchrun_is_refused(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight processes would each ask for the whole gang."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert command.main(COMMANDS[command]) == 2
    assert "start this with python, not torchrun" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "code"),
    [(UsageError("a\nb\x1b[2J"), 2), (ManifestError("a"), 2), (CosmosRayError("a"), 1), (KeyboardInterrupt(), 1)],
    ids=lambda value: type(value).__name__,
)
def test_a_fault_is_one_line_and_an_exit_code(
    fault: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(_: argparse.Namespace, say: Say) -> int:
        raise fault

    assert run(argparse.ArgumentParser("some.py"), [], make) == code
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("some.py: ")
    assert "\x1b" not in said.err
