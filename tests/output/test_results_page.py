"""docs/results.md: its blocks, run one after the other on an output with a clip that was made and one that failed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.job_runs import write_manifest
from support.outcomes import clips, run_of, settle
from support.pages import shown_to

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import open_run, row_defaults_of
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.output.index import write_index
from cosmos_ray.store.storage import Storage


@pytest.mark.slow
def test_results_are_loaded_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    rows = [{"id": name, "prompt": f"Street {name}.", "weather": "rain"} for name in ("a", "b")]
    manifest, storage = write_manifest(tmp_path / "m.parquet", rows), Storage(os.path.abspath("out"))
    run = run_of(manifest)
    open_run(storage, run)
    known = clips(manifest)
    settle(storage, known["a"])
    settle(storage, known["b"], "oom")
    storage.write("clips/a/1/front_wide.mp4", encode_mp4(np.zeros((5, 64, 112, 3), np.uint8), 10))
    write_index(storage, open_manifest(manifest), row_defaults_of(run), Ledger(storage).state())
    seen: dict[str, Any] = {"__name__": "page"}
    for block in shown_to(__file__, "test_results_are_loaded_as_shown"):
        exec(block, seen)
    assert list(seen["table"]["status"]) == ["ok", "failed"]
    assert list(seen["made"]["id"]) == ["a"]
    assert seen["counts"].to_dict("records") == [{"weather": "rain", "clips": 1}]
    assert tuple(seen["frames"].shape) == (5, 64, 112, 3)
    assert seen["caption"] == "Street a."
