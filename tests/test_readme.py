"""What the README tells a newcomer to type exists and does what it says."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from support.paths import ROOT

README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def _commands() -> dict[str, set[str]]:
    """`cosmos-ray` commands of the README with the flags that it gives them."""
    found: dict[str, set[str]] = {}
    for line in "\n".join(_blocks("bash")).splitlines():
        if match := re.match(r"cosmos-ray ((?:manifest |model )?[\w-]+)(.*?)(?:\s#|$)", line):
            found.setdefault(match[1], set()).update(re.findall(r"--[\w-]+", match[2]))
    return found


@pytest.mark.parametrize(("command", "flags"), sorted(_commands().items()))
def test_each_command_has_the_flags_that_are_shown(command: str, flags: set[str]) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "cosmos_ray", *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    )
    assert flags <= set(re.findall(r"--[\w-]+", answer.stdout))


def test_make_has_the_targets_that_are_shown() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    shown = set(re.findall(r"^make (\w+)", "\n".join(_blocks("bash")), flags=re.MULTILINE))
    assert shown == {"demo", "test"}
    assert targets >= {"setup", "demo", "check", "test", "chaos", "bench"}


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.slow
def test_the_model_runs_without_ray_as_shown() -> None:
    (block,) = [block for block in _blocks("python") if "Generator.load" in block]
    answer = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.count("(29, 64, 112, 3)") == 7
