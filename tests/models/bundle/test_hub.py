"""Models on the Hugging Face hub, with its real client and a server on this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import published_weights as published
from support.hub_server import REVISION, Hub, Repository, serving

from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER
from cosmos_ray.models.bundle.hub import wanted_files

SECRET = "hf_" + "s" * 34


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub with the published layout in small: DiT, tokenizer of another repository, and a T5 with its decoder."""
    folder = tmp_path / "made"
    published.write_t5_folder(folder / "t5", published.SMALL_T5, 16, BUILT_IN_FOLDER / "tiny" / "tokenizer.json")
    torch.save(published.dit_state(published.SMALL_NETWORK), folder / "model.pt")
    torch.save(published.vae_state(published.SMALL_VAE), folder / "tokenizer.pth")
    t5 = {path.name: path.read_bytes() for path in (folder / "t5").iterdir()}
    hub = Hub(
        {
            "nvidia/multiview": Repository({"model.pt": (folder / "model.pt").read_bytes()}),
            "nvidia/video2world": Repository({"tokenizer/tokenizer.pth": (folder / "tokenizer.pth").read_bytes()}),
            "google-t5/t5": Repository(t5 | {"tf_model.h5": b"not wanted", "README.md": b"hello"}),
        }
    )
    with serving(hub):
        yield hub


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A bundle whose files are all on that hub."""
    spec = json.loads((BUILT_IN_FOLDER / "tiny" / "bundle.json").read_text())
    del spec["text_encoder"]
    spec["network"] = published.SMALL_NETWORK.model_dump()
    spec["vae"] = published.SMALL_VAE.model_dump()
    spec["files"] = {
        "dit": {"uri": f"hf://nvidia/multiview@{REVISION}/model.pt"},
        "vae": {"uri": f"hf://nvidia/video2world@{REVISION}/tokenizer/tokenizer.pth"},
        "text_encoder": {"uri": f"hf://google-t5/t5@{REVISION}"},
        "tokenizer": {"uri": f"hf://google-t5/t5@{REVISION}"},
    }
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "bundle.json").write_text(json.dumps(spec))
    return str(folder)


@dataclass
class Answer:
    code: int
    out: str
    err: str

    def line(self, start: str) -> str:
        return next(line for line in self.out.splitlines() if line.split()[:2] == start.split())


@pytest.fixture
def command(tmp_path: Path, hub: Hub):
    """`cosmos-ray model ...` (or another group) in a process of its own, with empty caches; prints no secret."""

    def run(*arguments: str, token: str | None = SECRET, group: str = "model", **environment: str) -> Answer:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "COSMOS_RAY_CACHE": str(tmp_path / "cache")}
        env |= {"HF_TOKEN": token} if token else {}
        done = subprocess.run(
            [sys.executable, "-m", "cosmos_ray", *group.split(), *arguments],
            env=env | environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert SECRET not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


def test_check_finds_files_within_reach_without_downloading_them(hub, model, command):
    answer = command("check", model)
    assert answer.code == 0, answer.out
    assert "on the hub, to be fetched: model.pt of https://huggingface.co/nvidia/multiview" in answer.out
    assert "README" not in answer.out
    assert hub.downloads == []
    assert "gang of 2:" in answer.out


def test_fetched_files_are_verified_and_serve_offline(hub, model, command):
    fetched = command("fetch", model)
    assert fetched.code == 0, fetched.err
    assert sorted(set(hub.downloads)) == sorted(hub.downloads), "each file once"
    assert not {"tf_model.h5", "README.md"} & set(hub.downloads)
    answer = command("check", model, HF_HUB_OFFLINE="1")
    assert answer.code == 0, answer.out
    assert "48 tensors, names and shapes as expected; 34 ignored" in answer.out
    assert "194 tensors" in answer.out
    assert "19 tensors, names and shapes as expected; 20 ignored (20 decoder weights)" in answer.out


GATED = (403, "GatedRepo", "Access to model is restricted and you are not in the authorized list.")


@pytest.mark.parametrize(
    ("fault", "token", "said"),
    [
        (GATED, SECRET, "gated, and the account of HF_TOKEN has no access: ask for it at https://huggingface.co/nvidia/multiview"),
        ((401, "GatedRepo", "Access is restricted"), None, "HF_TOKEN is not set"),
        ((401, "", "Invalid credentials in Authorization header"), SECRET, "HF_TOKEN is not accepted (401)"),
        ((403, "", "Forbidden"), SECRET, "forbidden (403)"),
        ((404, "RepoNotFound", "Repository not found"), SECRET, "nvidia/multiview: no such repository"),
        ((404, "EntryNotFound", "Entry not found"), SECRET, "has no file model.pt at revision"),
        ((404, "RevisionNotFound", "Invalid rev id"), SECRET, "has no revision"),
    ],
)  # fmt: skip
def test_check_tells_a_person_what_is_in_the_way(hub, model, command, fault, token, said):
    hub.repositories["nvidia/multiview"].fault = fault
    answer = command("check", model, token=token)
    assert answer.code == 2
    assert said in answer.line("problem dit:")
    assert answer.line("ok vae:")
    assert hub.downloads == []


@pytest.mark.slow
def test_generate_and_fetch_refuse_with_the_same_words(hub, model, command, tmp_path):
    hub.repositories["nvidia/multiview"].fault = GATED
    pq.write_table(pa.table({"id": ["a"], "prompt": ["a street"]}), tmp_path / "m.parquet")
    job = ["--manifest", str(tmp_path / "m.parquet"), "--output", str(tmp_path / "out"), "--model", model]
    for refused in (command("fetch", model), command(*job, group="generate")):
        assert refused.code == 2
        assert "ask for it at https://huggingface.co/nvidia/multiview" in refused.err
        assert len(refused.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_missing_repository_is_not_mistaken_for_a_server_that_is_down(hub, model, command):
    del hub.repositories["google-t5/t5"]
    assert "no such repository" in command("check", model).line("problem text_encoder:")
    hub.repositories["nvidia/multiview"].fault = (503, "", "Service unavailable")
    assert "answered 503" in command("check", model).line("unavailable dit:")


def test_offline_and_no_server_are_told_apart(model, command):
    down = command("check", model, HF_ENDPOINT="http://127.0.0.1:9")
    assert down.code == 2
    assert "no answer from http://127.0.0.1:9" in down.line("unavailable dit:")
    offline = command("check", model, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids downloads" in offline.line("unavailable text_encoder:")


@pytest.mark.slow
def test_a_corrupt_download_is_made_again_once(hub, model, command):
    hub.corrupt_once.add("model.pt")
    assert command("fetch", model).code == 0
    assert hub.downloads.count("model.pt") == 2
    assert command("check", model, HF_HUB_OFFLINE="1").code == 0


@pytest.mark.slow
def test_a_download_that_is_corrupt_twice_is_an_error_and_leaves_nothing(hub, model, command):
    hub.corrupt_always.add("model.pt")
    fetched = command("fetch", model)
    assert fetched.code == 2
    assert re.search(r"model\.pt .*found sha256 \w{64}, expected \w{64} \(downloaded twice\)", fetched.err)
    assert hub.downloads.count("model.pt") == 2
    assert "on the hub, to be fetched" in command("check", model).line("ok dit:")


def blob_of(tmp_path: Path, data: bytes) -> Path:
    return tmp_path / "hf" / "hub" / "models--nvidia--multiview" / "blobs" / hashlib.sha256(data).hexdigest()


@pytest.mark.slow
def test_a_download_that_was_cut_off_is_gone_on_with(hub, model, command, tmp_path):
    data = hub.repositories["nvidia/multiview"].files["model.pt"]
    part = blob_of(tmp_path, data).with_suffix(".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(data[:1000])
    assert command("fetch", model).code == 0
    assert 1000 in hub.starts
    assert blob_of(tmp_path, data).read_bytes() == data
    assert not part.exists()


@pytest.mark.slow
def test_files_in_the_clients_store_of_shared_blobs_are_verified_too(hub, model, command, tmp_path):
    """What the real client makes of a Xet file: the blob is a link to a file that another hash names."""
    shared = pytest.importorskip("huggingface_hub.utils._shared_blobs")
    assert command("fetch", model).code == 0
    data = hub.repositories["nvidia/multiview"].files["model.pt"]
    blob = blob_of(tmp_path, data)
    store = {"xet_hash": "e" * 64, "cache_dir": tmp_path / "hf" / "hub", "expected_size": len(data)}
    assert shared.publish_blob_to_shared_store(blob_path=str(blob), **store)
    assert blob.is_symlink()
    assert command("check", model, HF_HUB_OFFLINE="1").code == 0
    blob.resolve().write_bytes(bytes(len(data)))
    assert command("fetch", model).code == 0
    assert blob.read_bytes() == data


def test_of_a_repository_one_format_of_the_weights_is_fetched():
    names = [
        "README.md",
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "spiece.model",
        "tf_model.h5",
        "a/b.json",
        "chat_template.jinja",
    ]
    assert wanted_files(names, "text_encoder") == [
        "chat_template.jinja",
        "config.json",
        "spiece.model",
        "model.safetensors",
    ]
    assert wanted_files(names, "tokenizer") == ["chat_template.jinja", "config.json", "spiece.model"]
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    indexed = ["config.json", "model.safetensors.index.json", *shards, "pytorch_model.bin"]
    assert wanted_files(indexed, "text_encoder") == ["config.json", "model.safetensors.index.json", *shards]
