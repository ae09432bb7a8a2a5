"""An output in which everything that an output can have is there once, made without a model, the same each time."""

from __future__ import annotations

import datetime
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cosmos_ray.clip.approximations import Approximations
from cosmos_ray.clip.checks import Scores
from cosmos_ray.clip.settings import Settings
from cosmos_ray.ledger.history import JobTook, write_job
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Try
from cosmos_ray.ledger.run import Run
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.store.storage import Storage
from support.exported import video
from support.job_runs import write_manifest
from support.outcomes import begin, clips, settle

NOON = datetime.datetime(2031, 5, 6, 12, tzinfo=datetime.UTC)
#: Columns of the manifest's own, some with names that are ours elsewhere.
OWN: dict[str, Any] = {
    "weather": "rain", "speed": 1.5, "tags": ["a", "b"], "place": {"town": "X", "lane": 2}, "when": NOON,
    "status": "planned", "error": "none yet", "output": "left", "seconds": 7, "model": "hers", "raw": b"\x00\x01",
    "caption": "not the prompt",
}  # fmt: skip
ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "a street", "seed": 3, "guidance": 2.5, **OWN},
    {
        "id": "b",
        "prompt": "a bridge & <b>",
        "num_samples": 2,
        "speed": 0.1,
        "weather": "fog",
        "n_views": 2,
        "input_video": "s3://b/in/b.mp4",
    },
    {
        "id": "c",
        "prompt": "rain",
        "seed": 5,
        "num_steps": 9,
        "weather": None,
        "views": ["rear"],
        "status": "there",
        "control_videos": {"rear": "s3://b/c.mp4"},
    },
    {"id": "d", "prompt": "again", "seed": 6, "negative_prompt": "grey", "weather": "sun", "speed": float("inf")},
    *({"id": f"f{n}", "prompt": f"fails {n}", "seed": n, "weather": "rain", "tags": [str(n)]} for n in range(7)),
    {"id": "left", "prompt": "not made yet"},
    {"id": "open", "prompt": "made, and to be made again"},
]
FAILURES = ("input", "guardrail", "model", "oom", "storage", "internal", "input")
_SCORES = Scores(0.125, 0.25, 0.5, 4.5, 5.123456, 30.25, 0.75)
_WORSE = Scores(0.0, 0.5, 0.25, 1.5, 2.5, None, None)


def at(minutes: float) -> str:
    return (NOON + datetime.timedelta(minutes=minutes)).isoformat(timespec="milliseconds")


def settings_of(clip: Clip, **changes: Any) -> Settings:
    approximations = Approximations(solver="unipc", schedule="karras9").in_effect
    usual = Settings(
        "fake", clip.guidance, clip.num_steps, clip.cameras, clip.negative_prompt, approximations, "112x64", 29,
        clip.fps, "fast", "reference", True, clip.num_conditional_frames,
    )  # fmt: skip
    return replace(usual, **changes)


def store(output: Storage, path: str, data: bytes, view: str = "") -> FileEntry:
    output.write(path, data)
    return FileEntry(view, path, len(data), hashlib.sha256(data).hexdigest())


def make(output: Storage, clip: Clip, minute: float, attempt: int = 1, previews: bool = True, **fields: Any) -> None:
    """A clip that is ok, with its files."""
    folder = f"clips/{clip.id}/{attempt}"
    files = tuple(
        store(output, f"{folder}/{view}.mp4", video(f"{clip.id} {view} {attempt}"), view) for view in clip.cameras
    )
    sidecar = json.dumps({"clip": asdict(clip), "model": {"name": "fake", "fingerprint": "f"}}).encode()
    small = [store(output, f"previews/{clip.id}/{attempt}{end}", b"small " * 3, "preview") for end in (".mp4", ".jpg")]
    settle(
        output, clip, files=files, previews=tuple(small) if previews else (), attempt=attempt, seed=clip.seed,
        sidecar=store(output, f"{folder}/clip.json", sidecar), settings=settings_of(clip), gang="gang-0001",
        node="n" * 40, started=at(minute - 1), finished=at(minute), seconds={"denoise": 2.0 * minute, "decode": 0.5},
        **fields,
    )  # fmt: skip


def write_whole_output(folder: Path) -> tuple[Storage, Run, str]:
    """The output, its run, and the manifest's path. Index, failures and report are not there yet."""
    manifest = write_manifest(folder / "m.parquet", ROWS)
    output = Storage(str(folder / "out"))
    run, known = begin(output, manifest), clips(manifest)
    tries = (Try(2, ("black 0.9, more than 0.5",), {"rear": _WORSE}),)
    marks = ("frozen 0.5, more than 0.4", "flicker 4.5, more than 3")
    make(output, known["a"], 1, previews=False, scores={"rear": _SCORES, "front_wide": _WORSE}, warnings=("w", "v"))
    make(output, known["b.s000"], 2, marks=marks, tries=tries, guardrails=("face_blur",), blurred={"front_wide": 3})
    make(output, known["b.s001"], 2.5, refined_prompts=("a long bridge in the evening",), epoch=2)
    make(output, known["c"], 40, attempt=3, epoch=2, request_hash="r" * 64)
    for number, failure in enumerate(FAILURES):
        settle(output, known[f"f{number}"], failure, attempt=number, error=f"why {number}", finished=at(number))
    settle(output, known["d"], "oom", error="no memory", attempt=2)
    make(output, known["open"], 50, epoch=2)
    Ledger(output).redo(["d", "open"])
    make(output, replace(known["d"], generation=1), 61, attempt=4, epoch=2)
    settle(output, replace(known["a"], id="gone", row_hash="g"), finished=at(5))  # a clip whose row is there no more
    write_job(output, JobTook(1, at(0), at(3), 2, 3, "cuda", 720.0, 1440.0))
    write_job(output, JobTook(2, at(30), at(62), 2, 1, "cuda", 3600.0, None))
    return output, run, manifest
