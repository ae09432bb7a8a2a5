"""Guardrails whose files are on the Hugging Face hub, with its real client and a server on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.guardrail_weights import write_blocklist
from support.hub_server import REVISION, Hub, Repository, serving

from cosmos_ray.clip.family import PREDICT2
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.models.guardrails.checks import checks_of, guardrails_of
from cosmos_ray.models.guardrails.guard import load_guard

REPO = "nvidia/Cosmos-Guardrail1"
RULES = GuardrailRules(enabled=True, checks=("blocklist",), weights=f"hf://{REPO}@{REVISION}")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """With word lists, and what nobody has asked for."""
    weights = tmp_path / "made"
    write_blocklist(weights)
    files = {path.relative_to(weights).as_posix(): path.read_bytes() for path in weights.rglob("*") if path.is_file()}
    files |= {"face_blur_filter/Resnet50_Final.pth": b"large", "README.md": b"hello"}
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(Hub({REPO: Repository(files)})) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template)
        yield hub


def version() -> str:
    """As a job sees it before it takes a GPU. Raises UsageError."""
    return guardrails_of(RULES, PREDICT2).versions["blocklist"]


def refused() -> str:
    with pytest.raises(UsageError) as caught:
        version()
    return str(caught.value)


def blocked() -> str:
    """What a rank's checks say of a listed word, after one that is fine."""
    guard = load_guard(guardrails_of(RULES, PREDICT2), checks_of(RULES, PREDICT2), "cpu", True, True)
    guard.check_captions(["a street"])
    with pytest.raises(RowError) as caught:
        guard.check_captions(["a gronk"])
    return str(caught.value)


def test_files_are_within_reach_then_fetched_and_then_here(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = version()
    assert REVISION[:12] in seen
    assert hub.downloads == [], "a job that looks whether it can run downloads nothing"
    said = "blocked by the check `blocklist`: word list"
    assert blocked() == said
    assert {name.partition("/")[0] for name in hub.downloads} == {"blocklist"}, "what is used, and nothing else"
    assert sorted(hub.downloads) == sorted({*hub.downloads}), "each file once"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (version(), blocked()) == (seen, said)


def test_what_is_in_the_way_is_said_before_a_job_begins(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[REPO].fault = (401, "GatedRepo", "Access to model is restricted")
    words = refused()
    assert f"https://huggingface.co/{REPO} is gated" in words
    assert "HF_TOKEN is not set" in words
    assert "--set guardrails.weights=PLACE" in words
    hub.repositories[REPO] = Repository({"README.md": b"hello"})
    assert f"{REPO} has no blocklist at revision {REVISION}" in refused()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids downloads" in refused()


def test_a_download_that_was_cut_off_is_gone_on_with_and_not_refused(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = blocked()
    (snapshot,) = (tmp_path / "hub").glob("models--*/snapshots/*")
    shutil.rmtree(snapshot / "blocklist" / "whitelist")
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        assert "blocklist has no whitelist" in refused()
    assert blocked() == said
    assert (snapshot / "blocklist" / "whitelist" / "words.txt").exists()
