"""Weights that somebody writes over while a model that was loaded from them is at work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_ray.config import GangConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.gang.rank import Rank, _held
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.gang.verdict import GangBrokenError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, Bundle, load_bundle
from cosmos_ray.models.bundle.held import held_files


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    shutil.copytree(BUILT_IN_FOLDER / "tiny", tmp_path / "own")
    return load_bundle(str(tmp_path / "own"))


def written_over(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"another model's")
    os.replace(other, path)


def touched(path: Path) -> None:
    path.write_bytes(path.read_bytes())


@pytest.mark.parametrize("name", ["dit.safetensors", "vae.safetensors", "text_encoder.safetensors"])
def test_a_file_that_is_written_over_is_noticed(bundle: Bundle, name: str) -> None:
    held = held_files(bundle, bundle.kinds)
    for one in held:
        one.check()
    written_over(Path(bundle.root, name))
    (changed,) = (one for one in held if one.path.name == name)
    with pytest.raises(UsageError, match=f"{name} was written to while a model"):
        changed.check()


@pytest.mark.parametrize("change", [replaced, touched, Path.unlink], ids=["replaced", "touched", "removed"])
def test_what_the_model_still_has_as_it_was_is_left_alone(bundle: Bundle, change: Callable[[Path], object]) -> None:
    held = held_files(bundle, bundle.kinds)
    change(Path(bundle.root, "dit.safetensors"))
    for one in held:
        one.check()


@pytest.mark.parametrize("change", [written_over, replaced], ids=["written-over", "replaced"])
def test_a_file_that_changed_while_it_was_loaded_ends_the_loading(
    bundle: Bundle, change: Callable[[Path], object]
) -> None:
    change(Path(bundle.root, "dit.safetensors"))
    with pytest.raises(UsageError, match=r"dit\.safetensors: found sha256"):
        held_files(bundle, bundle.kinds)


def test_a_rank_makes_nothing_of_it(bundle: Bundle, tmp_path: Path) -> None:
    """The gang is broken, and the next one does not load what is there now."""
    spec = GangSpec(bundle, 1, "cpu", "reference", str(tmp_path), 1, GangConfig())
    rank = Rank(0, 1)
    rank._held = _held(spec)
    assert {one.kind for one in rank._held} == set(bundle.kinds)
    rank._check_held()
    written_over(Path(bundle.root, "dit.safetensors"))
    with pytest.raises(GangBrokenError, match=r"files\.dit: "):
        rank._check_held()


def test_what_was_copied_to_a_gpu_is_not_looked_at_again(bundle: Bundle, tmp_path: Path) -> None:
    for device, kinds in (("gang", set[str]()), ("cpu", {"text_encoder"})):
        of = bundle.with_text_encoder(device, None)
        assert {
            one.kind for one in _held(GangSpec(of, 1, "cuda", "reference", str(tmp_path), 1, GangConfig()))
        } == kinds
