"""Of a hub's repository: which files are wanted, which of them are weights, and a blob that is gone on with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
from huggingface_hub import constants

from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.hub import wanted_files, weight_files
from cosmos_ray.models.bundle.references import HubFile

SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


def folder_with(folder: Path, *names: str, index: object = None) -> Path:
    for name in names:
        (folder / name).write_bytes(b"")
    if index is not None:
        text = index if isinstance(index, str) else json.dumps(index)
        (folder / "model.safetensors.index.json").write_text(text)
    return folder


def names_of(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


INDEX = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]}}


def test_weights_in_shards_are_all_there_or_not_at_all(tmp_path: Path) -> None:
    """An index beside half of its shards is a download that was cut off."""
    folder_with(tmp_path, SHARDS[0], index=INDEX)
    assert weight_files(tmp_path) == []
    folder_with(tmp_path, SHARDS[1])
    assert names_of(weight_files(tmp_path)) == SHARDS


@pytest.mark.parametrize("index", ["{", [], {}, {"weight_map": []}], ids=str)
def test_an_index_that_cannot_be_read_makes_no_weights(tmp_path: Path, index: object) -> None:
    folder_with(tmp_path, *SHARDS, "pytorch_model.bin", index=index)
    assert weight_files(tmp_path) == []


def test_safetensors_come_before_pickles_and_other_files_are_no_weights(tmp_path: Path) -> None:
    folder_with(tmp_path, "config.json", "tf_model.h5")
    assert weight_files(tmp_path) == []
    assert names_of(weight_files(folder_with(tmp_path, "pytorch_model.bin"))) == ["pytorch_model.bin"]
    assert names_of(weight_files(folder_with(tmp_path, "model.safetensors"))) == ["model.safetensors"]


def test_an_index_names_files_of_its_own_folder_only(tmp_path: Path) -> None:
    """Wherever it points: what lies outside was neither fetched nor verified with it."""
    (tmp_path / "outside.bin").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    folder = folder_with(tmp_path / "folder", index={"weight_map": {"a": "../outside.bin"}})
    assert weight_files(folder) == []


def test_parts_of_a_repository_are_those_of_its_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path))
    asked: list[Any] = []
    monkeypatch.setattr(hub, "snapshot_download", lambda repo, **more: (asked.append((repo, more)), str(tmp_path))[1])
    repository = HubFile(repo="owner/repo", revision="1" * 40, path=None)
    assert hub.fetch_parts(repository, ["a", "a/*"], ["original/*"]) == tmp_path
    expected = {"revision": "1" * 40, "allow_patterns": ["a", "a/*"], "ignore_patterns": ["original/*"]}
    assert asked == [("owner/repo", expected)]


def test_what_tells_that_a_download_is_whole_comes_last() -> None:
    """`cached` looks for a tokenizer's file, and for weights by their index: neither before what belongs to them."""
    names = ["tokenizer.json", "special_tokens_map.json", "tokenizer_config.json", "config.json", "added_tokens.json"]
    small = ["added_tokens.json", "config.json", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json"]
    assert wanted_files(names, "tokenizer") == small
    sharded = [*names, "model.safetensors.index.json", *reversed(SHARDS), "flax_model.msgpack", "sub/model.safetensors"]
    assert wanted_files(sharded, "text_encoder") == [*small, "model.safetensors.index.json", *SHARDS]
    assert wanted_files(["README.md"], "text_encoder") == []


@pytest.mark.parametrize("kind", ["tokenizer", "text_encoder"])
def test_a_repository_is_here_when_all_that_its_part_needs_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    repository = HubFile(repo="owner/repo", revision="1" * 40, path=None)
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "config.json"))
    folder_with(tmp_path, "config.json", "tokenizer_config.json")
    assert hub.cached(repository, kind) is None
    folder_with(tmp_path, {"tokenizer": "spiece.model", "text_encoder": "pytorch_model.bin"}[kind])
    assert hub.cached(repository, kind) == tmp_path


@pytest.mark.parametrize("there", [b"", b"first half", b"x" * 999], ids=["nothing", "a part", "more than there is"])
def test_a_blob_is_gone_on_with_and_begun_again_if_it_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes
) -> None:
    """In the client's place stands what it does with bytes: it appends from where it is told to go on."""
    data = b"first half, second half"
    etag = hashlib.sha256(data).hexdigest()
    blobs = tmp_path / "models--owner--repo" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{etag}.part").write_bytes(there)

    def http_get(url: str, file: BinaryIO, resume_size: int, headers: Any, expected_size: int) -> None:
        file.write(data[resume_size:])
        file.flush()
        assert file.tell() == expected_size

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *_, **__: SimpleNamespace(size=len(data), etag=etag))
    monkeypatch.setattr(hub, "http_get", http_get)
    hub._fetch_blob(HubFile(repo="owner/repo", revision="1" * 40, path="weights"), "weights")
    assert [(path.name, path.read_bytes()) for path in blobs.iterdir()] == [(etag, data)]
