"""Gather what the report page shows, from the output alone, and write it: `OUTPUT/report.html`."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosmos_ray.ledger.layout import REPORT
from cosmos_ray.ledger.ledger import LedgerState, Record
from cosmos_ray.ledger.record import now
from cosmos_ray.ledger.rows import RecordReader
from cosmos_ray.ledger.run import Run
from cosmos_ray.output.report.page import Failure, ReportPage, Sheet, render
from cosmos_ray.output.report.sheets import contact_sheet
from cosmos_ray.output.status import summarise
from cosmos_ray.store.storage import Storage

#: A page is for looking at: so many contact sheets and failures, however large the run.
_SHEETS = 24
_FAILURES = 500


def write_report(storage: Storage, run: Run, state: LedgerState) -> None:
    """Write the page. Contact sheets are of the first clips by id, so the same run gives the same page."""
    status = summarise(storage.uri, run, state)
    is_ok = pc.equal(state.settled_table["status"], "ok")
    finished = state.settled_table["id"].filter(is_ok)
    failed = state.settled_table["id"].filter(pc.invert(is_ok))
    reader = RecordReader(storage, state)
    page = ReportPage(
        title=f"cosmos_ray: {storage.uri.rsplit('/', 1)[-1]}",
        output=storage.uri,
        generated_at=now(),
        totals={"rows": run.rows, "clips": run.clips, "ok": status.ok, "failed": status.failed, "left": status.left},
        clips_per_hour=status.clips_per_hour,
        model=run.model,
        settings={
            "numerics": run.numerics,
            "manifest": run.manifest,
            **{k: str(v) for k, v in (run.sampling | run.approximations).items()},
        },
        failures=[_failure(record) for record in reader.newest(first_by_name(failed, _FAILURES))],
        failure_counts=status.failed_by_class,
        sheets=[_sheet(storage, record) for record in reader.newest(first_by_name(finished, _SHEETS))],
        sheets_left_out=max(0, len(finished) - _SHEETS),
    )
    storage.write(REPORT, render(page).encode())


def first_by_name(clip_ids: pa.ChunkedArray, count: int) -> list[str]:
    """The first ones, in their order."""
    if not len(clip_ids):  # not every pyarrow selects from a column of no chunks
        return []
    found: list[str] = clip_ids.take(pc.bottom_k_unstable(clip_ids, count)).to_pylist()
    return found


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
