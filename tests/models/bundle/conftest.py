"""A cache of a test's own, where it asks for one: nothing is there that another test has fetched or converted."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
