"""`cosmos-ray reproduce`: committed clips made again, with the fake generator on real gangs.

* whatever a row says, the same bytes come out, and the output is as it was before
* what differs is told: videos in dB, inputs, versions and gang by name
* a clip that was not made, a sidecar that is not the committed one and another model are refused before any gang
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.job_runs import FAST, records, run_job, write_manifest

from cosmos_ray.cli import main as cli
from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.frames import decode_mp4
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.errors import UsageError
from cosmos_ray.job.reproduce import Difference, reproduce
from cosmos_ray.ledger.layout import REPRODUCED
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.store.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("one_node")]
SETTINGS = ("device=cpu", *(f"lease.{name}={value}" for name, value in FAST["lease"].items()))
ROWS: list[dict[str, Any]] = [
    {"id": "text", "prompt": ["A street."], "n_views": 2, "seed": 4, "guidance": 3.5, "negative_prompt": ""},
    {"id": "views", "prompt": [f"View {view}." for view in VIEWS], "num_samples": 2, "num_steps": 9},
    {
        "id": "video",
        "prompt": ["A street."],
        "input_video": "drive.mp4",
        "num_conditional_frames": 5,
        "fps": 24,
        "n_views": 3,
    },
    {"id": "cameras", "prompt": ["A street."], "n_views": 2, "input_videos": ["one.mp4", "drive.mp4"]},
    {"id": "faulty", "prompt": [""]},
]


@pytest.fixture(scope="module")
def output(one_node: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of all kinds of rows."""
    folder = tmp_path_factory.mktemp("job")
    picture = np.random.default_rng(0).integers(0, 256, (36, 64, 112, 3), np.uint8)
    (folder / "drive.mp4").write_bytes(encode_mp4(picture, 24))
    (folder / "one.mp4").write_bytes(encode_mp4(picture[:3], 10))
    summary, said = run_job(write_manifest(folder / "m.parquet", ROWS), folder / "out")
    assert (summary.ok, summary.failed) == (5, 1), said
    return folder / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "clip_id", ["video", *(pytest.param(name, marks=pytest.mark.long) for name in ("views.s001", "cameras", "text"))]
)
def test_the_same_bytes_come_out_and_the_output_is_as_it_was(output: Path, clip_id: str, tmp_path: Path) -> None:
    before = contents(output)
    said: list[str] = []
    kept = tmp_path / "kept" if clip_id == "video" else None
    found = reproduce(str(output), clip_id, said.append, to=str(kept) if kept else None, assignments=SETTINGS)
    record = records(output)[clip_id]
    assert {one.view for one in found} == {entry.view for entry in record.files}
    assert all(one.same_bytes and one.psnr_db is None and one.max_levels == 0 for one in found)
    assert contents(output) == before
    assert not list((output / REPRODUCED).glob("*"))
    assert not [line for line in said if line.startswith(("input", "versions", "gang:"))]
    assert any(" is up: " in line for line in said)
    assert not [line for line in said if line.startswith(("run ", "1 clip:", "1 ok", "videos:", "report:"))]
    if kept is not None:
        again = records(kept / "output")[clip_id]
        assert (again.row_hash, again.request_hash) == (record.row_hash, record.request_hash)
        assert {entry.sha256 for entry in again.files} == {entry.sha256 for entry in record.files}


def test_what_differs_is_told(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A video of other frames, one of the same frames in other bytes, an input that was touched, a gang of one."""
    record = records(output)["video"]
    paths = {entry.view: output / entry.path for entry in record.files}
    first, second = paths["front_wide"], paths["cross_right"]
    before = {path: path.read_bytes() for path in (first, second)}
    drive = output.parent / "drive.mp4"
    try:
        frames = decode_mp4(first)
        first.write_bytes(encode_mp4(255 - frames, 24))
        second.write_bytes(before[second] + b"\x00\x00\x00\x08free")
        os.utime(drive, (1, 1))
        words = ["reproduce", str(output), "video", "--gang-size", "1", "--json"]
        words += [word for setting in SETTINGS for word in ("--set", setting)]
        monkeypatch.setattr(sys, "argv", ["cosmos-ray", *words])
        assert cli.run(cli.app) == 0
    finally:
        for path, data in before.items():
            path.write_bytes(data)
    answer = capsys.readouterr()
    views = {one["view"]: Difference(**one) for one in json.loads(answer.out)}
    assert list(views) == ["front_wide", "cross_right", "rear_right"]
    front = views["front_wide"]
    assert not front.same_bytes
    assert front.psnr_db is not None
    assert front.psnr_db < 15
    assert front.in_words() == f"{front.psnr_db:.1f} dB, colours at most {front.max_levels} of 255 levels apart"
    assert views["cross_right"] == Difference("cross_right", same_bytes=False, psnr_db=None, max_levels=0)
    assert views["cross_right"].in_words() == "the same frames in other bytes"
    assert views["rear_right"] == Difference("rear_right", same_bytes=True, psnr_db=None, max_levels=0)
    assert views["rear_right"].in_words() == "the same bytes"
    assert f"input {drive} is not as it was: version was " in answer.err
    assert "gang: size was 2, is 1" in answer.err


def test_what_cannot_be_reproduced_is_refused(output: Path, tmp_path: Path) -> None:
    def message(clip_id: str, **more: Any) -> str:
        with pytest.raises(UsageError) as refused:
            reproduce(str(output), clip_id, print, assignments=SETTINGS, **more)
        return str(refused.value)

    assert "has no clip `nobody`" in message("nobody")
    assert "has no clip `../text`" in message("../text")
    with pytest.raises(UsageError, match="there is no run at "):
        reproduce(str(tmp_path / "mistyped"), "text", print)
    assert "was not made (input): column `prompt`" in message("faulty")
    assert "model tiny is not the one that made the clip: found fingerprint" in message("text", model="tiny")
    sidecar = output / (records(output)["text"].sidecar or pytest.fail("no sidecar")).path
    committed = sidecar.read_bytes()
    try:
        sidecar.write_bytes(committed.replace(b'"seed": 4', b'"seed": 5'))
        assert "clip.json: found " in message("text")
        sidecar.unlink()
        assert "is missing" in message("text")
    finally:
        sidecar.write_bytes(committed)
    assert not list((output / REPRODUCED).glob("*"))


def test_a_bundle_of_one_s_own_must_be_pointed_at(output: Path, tmp_path: Path) -> None:
    """A sidecar's word for where a model is counts for nothing."""
    storage = Storage(str(tmp_path / "out"))
    record = records(output)["text"]
    assert record.sidecar is not None
    data = (output / record.sidecar.path).read_bytes().replace(b'"name": "fake"', b'"name": "/etc"')
    storage.write(record.sidecar.path, data)
    sidecar = replace(record.sidecar, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    Ledger(storage).commit(replace(record, sidecar=sidecar))
    with pytest.raises(UsageError, match="a bundle named `/etc`: --model must say"):
        reproduce(storage.uri, "text", print)
