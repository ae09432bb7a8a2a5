"""Gather what the report page shows, from the output alone, and write it: `OUTPUT/report.html` and its rows."""

from __future__ import annotations

import shlex

from cosmos_ray.ledger.layout import REPORT, REPORT_ROWS
from cosmos_ray.ledger.ledger import LedgerState
from cosmos_ray.ledger.record import now
from cosmos_ray.ledger.run import Run
from cosmos_ray.output.report.files import names_in, remove_others, write_rows
from cosmos_ray.output.report.listing import Listing, clips_of, failures_of, read_index
from cosmos_ray.output.report.page import ReportPage, Rows, render
from cosmos_ray.output.status import Status, summarise
from cosmos_ray.store.storage import Storage


def write_report(storage: Storage, run: Run, state: LedgerState, mark: str = "") -> None:
    """Write the page, of what the ledger and the index say now. Rows first, so that a page always finds its own.

    mark: of what it is made from.
    """
    before = names_in(storage)
    lists = [
        _written(storage, clips_of(storage, run, state, read_index(storage, state))),
        _written(storage, failures_of(storage, state)),
    ]
    page = page_of(storage, run, summarise(storage.uri, run, state), lists, mark)
    storage.write(REPORT, render(page).encode())
    remove_others(storage, before.union(*(rows.files for rows in lists)))


def page_of(storage: Storage, run: Run, status: Status, lists: list[Rows], mark: str = "") -> ReportPage:
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
        lists=lists,
        mark=mark,
    )


def _written(storage: Storage, listing: Listing) -> Rows:
    return Rows(listing.name, listing.columns, write_rows(storage, listing), len(listing.rows), listing.total)
