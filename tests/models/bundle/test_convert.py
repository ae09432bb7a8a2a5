"""Conversions in the node's cache: when one is made, and when an old one is not taken for it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.tiny_spec import random_tiny_spec

from cosmos_ray.models.bundle.bundle import Bundle, parse_bundle
from cosmos_ray.models.bundle.cache import file_sha256
from cosmos_ray.models.bundle.checkpoint import select_exactly
from cosmos_ray.models.bundle.convert import load_dit_state, load_selected, selected
from cosmos_ray.models.bundle.files import fetch_bundle, local_path, source_key
from cosmos_ray.models.bundle.headers import read_header
from cosmos_ray.models.bundle.references import FileRef
from cosmos_ray.models.bundle.shapes import Shapes

pytestmark = pytest.mark.usefixtures("own_cache")

SHAPES: Shapes = {"a": (3,), "b": (2, 2)}


def state(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    """Numbers that bfloat16 rounds."""
    return {"a": torch.arange(3) + 1 / 3, "b": torch.arange(4).view(2, 2) / 7} | changes


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == tensor.dtype and torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


def test_a_file_of_two_dtypes_is_rounded_to_one(tmp_path: Path) -> None:
    """One tensor in the dtype asked for does not make it a file of that dtype."""
    path = tmp_path / "dit.safetensors"
    mixed = state(a=state()["a"].bfloat16())
    safetensors.torch.save_file(mixed, path)
    rounded = {name: tensor.bfloat16() for name, tensor in state().items()}
    assert equal(load_dit_state(path, "source", SHAPES, "net.", torch.bfloat16), rounded)
    assert equal(load_dit_state(path, "source", SHAPES, "net.", None), mixed)


def test_one_file_is_converted_to_each_dtype_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "dit.pt"
    torch.save(state(), path)
    rounded = {name: tensor.bfloat16() for name, tensor in state().items()}
    for _ in range(2):
        assert equal(load_dit_state(path, "source", SHAPES, "net.", torch.bfloat16), rounded)
        assert equal(load_dit_state(path, "source", SHAPES, "net.", None), state())


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: b"", lambda data: data[:4]])
def test_a_conversion_that_was_cut_off_is_made_again(tmp_path: Path, own_cache: Path, spoil) -> None:
    path = tmp_path / "dit.pt"
    torch.save(state(), path)
    assert equal(load_dit_state(path, "source", SHAPES, "net.", None), state())
    (converted,) = (own_cache / "converted").iterdir()
    converted.write_bytes(spoil(converted.read_bytes()))
    assert equal(load_dit_state(path, "source", SHAPES, "net.", None), state())


def test_tensors_of_several_files_are_each_read_from_theirs(tmp_path: Path) -> None:
    """Shards, of both formats; under other names than the files have."""
    torch.save({"x": state()["a"], "unused": torch.zeros(9)}, tmp_path / "1.bin")
    safetensors.torch.save_file({"y": state()["b"]}, tmp_path / "2.safetensors")
    found = selected([tmp_path / "1.bin", tmp_path / "2.safetensors"], {"a": "x", "b": "y"})
    assert equal(found, state())
    header = read_header(tmp_path / "2.safetensors")
    names = select_exactly(header.shapes, {"y": (2, 2)})
    loaded = load_selected("two", "part", [tmp_path / "2.safetensors"], "source", header, names, torch.float32)
    assert equal(loaded, {"y": state()["b"]})


@pytest.mark.parametrize(
    ("extra", "level"), [("accum_iteration", logging.INFO), ("nobody_knows", logging.WARNING)], ids=["known", "unknown"]
)
def test_only_what_nobody_knows_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, extra: str, level: int
) -> None:
    torch.save(state() | {extra: torch.tensor(1)}, tmp_path / "dit.pt")
    with caplog.at_level(logging.INFO, logger="cosmos_ray.models.bundle.convert"):
        load_dit_state(tmp_path / "dit.pt", "source", SHAPES, "net.", None)
    assert [record.levelno for record in caplog.records if "1 ignored" in record.getMessage()] == [level]


# --- what a conversion is named by -----------------------------------------------------------------------------------


def bundle_with(folder: Path, **files: dict[str, str]) -> Bundle:
    spec = random_tiny_spec()
    spec["files"] |= files
    return parse_bundle(json.dumps(spec), str(folder))


def test_a_file_that_was_changed_is_another_source(tmp_path: Path) -> None:
    """By its hash, not by its name: else the weights of yesterday would be loaded for those of today."""
    found = []
    for number in (1, 2):
        torch.save(state(a=torch.full((3,), float(number))), tmp_path / "dit.pt")
        reference = {"uri": "dit.pt", "sha256": file_sha256(tmp_path / "dit.pt")}
        bundle = bundle_with(tmp_path, dit=reference)
        path, source = local_path(bundle, "dit"), source_key(bundle, "dit")
        found.append(load_dit_state(path, source, SHAPES, "net.", None)["a"].tolist())
        assert source == reference["sha256"]
    assert found == [[1, 1, 1], [2, 2, 2]]


def test_a_file_of_the_hub_is_named_by_its_revision(tmp_path: Path) -> None:
    uris = [f"hf://owner/repo@{digit * 40}/dit.pt" for digit in "12"]
    keys = [source_key(bundle_with(tmp_path, dit={"uri": uri}), "dit") for uri in uris]
    assert keys == uris


def test_only_parts_that_are_files_are_fetched() -> None:
    """Random weights have none; and a fake model has no parts at all."""
    tiny = parse_bundle(json.dumps(random_tiny_spec()), "")
    assert [kind for kind, _ in fetch_bundle(tiny)] == ["tokenizer"]
    assert isinstance(tiny.file("tokenizer"), FileRef)
    assert (
        list(fetch_bundle(parse_bundle(json.dumps(random_tiny_spec() | {"generator": "fake", "files": None}), "")))
        == []
    )
