"""What the README tells a newcomer to type exists and does what it says."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.cluster import SharedHead
from support.job_runs import write_manifest
from support.pages import shown_to
from support.paths import ROOT
from typer.testing import CliRunner

import cosmos_ray
from cosmos_ray.cli.main import app

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
    answer = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
    assert answer.exit_code == 0, answer.output
    assert flags <= set(re.findall(r"--[\w-]+", answer.output))


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
def test_the_model_runs_without_ray_as_shown(tmp_path: Path) -> None:
    (block,) = shown_to(__file__, "test_the_model_runs_without_ray_as_shown")
    found = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", block]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=found)
    assert answer.stdout.count("(29, 64, 112, 3)") == 7
    assert (tmp_path / "clip.mp4").stat().st_size > 1000


def test_it_can_be_read_in_a_sitting_and_begins_with_the_installation() -> None:
    assert len(README.splitlines()) <= 180
    assert README.index("## Install") < README.index("## Commands") < README.index("## How fast")
    assert "cosmos-ray doctor" in _blocks("bash")[0]


def test_the_extras_that_are_named_are_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (line,) = [line for line in _blocks("bash")[0].splitlines() if line.startswith("pip install")]
    named = set(re.findall(r"\b(s3|gcs|azure|hopper|guardrail)\b", line))
    assert named == {"s3", "gcs", "azure", "hopper"} <= set(extras)


def test_a_cluster_has_its_token_before_it_starts() -> None:
    """Ray's own default lets anybody in: here, and on the page of submitted jobs, the token comes first."""
    for page in (README, (ROOT / "docs" / "jobs.md").read_text()):
        text = "\n".join(re.findall(r"^```bash\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL))
        assert -1 < text.index("ray get-auth-token --generate") < text.index("RAY_AUTH_MODE=token")
        for later in ("ray start --head", "ray job submit"):
            assert later not in text[: text.index("RAY_AUTH_MODE=token")]


@pytest.mark.slow
def test_the_first_screen_works_in_a_bare_environment(tmp_path: Path) -> None:
    """The block as it stands, in a copy of what is committed: an environment is made, activated, filled, and asked.

    Nothing is downloaded: pip brings this package alone, and the dependencies are found where the tests have them.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (
            name.startswith(("cosmos_ray/", "pyproject", "README", "LICENSE", "constraints"))
            and (ROOT / name).is_file()
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (shown,) = shown_to(__file__, "test_the_first_screen_works_in_a_bare_environment")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PYTHONPATH": ":".join(packages)}
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "VIRTUAL_ENV")}
    path = f"{Path(sys.base_prefix, 'bin')}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", shown + "\ntype cosmos-ray"],
        cwd=tmp_path, env=kept | offline | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a job would run here" in done.stdout
    assert str(tmp_path / ".venv" / "bin" / "cosmos-ray") in done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.ray
def test_the_job_runs_from_python_as_shown(one_node: SharedHead, tmp_path: Path) -> None:
    """In a folder that has the manifest which the example names, of a clip that takes one view and one step; on a
    cluster. (`test_wheel.py` has a job that starts a Ray of its own.)"""
    (block,) = shown_to(__file__, "test_the_job_runs_from_python_as_shown")
    write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "a street", "n_views": 1, "num_steps": 1}])
    environment = {**os.environ, "RAY_ADDRESS": one_node.cluster.address}
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, check=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "1 ok, 0 failed" in done.stderr
    assert [line for line in (done.stdout + done.stderr).splitlines() if "WARNING" in line or "token" in line] == []
    assert pq.read_table(tmp_path / "out" / "index.parquet")["id"].to_pylist() == ["a"]
