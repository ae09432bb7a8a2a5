"""Guardrails whose files are on the Hugging Face hub, with its real client and a server on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.guardrail_weights import write_blocklist
from support.hub_server import REVISION, Hub, Repository, serving

REPO = "nvidia/Cosmos-Guardrail1"
#: What is said before a job takes a GPU; then, if that is wanted, what the checks say of two captions.
SCRIPT = """
import json, sys
from cosmos_ray.clip.family import PREDICT2
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.errors import CosmosRayError, RowError
from cosmos_ray.models.guardrails.checks import checks_of, guardrails_of
from cosmos_ray.models.guardrails.guard import load_guard

rules = GuardrailRules(enabled=True, checks=("blocklist",), weights=sys.argv[1])
try:
    found = guardrails_of(rules, PREDICT2)
except CosmosRayError as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit()
said = {"version": found.versions["blocklist"]}
if len(sys.argv) > 2:
    guard = load_guard(found, checks_of(rules, PREDICT2), "cpu", True, True)
    guard.check_captions(["a street"])
    try:
        guard.check_captions(["a gronk"])
    except RowError as error:
        said["blocked"] = str(error)
print(json.dumps(said))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """With word lists, and what nobody has asked for."""
    weights = tmp_path / "made"
    write_blocklist(weights)
    files = {path.relative_to(weights).as_posix(): path.read_bytes() for path in weights.rglob("*") if path.is_file()}
    files |= {"face_blur_filter/Resnet50_Final.pth": b"large", "README.md": b"hello"}
    with serving(Hub({REPO: Repository(files)})) as hub:
        yield hub


@pytest.fixture
def asked(tmp_path: Path, hub: Hub) -> Callable[..., dict[str, Any]]:
    """In a process of its own: the hub's client reads where the hub is once."""

    def ask(*arguments: str, location: str = f"hf://{REPO}@{REVISION}", **environment: str) -> dict[str, Any]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "COSMOS_RAY_CACHE": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, location, *arguments],
            env=env | environment, capture_output=True, text=True, check=True, timeout=600,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return ask


def test_files_are_within_reach_then_fetched_and_then_here(hub: Hub, asked: Callable[..., dict[str, Any]]) -> None:
    version = asked()["version"]
    assert REVISION[:12] in version
    assert hub.downloads == [], "a job that looks whether it can run downloads nothing"
    said = asked("and ask")
    assert said == {"version": version, "blocked": "blocked by the check `blocklist`: word list"}
    assert {name.partition("/")[0] for name in hub.downloads} == {"blocklist"}, "what is used, and nothing else"
    assert sorted(hub.downloads) == sorted({*hub.downloads}), "each file once"
    assert asked("and ask", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1") == said


def test_what_is_in_the_way_is_said_before_a_job_begins(hub: Hub, asked: Callable[..., dict[str, Any]]) -> None:
    hub.repositories[REPO].fault = (401, "GatedRepo", "Access to model is restricted")
    refused = asked()["refused"]
    assert f"https://huggingface.co/{REPO} is gated" in refused
    assert "HF_TOKEN is not set" in refused
    assert "--set guardrails.weights=PLACE" in refused
    assert "HF_HUB_OFFLINE forbids downloads" in asked(HF_HUB_OFFLINE="1")["refused"]


def test_a_download_that_was_cut_off_is_gone_on_with_and_not_refused(
    hub: Hub, asked: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    said = asked("and ask")
    (snapshot,) = (tmp_path / "hf" / "hub").glob("models--*/snapshots/*")
    shutil.rmtree(snapshot / "blocklist" / "whitelist")
    assert "blocklist has no whitelist" in asked(HF_HUB_OFFLINE="1")["refused"]
    assert asked("and ask") == said
    assert (snapshot / "blocklist" / "whitelist" / "words.txt").exists()


def test_a_repository_without_the_files_is_refused_by_name(hub: Hub, asked: Callable[..., dict[str, Any]]) -> None:
    hub.repositories[REPO] = Repository({"README.md": b"hello"})
    assert f"{REPO} has no blocklist at revision {REVISION}" in asked()["refused"]
