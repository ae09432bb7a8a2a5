"""What holds for every command: what is wrong is said in one line, and the exit code is one of the contract's.

0 done; 1 the job failed; 2 bad arguments, manifest or model; 3 more rows failed than allowed.
"""

from __future__ import annotations

import errno
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from pydantic import BaseModel, ValidationError
from support.command_line import assert_one_line, in_a_process

from cosmos_ray.cli.main import _say_value_fault, app


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


def test_an_interrupted_command_says_so_and_ends_with_1(cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever the library for command lines makes of it: with 130 and without a word, Ctrl-C was no one's end."""

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("cosmos_ray.job.doctor.examine", interrupted)
    assert_one_line(cosmos_ray("doctor"), 1, "cosmos-ray: interrupted")


def test_a_store_that_breaks_a_connection_is_no_reader_who_has_had_enough(
    cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the library for command lines it is, and ends a command without a word."""

    def broken(*_: Any) -> Any:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("cosmos_ray.job.doctor.examine", broken)
    assert_one_line(cosmos_ray("doctor"), 1, "cosmos-ray: a file or store failed: ", "Broken pipe")


@pytest.mark.parametrize("command", [["config"], ["--help"], ["model", "list", "--json"]], ids=" ".join)
def test_a_reader_who_has_had_enough_is_told_nothing(command: list[str]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    try:
        program = [sys.executable, "-m", "cosmos_ray", *command]
        done = subprocess.run(program, stdout=writes, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_letter_is_told_all_the_same(encoding: str, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "cosmos_ray", "inspect", "--model", "fake", str(tmp_path / "日…ü.mp4")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(program, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
    assert rb"\u65e5\u2026" in done.stdout


def options_of_kinds(command: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Commands with one of their flags, each that takes a number or one of a few words."""
    for below, one in getattr(command, "commands", {}).items():
        yield from options_of_kinds(one, (*name, below))
    if hasattr(command, "commands"):
        return
    made = inspect.unwrap(
        command.callback, stop=lambda one: hasattr(one, "__signature__")
    )  # of options that are shared
    hints = get_type_hints(made)
    for option in command.params:
        kinds = {hints.get(option.name), *get_args(hints.get(option.name))}
        if any(isinstance(kind, type) and issubclass(kind, int | float | Enum) for kind in kinds - {bool}):
            yield (*name, option.opts[0])


def test_a_value_of_the_wrong_kind_is_told_in_our_words(cosmos_ray: Any) -> None:
    """Whichever flag of whichever command: what was found, what was expected, and nothing of the library's classes."""
    found = list(options_of_kinds(typer.main.get_command(app)))
    assert len(found) > 10
    for *name, flag in found:
        answer = cosmos_ray(*name, f"{flag}=no-such-value")
        assert (answer.code, answer.out) == (2, "")
        assert f"'{flag}': " in answer.err
        assert "'no-such-value'" in answer.err
        assert not any(words in answer.err for words in ("Value error", "Input should", "unable to parse"))


def test_each_fault_of_a_value_is_told() -> None:
    class Two(BaseModel):
        one: int
        other: float

    fault = Exception()
    try:
        Two.model_validate({"one": "x", "other": "y"})
    except ValidationError as error:
        fault.__cause__ = error
    _say_value_fault(fault)
    assert fault.message == "found 'x', expected a whole number; found 'y', expected a number"  # type: ignore[attr-defined]


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
