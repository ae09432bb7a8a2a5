"""An output that nothing is in yet, and the manifest of five rows that its clips are asked for by."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.job_runs import write_manifest
from support.outcomes import ROWS

from cosmos_ray.store.storage import Storage


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    return write_manifest(tmp_path / "m.parquet", ROWS)


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))
