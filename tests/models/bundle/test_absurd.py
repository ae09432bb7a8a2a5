"""Bundles, weights and pickles that nobody vouches for: absurd numbers are refused by name and at once."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cosmos_ray.errors import RowError, UsageError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, load_bundle, parse_bundle
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.bundle.fetch import open_store
from cosmos_ray.models.bundle.headers import read_header
from cosmos_ray.models.text.embedding import load_embedding

TINY = json.loads((BUILT_IN_FOLDER / "tiny" / "bundle.json").read_text())
NUMBERS = [
    f"{group}.{name}" if group else name
    for group in ("", "network", "vae", "text_encoder", "sampling")
    for name, value in (TINY[group] if group else TINY).items()
    if isinstance(value, int | float) and name not in ("format", "patch_spatial")
]


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [10**9, -1, 10**30, 1e308])
def test_every_dimension_has_a_bound(field: str, value: float) -> None:
    group, _, name = field.rpartition(".")
    spec = json.loads(json.dumps(TINY))
    (spec[group] if group else spec)[name] = value
    with pytest.raises(UsageError, match=name):
        parse_bundle(json.dumps(spec), "")


def test_random_weights_of_a_large_model_are_not_drawn() -> None:
    spec = json.loads((BUILT_IN_FOLDER / "cosmos-predict2-2b-multiview" / "bundle.json").read_text())
    spec["files"]["dit"] = {"random_seed": 0}
    found = {one.subject: one for one in check_bundle(parse_bundle(json.dumps(spec), "/nowhere"))}
    assert found["dit"].level == "problem"
    assert "parameters, expected at most 1,000,000,000" in found["dit"].message


def bundle_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "bundle.json").write_text(json.dumps(TINY))
    return folder


def test_a_bundles_small_files_have_a_size(tmp_path: Path) -> None:
    folder = bundle_in(tmp_path / "b")
    (folder / "bundle.json").write_text(" " * 2**20 + json.dumps(TINY))
    with pytest.raises(UsageError, match="TooLargeError"):
        load_bundle(str(folder))
    for target in ("/dev/zero", "/proc/self/environ"):
        (folder / "bundle.json").unlink()
        os.symlink(target, folder / "bundle.json")
        with pytest.raises(UsageError):
            load_bundle(str(folder))


def test_of_thousands_of_faults_some_are_said_and_the_file_is_read_for_them_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For each of them it was read once more: half an hour for a file of a megabyte."""
    part = {"uri": "dit.safetensors", **{f"k{n}": 1 for n in range(3000)}}
    data = json.dumps({**TINY, "files": {**TINY["files"], "dit": part}})
    read: list[Any] = []
    counted = SimpleNamespace(loads=lambda text: read.append(text) or json.loads(text))
    monkeypatch.setattr("cosmos_ray.models.bundle.words.json", counted)
    with pytest.raises(UsageError) as raised:
        parse_bundle(data, "/x")
    assert len(read) == 1
    assert str(raised.value).count("there is no key files.dit.k") == 20
    assert str(raised.value).endswith("; and more")


def test_a_pipe_is_no_file_of_a_bundle(tmp_path: Path) -> None:
    """Nobody would ever write into it."""
    folder = bundle_in(tmp_path / "b")
    for name in ("dit.safetensors", "vae.safetensors", "text_encoder.safetensors", "tokenizer.json"):
        os.mkfifo(folder / name)
    assert {one.level for one in check_bundle(load_bundle(str(folder))) if one.subject != "gang sizes"} == {"problem"}


@pytest.mark.parametrize("uri", ["sftp://host/m", "github://a:b@c/m", "zip://a.zip", "smb://u:SECRET@h/m", "ftp://h/m"])
def test_models_are_read_from_disks_and_stores(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(uri)
    assert "SECRET" not in str(caught.value)


def test_no_credentials_go_to_a_bundles_account_or_are_in_its_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    with pytest.raises(UsageError, match="account other is not the environment's"):
        open_store("abfs://c@other.blob.core.windows.net/m")
    monkeypatch.setenv("COSMOS_RAY_ALLOW_HTTP", "1")
    for uri in ("http://u:SECRET@127.0.0.1:9/m", "http://127.0.0.1:9/m?sig=SECRET", "s3://k:SECRET@b/m"):
        with pytest.raises(UsageError) as caught:
            open_store(uri)
        assert "SECRET" not in str(caught.value)


# --- pickles that keep their reader busy ------------------------------------------------------------------------------


def nested_key(depth: int = 64) -> bytes:
    """{((...), (...)): 1}: each tuple holds the one before twice, and making a key of it looks at 2**64 of them."""
    inner = b"(t\x94" + b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86\x94" for n in range(depth))
    return b"\x80\x04" + inner + b"0" * depth + b"}h" + bytes([depth]) + b"K\x01s."


def archive(pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3")
    return buffer.getvalue()


def test_the_bomb_is_one() -> None:
    """With few enough levels it can be read."""
    assert isinstance(pickle.loads(nested_key(5)), dict)


@pytest.mark.parametrize("suffix", [".pt", ".pkl"])
def test_an_embedding_of_nested_keys_is_refused_at_once(suffix: str) -> None:
    data = archive(nested_key()) if suffix == ".pt" else nested_key()
    with pytest.raises(RowError, match="a key that is neither text nor a number"):
        load_embedding(data, suffix, 1, 8)


def test_weights_of_nested_keys_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(archive(nested_key()))
    with pytest.raises(ValueError, match="a key that is neither text nor a number"):
        read_header(tmp_path / "a.pt")


def test_sets_and_ordered_dicts_are_no_way_round() -> None:
    for value in ({(1, 2)}, frozenset([1]), OrderedDict({(1, 2): 3})):
        with pytest.raises(RowError):
            load_embedding(pickle.dumps(value, 4), ".pkl", 1, 8)


def test_embeddings_as_torch_writes_them_are_still_read() -> None:
    for old in (False, True):
        buffer = io.BytesIO()
        torch.save([torch.ones(3, 8)], buffer, _use_new_zipfile_serialization=not old)
        (view,) = load_embedding(buffer.getvalue(), ".pt", 1, 8)
        assert view.shape == (3, 8)


def test_an_array_that_claims_more_than_it_has_is_not_made_room_for() -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": (2**40, 8), "fortran_order": False, "descr": "<f4"})
    with pytest.raises(RowError, match="it claims more numbers than it has"):
        load_embedding(buffer.getvalue(), ".npy", 1, 8)


def safetensors_header(entries: dict[str, Any]) -> bytes:
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header


def test_headers_of_absurd_length_and_number_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**25))
        file.truncate(2**26)
    with pytest.raises(ValueError, match="its header length does not fit"):
        read_header(path)
    path.write_bytes(safetensors_header({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, float("inf")]}}))
    with pytest.raises(ValueError, match="its header cannot be read"):
        read_header(path)
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    with pytest.raises(RowError, match="expected one tensor, found 20"):
        load_embedding(safetensors_header({str(n): entry for n in range(20)}), ".safetensors", 1, 8)
    end = b"PK\x05\x06" + bytes(8) + struct.pack("<IIH", 2**30, 0, 0)
    (tmp_path / "a.pt").write_bytes(archive(pickle.dumps({})) + end)
    with pytest.raises(ValueError):
        read_header(tmp_path / "a.pt")
