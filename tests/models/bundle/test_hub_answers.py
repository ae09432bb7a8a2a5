"""The hub is asked about one revision in all that is asked of it, and what it answers is told apart by its meaning."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.references import HubFile

REVISION = "0123456789" * 4
REPOSITORY = HubFile(repo="owner/repo", revision=REVISION, path=None)
FILE = HubFile(repo="owner/repo", revision=REVISION, path="folder/weights.pt")
NAMES = ["config.json", "tokenizer.json", "lists/a.txt", "listed/b.txt", "model.safetensors"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, Any, Any]]:
    """(call, what of the repository, revision) of all that the client is asked."""
    calls: list[tuple[str, Any, Any]] = []
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path))

    def url(repo: str, name: str, *, revision: str) -> str:
        assert repo == "owner/repo"
        calls.append(("url", name, revision))
        return name

    def cached(repo: str, name: str, *, revision: str) -> None:
        assert repo == "owner/repo"
        calls.append(("cached", name, revision))

    def download(repo: str, name: str, *, revision: str) -> str:
        calls.append(("download", name, revision))
        place = tmp_path / repo / revision / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
        return str(place)

    def info(repo: str, *, revision: str, timeout: float) -> Any:
        assert timeout > 0
        calls.append(("info", repo, revision))
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in NAMES])

    monkeypatch.setattr(hub, "hf_hub_url", url)
    monkeypatch.setattr(hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(hub, "HfApi", lambda: SimpleNamespace(model_info=info))
    monkeypatch.setattr(
        hub, "get_hf_file_metadata", lambda *_, **__: SimpleNamespace(size=2_340_000_000, etag="no sha256")
    )
    return calls


def test_whatever_is_asked_is_asked_of_the_revision(asked: list[tuple[str, Any, Any]], tmp_path: Path) -> None:
    """Else a model would be checked, fetched or found in the cache at whatever the hub's main branch is today."""
    of_file, of_folder = hub.ask(FILE, "dit"), hub.ask(REPOSITORY, "text_encoder")
    hub.ask_parts(REPOSITORY, ["lists"])
    assert (hub.cached(FILE, "dit"), hub.cached(REPOSITORY, "tokenizer")) == (None, None)
    assert hub.fetch(FILE, "dit") == tmp_path / "owner/repo" / REVISION / "folder/weights.pt"
    assert hub.fetch(REPOSITORY, "tokenizer") == tmp_path / "owner/repo" / REVISION
    assert {revision for _, _, revision in asked} == {REVISION}
    assert {call for call, _, _ in asked} == {"url", "cached", "download", "info"}
    assert of_file.message == (
        "on the hub, to be fetched: folder/weights.pt of https://huggingface.co/owner/repo, 2.34 GB, "
        f"revision {REVISION}"
    )
    assert of_folder.message == (
        "on the hub, to be fetched: 3 files (config.json, tokenizer.json, model.safetensors) of "
        f"https://huggingface.co/owner/repo, revision {REVISION}"
    )
    assert ("url", "model.safetensors", REVISION) in asked, "one file of a repository tells: the one with the weights"


def test_parts_of_a_repository_are_files_and_folders_and_none_that_begins_alike(
    asked: list[tuple[str, Any, Any]],
) -> None:
    words = f"on the hub, to be fetched: lists, config.json of {REPOSITORY.url}, revision {REVISION}"
    assert hub.ask_parts(REPOSITORY, ["lists", "config.json"]) == hub.HubAnswer("ok", words)
    assert asked[-1] == ("url", "lists/a.txt", REVISION), "access is asked for by a file that there is"
    missing = hub.ask_parts(REPOSITORY, ["list", "lists", "config"])
    assert missing == hub.HubAnswer("problem", f"{REPOSITORY.url} has no list, config at revision {REVISION}")


def test_the_cache_is_asked_for_the_file_or_for_what_every_folder_has(asked: list[tuple[str, Any, Any]]) -> None:
    for of in (FILE, REPOSITORY):
        hub.cached(of, "text_encoder")
    assert [name for _, name, _ in asked] == ["folder/weights.pt", "config.json"]


def test_a_repositorys_folder_is_that_of_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--owner--repo" / "snapshots"
    (folder / ("9" * 40)).mkdir(parents=True)
    assert hub.snapshot(REPOSITORY) is None
    (folder / REVISION).mkdir()
    assert hub.snapshot(REPOSITORY) == folder / REVISION


class Answer:
    """Of a server."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status_code, self.headers, self.request = (
            status,
            {k.replace("_", "-"): v for k, v in headers.items()},
            None,
        )


def error_of(kind: type[HfHubHTTPError], status: int, **headers: str) -> HfHubHTTPError:
    return kind("hf_secret in the server's words", response=Answer(status, **headers))  # type: ignore[arg-type]


ERRORS: list[tuple[BaseException, str, str]] = [
    (error_of(GatedRepoError, 403), "problem", "folder/weights.pt of {url} is gated, and {who}: ask for it at {url}"),
    (error_of(RevisionNotFoundError, 404), "problem", "{url} has no revision {revision}"),
    (EntryNotFoundError("hf_secret"), "problem", "{url} has no file folder/weights.pt at revision {revision}"),
    (error_of(RepositoryNotFoundError, 404), "problem", "{url}: no such repository, or a private one"),
    (error_of(HfHubHTTPError, 404), "problem", "{url}: no such repository, or a private one"),
    (error_of(HfHubHTTPError, 403), "problem", "forbidden (403), the token's permissions do not cover it; see {url}"),
    (error_of(HfHubHTTPError, 500), "unavailable", "answered 500"),
    (error_of(HfHubHTTPError, 429), "unavailable", "answered 429"),
    (error_of(HfHubHTTPError, 401, X_Error_Code="RepoNotFound"), "problem", "{url}: no such repository"),
    (OfflineModeIsEnabled("x"), "unavailable", "HF_HUB_OFFLINE forbids downloads"),
    (LocalEntryNotFoundError("x"), "unavailable", "HF_HUB_OFFLINE forbids downloads"),
    (ConnectionError("x"), "unavailable", "no answer from {endpoint} (ConnectionError)"),
    (TimeoutError("x"), "unavailable", "no answer from {endpoint} (TimeoutError)"),
]  # fmt: skip


@pytest.mark.parametrize("has_token", [True, False])
@pytest.mark.parametrize(("error", "level", "words"), ERRORS, ids=lambda one: str(one)[:40])
def test_what_is_in_the_way_is_told_by_its_meaning_and_not_in_the_servers_words(
    error: BaseException, level: str, words: str, has_token: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: "hf_secret" if has_token else None)
    who = "the account of HF_TOKEN has no access" if has_token else "nobody is logged in (HF_TOKEN is not set)"
    expected = words.format(url=FILE.url, revision=REVISION, who=who, endpoint=constants.ENDPOINT)
    hidden = LocalEntryNotFoundError("not in the cache")
    hidden.__cause__ = error
    for one in (error, hidden):
        found = hub._answer(one, FILE)
        assert found is not None
        assert found.level == level
        assert expected in found.message
        assert "hf_secret" not in found.message
        if level == "unavailable":
            assert found.message.startswith(f"not available offline: folder/weights.pt of {FILE.url} at revision")


@pytest.mark.parametrize(
    ("has_token", "said"),
    [(True, "HF_TOKEN is not accepted (401)"), (False, "a login is asked for and HF_TOKEN is not")],
)
def test_a_key_that_is_not_accepted_is_told_from_none(
    has_token: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "get_token", lambda: "hf_secret" if has_token else None)
    found = hub._answer(error_of(HfHubHTTPError, 401), REPOSITORY)
    assert found is not None
    assert (found.level, said in found.message) == ("problem", True)


def test_what_is_nobodys_answer_is_raised_as_it_is() -> None:
    assert hub._answer(ValueError("a bug"), FILE) is None

    def fails() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        hub._with_answers(fails, FILE)
