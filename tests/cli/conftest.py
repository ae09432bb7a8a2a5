"""Commands that run in the test's own process, on a job that made one clip of four and found another faulty."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.job_runs import write_manifest

from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.job.plan import manifest_clips, row_defaults
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.run import Run, open_run
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    rows = [
        {"id": "a", "prompt": "a street"},
        {"id": "b", "prompt": None},
        {"id": "c", "prompt": "p", "num_samples": 2},
    ]
    return write_manifest(tmp_path / "m.parquet", rows)


@pytest.fixture
def output(tmp_path: Path, manifest: str) -> Path:
    """A job with the fake model that made `a` and found `b` faulty."""
    bundle = load_bundle("fake")
    defaults = row_defaults(bundle, SamplingConfig())
    storage = Storage(str(tmp_path / "out"))
    open_run(storage, Run(manifest, "h", 3, 4, "fake", bundle.fingerprint, bundle.numerics, defaults.to_json()))
    for clip in list(manifest_clips(manifest, defaults))[:2]:
        faulty = clip.error is not None
        Ledger(storage).commit(
            Record(
                id=clip.id,
                generation=0,
                status="failed" if faulty else "ok",
                failure_class="input" if faulty else None,
                attempt=1,
                error=clip.error,
                row_hash=clip.row_hash,
                epoch=1,
                files=() if faulty else (FileEntry("front_wide", "clips/a/1/front_wide.mp4", 40_000_000, "h"),),
                sidecar=None if faulty else FileEntry("", "clips/a/1/clip.json", 2_000_000, "h"),
            )
        )
    return tmp_path / "out"
