"""README's commands, run line after line in a folder that has the files which they name.

Three are not: `generate` needs Ray, and what it would have left is put there instead (README's job is run from Python
by tests/test_readme.py); `reproduce` makes a clip, in tests/job/test_reproduce.py; `--watch` waits for a job.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.manifests import put
from support.pages import commands_of, shown_to

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.job.plan import manifest_clips, row_defaults
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.run import Run, open_run
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.cache import file_sha256
from cosmos_ray.store.storage import Storage

VIDEO = encode_mp4(np.zeros((20, 64, 112, 3), np.uint8), 10)


def job_has_run(folder: Path) -> None:
    """One clip made, one failed, as `generate` would have left them."""
    storage, bundle = Storage(str(folder / "out")), load_bundle("tiny")
    defaults = row_defaults(bundle, SamplingConfig())
    uri = str(folder / "m.parquet")
    open_run(storage, Run(uri, "h", 2, 2, "tiny", bundle.fingerprint, bundle.numerics, defaults.to_json()))
    good, bad = manifest_clips(uri, defaults)
    place = f"clips/{good.id}/1"
    storage.write(f"{place}/front_wide.mp4", VIDEO)
    storage.write(f"{place}/clip.json", json.dumps({"clip": asdict(good), "model": {}}).encode())
    video, sidecar = (
        FileEntry(view, path, len(storage.read(path)), file_sha256(folder / "out" / path))
        for view, path in (("front_wide", f"{place}/front_wide.mp4"), ("", f"{place}/clip.json"))
    )
    made = Record(good.id, 0, "ok", None, 1, None, good.row_hash, 1, files=(video,), sidecar=sidecar)
    failed = Record(bad.id, 0, "failed", "input", 1, "no such file", bad.row_hash, 1)
    for record in (made, failed):
        Ledger(storage).commit(dataclasses.replace(record, finished="2026-11-28T00:00:00+00:00"))


@pytest.mark.slow
def test_each_command_does_what_is_shown(cosmos_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "front.mp4", VIDEO)
    for name in ("a", "b"):
        put(tmp_path / "clips" / name / "front_wide.mp4", VIDEO)
        put(tmp_path / "clips" / name / "caption.txt", "A street.")
    said = {}
    (shown,) = shown_to(__file__, "test_each_command_does_what_is_shown")
    for program, *words in commands_of(shown):
        assert program == "cosmos-ray"
        if words[0] == "generate":
            job_has_run(tmp_path)
        elif words[0] != "reproduce":
            here = ["data" if word.startswith("s3://") else word for word in words if word != "--watch"]
            answer = said[words[0]] = cosmos_ray(*here)
            assert answer.code == 0, (words, answer)
    assert pq.read_table("m.parquet")["id"].to_pylist() == ["a", "b"]
    assert len([*(tmp_path / "frames").glob("*.png")]) == 1
    assert "2 clips" in said["plan"].out
    assert "1 ok" in said["status"].out
    assert (tmp_path / "out" / "report.html").is_file()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["shard-000000.tar"]
