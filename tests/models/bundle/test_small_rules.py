"""Small rules of bundles' files: how lists are told, how random weights are scaled, which hashes are remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosmos_ray.models.bundle import cache
from cosmos_ray.models.bundle.checkpoint import _listed
from cosmos_ray.models.bundle.weights import random_state_dict


@pytest.mark.parametrize(
    ("names", "told"),
    [("a", "missing: a"), ("ab", "missing: a, b"), ("abc", "missing: a, b, and 1 more")],
)
def test_only_names_that_are_left_out_are_counted(names: str, told: str) -> None:
    assert _listed("missing", list(names), limit=2) == told


@pytest.mark.parametrize("shape", [(64,), (64, 1, 1), (8, 8, 4)])
def test_random_gains_are_about_one_whatever_their_shape(shape: tuple[int, ...]) -> None:
    drawn = random_state_dict({"norm.gamma": shape}, seed=0)["norm.gamma"]
    assert abs(float(drawn.mean()) - 1) < 0.1
    assert 0.05 < float(drawn.std()) < 0.2


@pytest.mark.parametrize("is_touched", [False, True])
def test_a_hash_is_remembered_only_of_a_file_that_stood_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_touched: bool
) -> None:
    path, note = tmp_path / "weights", tmp_path / "note.json"
    path.write_bytes(b"first")

    def hashed(path: Path) -> str:
        if is_touched:
            path.write_bytes(b"another, longer")
        return "0" * 64

    monkeypatch.setattr(cache, "file_sha256", hashed)
    assert cache._remembered(path, note) == "0" * 64
    assert note.exists() is not is_touched
