"""What the README tells a newcomer to type exists and does what it says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.job_runs import write_manifest
from support.paths import ROOT

import cosmos_ray

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


def test_python_examples_take_public_names_and_nothing_else() -> None:
    imports = [node for block in _blocks("python") for node in ast.walk(ast.parse(block)) if _is_import(node)]
    assert len(imports) == len(_blocks("python")) > 1
    for node in imports:
        assert isinstance(node, ast.ImportFrom)
        assert node.module == "cosmos_ray"
        assert {name.name for name in node.names} <= set(dir(cosmos_ray))


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


@pytest.mark.slow
def test_the_model_runs_without_ray_as_shown() -> None:
    (block,) = [block for block in _blocks("python") if "Generator.load" in block]
    answer = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.count("(29, 64, 112, 3)") == 7


@pytest.mark.slow
@pytest.mark.ray
def test_the_job_runs_from_python_as_shown(tmp_path: Path) -> None:
    """In a folder that has the manifest which the example names, of a clip that takes one view and one step."""
    (block,) = [block for block in _blocks("python") if "GenerateConfig" in block]
    write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "a street", "n_views": 1, "num_steps": 1}])
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    subprocess.run([sys.executable, "-c", block], check=True, cwd=tmp_path, env=environment)
    assert pq.read_table(tmp_path / "out" / "index.parquet")["id"].to_pylist() == ["a"]
