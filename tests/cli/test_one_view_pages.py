"""docs/one-view.md: its builders' commands are run, and every plan of what they make has no fault."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.manifests import put
from support.pages import commands_of, shown_to

from cosmos_ray.clip.encode import encode_jpeg, encode_mp4

#: Of each manifest, the model that its rows are for, and how many there are.
MADE = {
    "clips": ("tiny-video2world", 3),
    "words": ("tiny-text2image", 2),
    "rows": ("tiny-video2world", 1),
    "items": ("tiny-text2world", 1),
    "front": ("tiny-video2world", 1),
    "many": ("tiny-video2world", 12),
}


def test_manifests_for_models_of_one_view_are_built_as_shown(
    cosmos_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video, picture = encode_mp4(np.zeros((6, 32, 48, 3), np.uint8), 16), encode_jpeg(np.zeros((32, 48, 3), np.uint8))
    for name, content in (
        ("cup.jpg", picture),
        ("arm.mp4", video),
        ("one/0001.jpg", picture),
        ("one/0002.jpg", picture),
    ):
        put(tmp_path / "clips" / name, content)
    put(tmp_path / "clips" / "cup.txt", "A cup.")
    for word in ("bus", "tram"):
        put(tmp_path / "words" / f"{word}.txt", f"A {word}.")
    put(tmp_path / "rows.csv", "id,prompt,image\na,A cup.,clips/cup.jpg\n")
    put(tmp_path / "items.json", json.dumps([{"prompt": "A bus.", "output_video": "bus.mp4"}]))
    for camera in ("front_center", "left"):
        put(tmp_path / "fleet" / "drive-1" / f"{camera}.mp4", video)
    (block,) = shown_to(__file__, "test_manifests_for_models_of_one_view_are_built_as_shown")
    for _, *words in commands_of(block):
        answer = cosmos_ray(*words)
        assert answer.code == 0, answer.err
    for name, (model, rows) in MADE.items():
        assert pq.read_metadata(tmp_path / f"{name}.parquet").num_rows == rows, name
        answer = cosmos_ray("plan", "--manifest", f"{name}.parquet", "--model", model, "--inputs")
        assert answer.code == 0, answer.err + answer.out
        assert re.search(rf"{rows} clips?: 0 done", answer.out + answer.err), (name, answer)
        assert "fault" not in answer.out.replace("0 with faults", "").replace("no faults", ""), (name, answer)
