"""A manifest of a few rows, and outcomes of its clips committed as a gang would, without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cosmos_ray.errors import FailureClass
from cosmos_ray.job.plan import make_plan, manifest_clips
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import FileEntry, Record
from cosmos_ray.ledger.run import Run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import open_manifest, version_of
from cosmos_ray.manifest.rows import Clip, RowDefaults
from cosmos_ray.output.kept import take_up
from cosmos_ray.store.storage import Storage

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")
EMPTY = LedgerState.empty()
#: Five rows that ask for eight clips, three of them with faults.
ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "a street"},
    {"id": "b", "prompt": "a bridge", "num_samples": 3},
    {"id": "c", "prompt": None},
    {"id": "d", "prompt": "rain", "seed": -1, "num_samples": 2},
    {"id": "e", "prompt": "snow", "seed": 5},
]


def settle(output: Storage, clip: Clip, failure: FailureClass | None = None, **fields: Any) -> Record:
    """Commit an outcome of this clip, as a gang would."""
    files = tuple(
        FileEntry(view, f"clips/{clip.id}/1/{view}.mp4", 1, f"sha of {view}") for view in ("rear", "front_wide")
    )
    record = Record(
        id=clip.id,
        generation=clip.generation,
        status="failed" if failure else "ok",
        failure_class=failure,
        attempt=1,
        error="why" if failure else None,
        row_hash=clip.row_hash,
        epoch=1,
        seconds={} if failure else {"denoise": 12.5},
        files=() if failure else files,
        sidecar=None if failure else FileEntry("", f"clips/{clip.id}/1/clip.json", 1, "s"),
    )
    return Ledger(output).commit(replace(record, **fields))


def clips(manifest: str) -> dict[str, Clip]:
    return {clip.id: clip for clip in manifest_clips(manifest, DEFAULTS)}


def run_of(manifest: str, /, **changes: Any) -> Run:
    known = Run(manifest, "h" * 64, 5, 8, "fake", "f" * 64, "reference", DEFAULTS.to_json())
    return replace(known, **changes)


def begin(output: Storage, manifest: str) -> Run:
    """As a job does before its first clip: what it is made from, and the manifest's rows."""
    opened = open_manifest(manifest)
    plan = make_plan(manifest, DEFAULTS, Ledger(output).state())
    run = run_of(
        manifest, manifest_sha256=opened.sha256(), manifest_version=version_of(manifest), rows=plan.rows,
        clips=plan.clips, removed=plan.removed,
    )  # fmt: skip
    take_up(output, opened, run)
    return run
