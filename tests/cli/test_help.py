"""`--help` of every command teaches it: defaults, models, exit codes, and examples that its own parser takes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from cosmos_ray.cli.help import EXAMPLES
from cosmos_ray.cli.main import app
from cosmos_ray.models.bundle.names import BUILT_IN
from cosmos_ray.version import VERSION

ROOT_COMMAND: Any = typer.main.get_command(app)


def commands(command: Any = ROOT_COMMAND, name: str = "") -> Iterator[tuple[str, Any]]:
    """The program, its groups and all commands, with their names."""
    yield name, command
    for below, one in getattr(command, "commands", {}).items():
        yield from commands(one, f"{name} {below}".strip())


@pytest.mark.parametrize(
    ("name", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_two_examples_that_it_takes_and_its_exit_codes(
    cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch, name: str, command: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = cosmos_ray(*name.split(), "--help")
    assert shown.code == 0
    text = " ".join(shown.out.split())
    assert re.search(r"Exit codes: 0 done; 1 failed[^;]*; 2 bad arguments", text)
    assert ("; 3 " in text) == (name in ("", "generate", "compare", "export")), "what else it ends with"
    assert len(EXAMPLES.get(name, ())) == 2, f"cosmos_ray/cli/help.py has no two examples of `{name}`"
    for example in EXAMPLES[name]:
        assert example in text
        program, *words = shlex.split(example.partition(" > ")[0].partition(" | ")[0])
        assert program == "cosmos-ray"
        one = ROOT_COMMAND
        while hasattr(one, "commands"):
            one = one.commands[words.pop(0)]
        one.make_context("example", words)  # what is no argument of it is an error
        assert " ".join(shlex.split(example)[1:]).startswith(name)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_are_not_broken_on_a_narrow_terminal(
    cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What is copied from it would be two commands."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in cosmos_ray(*name.split(), "--help").out.splitlines()]
    assert {*EXAMPLES[name]} <= {*lines}


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_no_name_is_cut_on_a_narrow_terminal(cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A model or a flag whose end is `…` cannot be typed."""
    monkeypatch.setenv("COLUMNS", "80")
    assert [line for line in cosmos_ray(*name.split(), "--help").out.splitlines() if "…" in line] == []


def test_short_help_is_help(cosmos_ray: Any) -> None:
    for words in ([], ["model"], ["generate"]):
        assert cosmos_ray(*words, "-h") == cosmos_ray(*words, "--help")


def test_the_version(cosmos_ray: Any) -> None:
    assert cosmos_ray("--version") == (0, f"cosmos-ray {VERSION}\n", "")


@pytest.mark.parametrize("command", ["plan", "generate", "inspect", "doctor"])
def test_what_takes_a_model_names_those_that_there_are(
    cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    text = cosmos_ray(command, "--help").out
    assert all(name in text for name in BUILT_IN)


def test_every_option_of_a_job_shows_its_default(cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    text = cosmos_ray("generate", "--help").out
    without = {"--config", "--set", "--help"}
    blocks = re.split(r"^│ (?=\s*--)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) > 10
    lacking = {block.split()[0] for block in blocks if "default:" not in block}
    assert lacking == without


@pytest.mark.parametrize("name", [name for name, command in commands() if not hasattr(command, "commands")])
def test_what_holds_where_nothing_is_said_stands_in_one_place(cosmos_ray: Any, monkeypatch: Any, name: str) -> None:
    """As `[default: …]`, after what an option is; arguments are named in capitals, each once."""
    monkeypatch.setenv("COLUMNS", "240")
    text = cosmos_ray(*name.split(), "--help").out
    said = [line for line in text.splitlines() if re.search(r"; else |\bif not given|\bby default", line)]
    assert said == []
    usage = next(line for line in text.splitlines() if "Usage:" in line)
    assert re.findall(r"[{\[]([a-z_]+)[}\]]|[A-Z]\.\.\.[}\]]", usage) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("cosmos-ray re", ["retry", "report", "reproduce"]),
        ("cosmos-ray generate --model tiny2", ["tiny25"]),
        ("cosmos-ray model check tiny-text2w", ["tiny-text2world"]),
        ("cosmos-ray retry out --class in", ["input", "internal"]),
        ("cosmos-ray manifest from-folder f --cameras v", ["video"]),
    ],
    ids=["commands", "models", "a model", "classes", "cameras"],
)
def test_a_shell_completes_commands_and_values(words: str, found: list[str]) -> None:
    """As bash asks for it, through the installed program."""
    code = "import sys; sys.argv[0] = 'cosmos-ray'; from cosmos_ray.cli.main import main; main()"
    last = str(len(words.split()) - 1)
    asked = {"_COSMOS_RAY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": last}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == found


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--manifst", "m"], "--manifest"),
        (["--gang-sise", "2"], "--gang-size"),
        (["--num-steps", "3"], "--set sampling.num_steps="),
        (["--guidence", "3"], "--set sampling.guidance="),
        (["--device", "cpu"], "--set device="),
    ],
)
def test_an_unknown_flag_names_the_nearest_flag_or_setting(cosmos_ray: Any, flags: list[str], said: str) -> None:
    answer = cosmos_ray("generate", *flags)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert ("Settings beyond the flags" in answer.err) == said.startswith("--set"), "one way out, not two"
