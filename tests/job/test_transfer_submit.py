"""`ray job submit` of Transfer2.5's recipe, by the small model: control videos of a manifest, a gang of two, a kill.

Its siblings without Ray: `tests/models/test_predict25.py`, `tests/gang/test_prepare25.py`; a submitted job of the fake
model: `test_job_submit.py`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkout import copy_checkout
from support.job_runs import check_files, records, write_manifest
from support.ray_head import Head, head_node, processes_of
from support.videos import numbered, write
from support.waiting import wait_for

from cosmos_ray.clip.frames import inspect_video
from cosmos_ray.gang.step_checkpoint import StepCheckpoint, read_state
from cosmos_ray.store.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

VIEWS = ("front_wide", "rear")


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    with head_node(copy_checkout(tmp_path / "checkout")) as head:
        yield head


def driver_pid(head: Head) -> int:
    """Of the submitted script."""
    found = {}
    for entry in processes_of(head.environment["RAY_AUTH_TOKEN"]):
        words = (entry / "cmdline").read_bytes().split(b"\0")
        if b"jobs/generate.py" in words and words[0].endswith(b"python"):
            found[int(entry.name)] = words
    assert len(found) == 1, found
    return next(iter(found))


def test_a_submitted_job_follows_its_control_videos_and_goes_on_after_a_kill(head: Head, tmp_path: Path) -> None:
    """The driver is killed in the middle of a clip whose state is stored; the same submission takes it up there."""
    output = tmp_path / "out"
    videos = {view: str(write(tmp_path / f"{view}.mp4", numbered(88, first=n), fps=30)) for n, view in enumerate(VIEWS)}
    row = {"prompt": "A street.", "views": list(VIEWS), "control_videos": videos, "control_weight": 0.5, "seed": 3}
    rows = [
        {"id": "long", **row, "num_steps": 100, "input_videos": videos, "num_conditional_frames": 1},
        {"id": "words", **row, "num_steps": 2, "num_conditional_frames": 0},
    ]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    flags = ("--model", "tiny-transfer25", "--set", "gang.step_checkpoint=1")
    code, log = head.submit(manifest, output, *flags, options=("--no-wait", "--submission-id", "killed"))
    assert code == 0, log

    def stored_step() -> int:
        found = [read_state(Storage(str(output)), StepCheckpoint(str(path.relative_to(output)), 1))
                 for path in output.glob("_cosmos_ray/steps/long.*.safetensors")]  # fmt: skip
        return int(found[0]["step"]) if found and found[0] is not None else 0

    stored = wait_for(stored_step, "a stored state")
    os.kill(driver_pid(head), signal.SIGKILL)
    wait_for(lambda: head.get("/api/jobs/killed")["status"] == "FAILED", "the job to be seen as dead")
    assert "long" not in records(output), "killed before it was made"
    code, log = head.submit(manifest, output, *flags)
    assert code == 0, log
    found = records(output)
    assert {clip_id: record.status for clip_id, record in found.items()} == {"long": "ok", "words": "ok"}
    assert {entry.view for entry in found["long"].files} == {*VIEWS}
    check_files(output)
    sidecar = found["long"].sidecar
    assert sidecar is not None
    said = json.loads((output / sidecar.path).read_bytes())
    assert (found["long"].attempt, said["first_step"] >= stored) == (2, True)
    assert not list(output.glob("_cosmos_ray/steps/*"))
    made = [inspect_video(output / entry.path) for entry in found["words"].files]
    assert {(info.frames, info.fps) for info in made} == {(29, 10.0)}
