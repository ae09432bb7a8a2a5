"""Checkpoints of other numbers than a network computes with: whole ones, eight bits without scales, infinite ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, Bundle, load_bundle
from cosmos_ray.models.bundle.cache import content_sha256
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.bundle.derive import derive, with_dit
from cosmos_ray.models.parts import load_network, load_vae

DIT = BUILT_IN_FOLDER / "tiny" / "dit.safetensors"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))


def stored(state: dict[str, Tensor], path: Path) -> str:
    """legacy: as torch wrote files before 1.6."""
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization="legacy" not in path.name)
    return str(path)


NUMBERS = [torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.int64]


@pytest.mark.parametrize("dtype", NUMBERS, ids=[str(one).removeprefix("torch.") for one in NUMBERS])
def test_parameters_that_are_no_plain_floats_are_refused_before_a_gpu_is_taken(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    state = load_file(DIT)
    name = sorted(state)[5]
    state[name] = state[name].to(dtype)
    with pytest.raises(UsageError, match=rf"1 parameter of another type than float64, .*: {name} found ") as told:
        with_dit(load_bundle("tiny"), stored(state, tmp_path / "dit.safetensors"))
    assert "is none of `tiny`" in str(told.value)


def own_bundle(tmp_path: Path, part: str, dtype: torch.dtype) -> Bundle:
    """One that says itself what its files are."""
    shutil.copytree(BUILT_IN_FOLDER / "tiny", tmp_path / "own")
    path, facts = tmp_path / "own" / f"{part}.safetensors", json.loads((tmp_path / "own" / "bundle.json").read_text())
    stored({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)
    facts["files"][part]["sha256"] = content_sha256(path)
    (tmp_path / "own" / "bundle.json").write_text(json.dumps(facts))
    return load_bundle(str(tmp_path / "own"))


@pytest.mark.parametrize("part", ["dit", "vae", "text_encoder"])
def test_a_bundle_of_such_parts_is_refused_when_it_is_checked(part: str, tmp_path: Path) -> None:
    found = [one for one in check_bundle(own_bundle(tmp_path, part, torch.int8)) if one.level != "ok"]
    assert [one.subject for one in found] == [part]
    assert " of another type than float64, float32, float16, bfloat16: " in found[0].message


def test_and_where_nobody_has_checked_it_is_not_loaded(tmp_path: Path) -> None:
    bundle = own_bundle(tmp_path, "dit", torch.int8)
    with pytest.raises(UsageError, match="of another type"):
        load_network(bundle)
    (tmp_path / "vae").mkdir()
    with pytest.raises(UsageError, match="of another type"):
        load_vae(own_bundle(tmp_path / "vae", "vae", torch.int8))


@pytest.mark.parametrize("name", ["dit.safetensors", "dit.pt", "legacy.pt"])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [(torch.bfloat16, "nan"), (torch.float16, "inf"), (torch.float32, "-inf"), (torch.float64, "nan")],
    ids=["bfloat16", "float16", "float32", "float64"],
)
def test_a_model_is_derived_of_finite_numbers_alone(name: str, dtype: torch.dtype, value: str, tmp_path: Path) -> None:
    """Clips of others would all come out as none. One number of one tensor tells."""
    state = {name: tensor.to(dtype) for name, tensor in load_file(DIT).items()}
    first, last = sorted(state)[5], sorted(state)[-1]
    good = with_dit(load_bundle("tiny"), stored(state, tmp_path / f"good-{name}"))
    assert derive(good, str(tmp_path / "good")).name == good.name
    state[first].view(-1)[-1] = state[last].view(-1)[0] = float(value)
    bad = with_dit(load_bundle("tiny"), stored(state, tmp_path / name))
    with pytest.raises(UsageError, match="numbers that are not finite") as told:
        derive(bad, str(tmp_path / "bad"))
    assert str(told.value).endswith(f": {first}, {last}") or str(told.value).endswith(f": {last}, {first}")
    assert not (tmp_path / "bad" / "dit.safetensors").exists()
