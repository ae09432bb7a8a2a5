"""Gather what the report page shows, from the output alone, and write it: `OUTPUT/report.html` and its rows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from cosmos_ray.ledger.history import read_jobs
from cosmos_ray.ledger.layout import REPORT, REPORT_ROWS
from cosmos_ray.ledger.record import now
from cosmos_ray.ledger.run import Run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.output.report.files import names_in, remove_others, write_rows
from cosmos_ray.output.report.listing import Listing, clips_of, failures_of, read_failures, read_index
from cosmos_ray.output.report.page import ReportPage, Rows, render
from cosmos_ray.output.report.part import WHOLE, Part
from cosmos_ray.output.report.summary import facts, throughput
from cosmos_ray.output.status import Status, summarise
from cosmos_ray.store.storage import Storage


def write_report(storage: Storage, run: Run, state: LedgerState, mark: str = "", part: Part = WHOLE) -> None:
    """Write the page, of what the ledger and the index say now. mark: of what it is made from.

    Raises UsageError for a part that cannot be told.
    """
    index = read_index(storage, state)
    clips = clips_of(storage, run, state, part.of_clips(index))
    grid = part.grid_of(clips)
    failed = failures_of(part.of_failures(read_failures(storage, state)))
    page = page_of(storage, run, summarise(storage.uri, run, state), mark, part)
    page = replace(
        page,
        grid=grid,
        summary=facts(state, read_jobs(storage), index, part.price),
        throughput=throughput(state),
    )
    write_page(storage, page, [clips, failed])


def write_page(storage: Storage, page: ReportPage, listings: Sequence[Listing]) -> None:
    """Rows first, so that a page always finds its own."""
    before = names_in(storage)
    lists = [_written(storage, listing) for listing in listings]
    storage.write(REPORT, render(replace(page, lists=lists)).encode())
    remove_others(storage, before.union(*(rows.files for rows in lists)))


def page_of(storage: Storage, run: Run, status: Status, mark: str = "", part: Part = WHOLE) -> ReportPage:
    """Without its rows."""
    return ReportPage(
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
        failure_counts=status.failed_by_class,
        retry=f"cosmos-ray retry {shlex.quote(storage.uri)}",
        folder=f"{REPORT_ROWS}/",
        lists=(),
        mark=mark,
        part=part.in_words(),
        again=f"cosmos-ray report {shlex.quote(storage.uri)}",
    )


def _written(storage: Storage, listing: Listing) -> Rows:
    return Rows(listing.name, listing.columns, write_rows(storage, listing), len(listing.rows), listing.total)
