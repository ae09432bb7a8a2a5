"""Gather what the report page shows, from the output alone, and write it: `OUTPUT/report.html`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cosmos_ray.commit import now
from cosmos_ray.ledger import LedgerState, Record, record_path
from cosmos_ray.report.page import Failure, ReportPage, Sheet, render
from cosmos_ray.report.sheets import contact_sheet
from cosmos_ray.run import Run
from cosmos_ray.status import summarise
from cosmos_ray.storage import Storage

REPORT = "report.html"
#: A page is for looking at: so many contact sheets and failures, however large the run.
_SHEETS = 24
_FAILURES = 500


def write_report(storage: Storage, run: Run, state: LedgerState) -> None:
    """Write the page. Contact sheets are of the first clips by id, so the same run gives the same page."""
    status = summarise(storage.uri, run, state)
    finished = sorted(clip_id for clip_id, record in state.settled() if record.ok)
    failed = sorted(clip_id for clip_id, record in state.settled() if not record.ok)
    page = ReportPage(
        title=f"cosmos_ray: {storage.uri.rsplit('/', 1)[-1]}",
        output=storage.uri,
        generated_at=now(),
        totals={"rows": run.rows, "clips": run.clips, "ok": status.ok, "failed": status.failed, "left": status.left},
        clips_per_hour=status.clips_per_hour,
        model=run.model,
        settings={"numerics": run.numerics, "manifest": run.manifest, **{k: str(v) for k, v in run.sampling.items()}},
        failures=[_failure(record) for record in _records(storage, failed[:_FAILURES], state)],
        failure_counts=status.failed_by_class,
        sheets=[_sheet(storage, record) for record in _records(storage, finished[:_SHEETS], state)],
        sheets_left_out=max(0, len(finished) - _SHEETS),
    )
    storage.write(REPORT, render(page).encode())


def _records(storage: Storage, clip_ids: Sequence[str], state: LedgerState) -> list[Record]:
    paths = [record_path(clip_id, state.records[clip_id].generation) for clip_id in clip_ids]
    data = storage.read_many(paths)
    return [Record.from_json(data[path]) for path in paths]


def _failure(record: Record) -> Failure:
    return Failure(
        id=record.id,
        generation=record.generation,
        failure_class=record.failure_class or "internal",
        attempt=record.attempt,
        error=record.error or "",
    )


def _sheet(storage: Storage, record: Record) -> Sheet:
    paths = {entry.view: entry.path for entry in record.files}
    videos = storage.read_many(paths.values())
    clip: dict[str, Any] = json.loads(storage.read(record.sidecar.path))["clip"] if record.sidecar else {}
    return Sheet(
        id=record.id,
        prompt=" · ".join(clip.get("prompts", [])) or "(prompt embedding)",
        jpeg=contact_sheet({view: videos[path] for view, path in paths.items()}),
        videos=paths,
        details=_details(record, clip),
    )


def _details(record: Record, clip: dict[str, Any]) -> dict[str, str]:
    names: list[str] = ["num_conditional_frames", "seed", "num_steps", "guidance"]
    shown = {name: str(clip[name]) for name in names if name in clip}
    return {**shown, "denoised in": f"{record.seconds.get('denoise', 0.0):.1f} s"}
