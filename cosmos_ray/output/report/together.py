"""One page of several outputs: a data set that is made in parts. It lies in the folder that holds them all."""

from __future__ import annotations

import os
import posixpath
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.history import JobTook, read_jobs
from cosmos_ray.ledger.layout import REPORT, REPORT_ROWS
from cosmos_ray.ledger.record import now
from cosmos_ray.output.column_names import beside
from cosmos_ray.output.report.build import write_page
from cosmos_ray.output.report.listing import MOST, Listing, clips_of, failures_of, read_failures, read_index
from cosmos_ray.output.report.page import OutputLine, ReportPage, mark_in
from cosmos_ray.output.report.part import Part
from cosmos_ray.output.report.values import Value
from cosmos_ray.output.status import Status, read_status
from cosmos_ray.store.places import place_of
from cosmos_ray.store.storage import Storage
from cosmos_ray.store.uris import scheme_of
from cosmos_ray.words import counted


@dataclass(frozen=True)
class _One:
    """One of the outputs, where it lies from the page, and its rows."""

    status: Status
    place: str
    clips: Listing
    failures: Listing
    jobs: Sequence[JobTook]

    def hours(self) -> float | None:
        """Of GPUs, or of ranks without; None where nobody has written them down."""
        return sum(job.gpu_seconds for job in self.jobs) / 3600 if self.jobs else None


def write_together(outputs: Sequence[str], part: Part) -> str:
    """URI of the page. Raises UsageError for outputs that no folder holds, or whose folder has another's page."""
    found = [read_status(output) for output in outputs]
    places = [_in_one_form(status.output) for status, _, _ in found]
    folder = _folder_of(places)
    if folder.exists(REPORT) and mark_in(folder.read(REPORT)[:2048]) is None:
        raise UsageError(f"{folder.uri_of(REPORT)} is there and no page of ours: move it, or the outputs")
    parts, unread = [], []
    for (status, run, state), uri in zip(found, places, strict=True):
        storage, place = Storage(status.output), posixpath.relpath(uri, folder.uri)
        index = read_index(storage, state)
        try:
            index = part.of_clips(index)
        except UsageError as error:  # columns that another output's manifest has
            unread.append(error)
            index = index.slice(0, 0)
        failed = failures_of(part.of_failures(read_failures(storage, state)))
        parts.append(_One(status, place, clips_of(storage, run, state, index), failed, read_jobs(storage)))
    if len(unread) == len(parts):
        raise unread[0]
    clips = _merged("clips", parts)
    page = replace(_page(folder, parts, part), grid=part.grid_of(clips))
    write_page(folder, page, [clips, _merged("failures", parts)])
    return folder.uri_of(REPORT)


def _in_one_form(uri: str) -> str:
    """Of a store's folder the same text, however it is written; a disk's as it was given, links and all."""
    return uri if scheme_of(uri) == "file" else place_of(uri)


def _folder_of(uris: Sequence[str]) -> Storage:
    if len({place_of(uri) for uri in uris}) < len(uris):
        raise UsageError(f"found an output twice among {', '.join(uris)}, expected each once")
    heads = {scheme_of(uri) if scheme_of(uri) == "file" else "/".join(uri.split("/")[:3]) for uri in uris}
    common = os.path.commonpath([posixpath.dirname(uri) for uri in uris]) if len(heads) == 1 else "/"
    if common == "/":
        raise UsageError(f"found outputs {', '.join(uris)}, expected all below one folder: the page lies in it")
    # of a URI, the two slashes after its scheme have become one
    scheme = scheme_of(uris[0])
    return Storage(common if scheme == "file" else common.replace(":/", "://", 1))


def _merged(name: str, parts: Sequence[_One]) -> Listing:
    """Their rows one after the other, with the columns of all; which output a row is of is a column."""
    listings = [(one, _beside_ours(getattr(one, name))) for one in parts]
    columns = dict.fromkeys([".retry", "output", *(column for _, listing in listings for column, _ in listing.columns)])
    kinds: dict[str, set[str]] = {column: set() for column in columns}
    rows: list[list[Value]] = []
    for one, listing in listings:
        for column, kind in listing.columns:
            kinds[column].add(kind)
        for values in _rows_of(one, listing, MOST - len(rows)):
            rows.append([values.get(column) for column in columns])
    described = tuple((column, "number" if kinds[column] == {"number"} else "text") for column in columns)
    return Listing(name, described, rows, sum(listing.total for _, listing in listings))


def _rows_of(one: _One, listing: Listing, most: int) -> Iterator[dict[str, Value]]:
    """Values by column; paths start from the page's folder."""
    names = [column for column, _ in listing.columns]
    ours: dict[str, Value] = {".retry": _retry(one.status), "output": one.place}
    for row in listing.rows[:most]:
        values = dict(zip(names, row, strict=True))
        for path in (".folder", ".preview"):
            if values.get(path) is not None:
                values[path] = f"{one.place}/{values[path]}"
        yield values | ours


def _beside_ours(listing: Listing) -> Listing:
    """A manifest may have a column of that name, too."""
    names = beside([column for column, _ in listing.columns], ["output"])
    return replace(listing, columns=tuple((name, kind) for name, (_, kind) in zip(names, listing.columns, strict=True)))


def _retry(status: Status, failure_class: str = "") -> str:
    return f"cosmos-ray retry {shlex.quote(status.output)}{failure_class and f' --class {failure_class}'}"


def _page(folder: Storage, parts: Sequence[_One], part: Part) -> ReportPage:
    """Without its rows."""
    statuses = [one.status for one in parts]
    by_class = sum((Counter(status.failed_by_class) for status in statuses), Counter[str]())
    names = ("clips", "ok", "failed", "left")
    return ReportPage(
        title=f"cosmos_ray: {counted(len(parts), 'output')}",
        output=folder.uri,
        generated_at=now(),
        totals={name: sum(getattr(status, name) for status in statuses) for name in names},
        clips_per_hour=None,
        model=", ".join(dict.fromkeys(status.model for status in statuses)),
        settings={},
        failure_counts=dict(by_class),
        retry="",  # each row has its own
        again=" ".join(["cosmos-ray report", *(shlex.quote(status.output) for status in statuses)]),
        folder=f"{REPORT_ROWS}/",
        lists=(),
        part=part.in_words(),
        outputs=[_line(one, part.price) for one in parts],
        retries={
            name: [_retry(status, name) for status in statuses if name in status.failed_by_class] for name in by_class
        },
    )


def _line(one: _One, price: float | None) -> OutputLine:
    hours = one.hours()
    unit = "" if all(job.device == "cuda" for job in one.jobs) else " of ranks"
    return OutputLine(
        one.place,
        f"./{one.place}/{REPORT}",
        one.status.clips,
        one.status.ok,
        one.status.failed,
        one.status.left,
        "–" if hours is None else f"{hours:,.2f}{unit}",
        None if price is None else "–" if hours is None else f"{hours * price:,.2f}",
    )
