"""Hooks, workflow and forms: what GitHub and pre-commit read has the keys that they need, and runs what is here."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml
from support.paths import ROOT

GITHUB = ROOT / ".github"
#: What a form's elements can be, and what each must have (docs.github.com, "Syntax for GitHub's form schema").
NEEDED = {
    "markdown": {"value"},
    "input": {"label"},
    "textarea": {"label"},
    "dropdown": {"label", "options"},
    "checkboxes": {"label", "options"},
}


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_the_workflow_runs_what_ci_is_on_both_versions() -> None:
    workflow = _load(GITHUB / "workflows" / "ci.yml")
    assert set(workflow[True]) == {"push", "pull_request"}, "YAML 1.1 reads `on` as true; GitHub does not"
    (job,) = workflow["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest"
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12"], "as text: 3.10 would be 3.1"
    steps = job["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    assert steps[-1]["run"] == ".ci/run"
    for step in steps:
        for word in shlex.split(step.get("run", "")):
            file = ROOT / word
            assert "/" not in word or (file.is_file() and file.stat().st_mode & 0o100), f"{word} cannot be run"


def test_the_workflow_tests_every_python_that_the_package_names() -> None:
    (oldest,) = re.findall(r'^requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    (job,) = _load(GITHUB / "workflows" / "ci.yml")["jobs"].values()
    assert job["strategy"]["matrix"]["python"][0] == oldest


def test_the_form_has_what_github_needs_of_it() -> None:
    form = _load(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")
    assert form.keys() <= {"name", "description", "title", "labels", "assignees", "body", "projects", "type"}
    assert all(isinstance(form[key], str) and form[key] for key in ("name", "description"))
    ids = [element["id"] for element in form["body"] if element["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 0
    assert all(re.fullmatch(r"[\w-]+", one) for one in ids)
    for element in form["body"]:
        assert element.keys() <= {"type", "id", "attributes", "validations"}
        assert NEEDED[element["type"]] <= element["attributes"].keys()
        options = element["attributes"].get("options", [])
        assert len(options) == len(set(options))
        assert all(isinstance(value, bool) for value in element.get("validations", {}).values())


def test_the_form_asks_what_the_tools_say() -> None:
    labels = {element["id"]: element["attributes"]["label"] for element in _form_fields()}
    assert "cosmos-ray doctor" in labels["machine"]
    assert "cosmos-ray status" in labels["status"]


def _form_fields() -> list[dict[str, Any]]:
    return [one for one in _load(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"] if one["type"] != "markdown"]


def test_hooks_are_local_and_their_tools_are_those_of_the_environment() -> None:
    """Nothing is downloaded, and a hook never has another version than `make check`."""
    (repo,) = _load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repo["hooks"]}
    assert len(hooks) == len(repo["hooks"])
    made_by_setup = {path.name for path in Path(sys.executable).parent.iterdir()}
    for hook in hooks.values():
        assert {"id", "name", "entry", "language"} <= hook.keys()
        assert hook["language"] == "system"
        re.compile(hook.get("files", ""))
        tool = Path(shlex.split(hook["entry"])[0])
        assert tool.parent == Path(".venv/bin")
        assert tool.name in made_by_setup


def test_hooks_check_what_make_check_checks() -> None:
    (repo,) = _load(ROOT / ".pre-commit-config.yaml")["repos"]
    hooked = {" ".join(shlex.split(hook["entry"])[:2]).removeprefix(".venv/bin/") for hook in repo["hooks"]}
    (recipe,) = re.findall(r"^check: setup\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    checked = {" ".join(line.split()[:2]).removeprefix("$(BIN)/") for line in recipe.splitlines()}
    assert hooked >= {re.sub(r" \.$", "", one) for one in checked if not one.startswith("$(")} != set()
