"""What holds for every command: what is wrong is said in one line, and the exit code is one of the contract's.

0 done; 1 the job failed; 2 bad arguments, manifest or model; 3 more rows failed than allowed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from support.command_line import assert_one_line, in_a_process

from cosmos_ray.cli.main import app


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "--manifest", "m", "--output", "o", "--colour", "red"],
        ["generate", "--manifest", "m"],
        ["generate", "--manifest", "m", "--output", "o", "--limit", "few"],
        ["no-such-command"],
        ["status"],
    ],
    ids=["unknown-flag", "missing-flag", "not-a-number", "unknown-command", "missing-argument"],
)
def test_arguments_that_make_no_command(cosmos_ray: Any, arguments: list[str]) -> None:
    answer = cosmos_ray(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err
    assert answer.err


def test_help_lists_the_commands_in_the_order_of_a_users_day() -> None:
    """What is asked for and what makes it, the job, then what it has made."""
    commands = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    day = ["manifest", "model", "plan", "generate", "status", "retry", "report", "reproduce", "export"]
    assert [name for name in commands if name in day] == day


def test_faults_of_the_store_are_one_line_and_exit_code_1(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, and no secret."""
    if os.environ["AWS_ACCESS_KEY_ID"] == "anybody":
        pytest.skip("moto takes any credentials")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-the-user")
    answer = in_a_process("status", s3)
    assert_one_line(answer, 1, "PermissionError", "403")
    assert "wrong-secret" not in answer.err


@pytest.mark.slow
def test_the_module_is_a_command(manifest: str, output: Path, tmp_path: Path) -> None:
    """Exit codes reach the shell; results go to standard output and complaints to standard error."""
    fine = in_a_process("plan", "--manifest", manifest, "--model", "fake", "--json")
    assert (fine.code, json.loads(fine.out)["clips"], fine.err) == (0, 4, "")
    assert in_a_process("status", output, "--json").code == 0
    missing = ("plan", "--manifest", tmp_path / "no.parquet", "--model", "fake")
    assert_one_line(in_a_process(*missing), 2, "there is no manifest")
    assert_one_line(in_a_process("status", tmp_path / "none"), 2, "there is no run")
    unknown = in_a_process("plan", "--manifest", manifest, "--colour")
    assert (unknown.code, unknown.out) == (2, "")
    assert "--colour" in unknown.err
    assert "generate" in in_a_process("--help").out
