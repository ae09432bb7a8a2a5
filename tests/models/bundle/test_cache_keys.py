"""What stands for what in a node's cache: no file is ever taken for one that differs from it in any way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import cache, convert
from cosmos_ray.models.bundle.cache import node_lock, remembered_sha256, short_key
from cosmos_ray.models.bundle.checkpoint import Selection
from cosmos_ray.models.bundle.convert import load_selected
from cosmos_ray.models.bundle.headers import read_header


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_that_differs_in_any_way_is_hashed_again() -> None:
    """Size and both times, and which file it is: one that was moved into its place may have the same of all others."""
    known = {"st_size": 1, "st_mtime_ns": 2, "st_ctime_ns": 3, "st_ino": 4}

    def state(**changes: int) -> tuple[int, ...]:
        stat = SimpleNamespace(**{**known, "st_mode": 5, "st_atime_ns": 6, **changes})
        return cache.state_of(SimpleNamespace(stat=lambda: stat))  # type: ignore[arg-type]

    states = [state(), *(state(**{name: 9}) for name in known)]
    assert len({tuple(one) for one in states}) == 1 + len(known)
    assert state(st_atime_ns=9) == state(), "that somebody has read it changes nothing"


def test_two_files_of_one_name_are_two_and_a_megabyte_is_worth_a_note(tmp_path: Path, own_cache: Path) -> None:
    for folder, size in (("a", 2**20), ("b", 2**20), ("c", 2**20 - 1)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "weights").write_bytes(folder.encode() * size)
    hashes = {remembered_sha256(tmp_path / folder / "weights") for folder in "abc"}
    assert len(hashes) == 3
    assert len(list((own_cache / "verified").glob("*.json"))) == 2
    assert {remembered_sha256(tmp_path / folder / "weights") for folder in "abc"} == hashes


def test_names_of_files_are_short_and_one_for_each_text() -> None:
    texts = ["", "a", "A", "a/b", "a\\b", "雨", "x" * 10_000, "x" * 10_001]
    keys = {short_key(text) for text in texts}
    assert len(keys) == len(texts)
    assert all(len(key) == 32 and key.isalnum() for key in keys)


def test_a_lock_is_of_its_name_and_not_of_what_is_done_under_it(own_cache: Path) -> None:
    """Two that fill one file in different words wait for each other."""
    for name, what in (("x", "working"), ("x", "hashing"), ("y", "working")):
        with node_lock(name, what):
            pass
    assert len(list((own_cache / "locks").iterdir())) == 2


# --- conversions -----------------------------------------------------------------------------------------------------

HALVES = {"net.a": 1.0, "net_ema.a": 2.0, "net.b": 3.0}


def converted(path: Path, source: str = "s", part: str = "dit", names: Mapping[str, str] | None = None,
              dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:  # fmt: skip
    selection = Selection(names or {"a": "net.a"}, {}, ())
    return load_selected(str(path), part, [path], source, read_header(path), selection, dtype)


def test_a_conversion_is_of_its_source_its_part_its_names_and_its_dtype(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one file whatever is asked for in another way is another conversion; in the same way, the same."""
    path = tmp_path / "dit.pt"
    torch.save({name: torch.full((2,), value + 1 / 3) for name, value in HALVES.items()}, path)
    cases: list[dict[str, Any]] = [
        {},
        {"source": "another"},
        {"part": "picture_dit"},
        {"names": {"a": "net_ema.a"}},
        {"names": {"b": "net.a"}},
        {"names": {"a": "net.a", "b": "net.b"}},
        {"dtype": torch.bfloat16},
        {"dtype": torch.float32},
    ]
    for number, case in enumerate(cases, 1):
        for _ in range(2):
            found = converted(path, **case)
            expected = {name: HALVES[entry] + 1 / 3 for name, entry in (case.get("names") or {"a": "net.a"}).items()}
            assert {name: float(tensor[0].float()) for name, tensor in found.items()} == pytest.approx(
                expected, rel=1e-2
            )
            assert {tensor.dtype for tensor in found.values()} == {case.get("dtype") or torch.float32}
        assert len(list((own_cache / "converted").glob("*.safetensors"))) == number
    monkeypatch.setattr(convert, "_FORMAT", 2)
    converted(path)
    assert len(list((own_cache / "converted").glob("*.safetensors"))) == len(cases) + 1, "an older release's is left"


def test_floats_are_converted_and_whole_numbers_refused(tmp_path: Path) -> None:
    path = tmp_path / "dit.pt"
    torch.save({"net.a": torch.tensor([7, 300]), "net.b": torch.ones(1, dtype=torch.float64)}, path)
    assert converted(path, names={"b": "net.b"}, dtype=torch.bfloat16)["b"].dtype == torch.bfloat16
    with pytest.raises(UsageError, match=r"net\.a found int64"):
        converted(path, names={"a": "net.a", "b": "net.b"}, dtype=torch.bfloat16)
