"""Index, failures and report: made from the ledger and the kept manifest, and found stale by the mark that they carry.

Each is written whole, with its mark inside, so whoever is killed between any two of them leaves files that say what
they are of. Of several that write at once each looks at all of them again when it is done, so the last one sees what
the others have left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.layout import FAILURES, INDEX, REPORT
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import Run, read_run, row_defaults_of
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.manifest.files import Manifest
from cosmos_ray.output.index import MARK, write_index
from cosmos_ray.output.kept import Now, kept, manifest_now
from cosmos_ray.output.mark import mark_of
from cosmos_ray.output.report.build import write_report
from cosmos_ray.output.report.files import has_rows
from cosmos_ray.output.report.page import mark_in
from cosmos_ray.output.status import Status
from cosmos_ray.store.places import service_of
from cosmos_ray.store.storage import Storage, read_bytes
from cosmos_ray.store.uris import parent_uri

DERIVED = (INDEX, FAILURES, REPORT)
#: Of the page, in which its mark is.
_HEAD = 2048
#: Of a table: most footers are no longer.
_FOOTER = 2**16
#: How often they are made again for a ledger that goes on meanwhile.
_TRIES = 3
#: Seconds that a look at the manifest may take: who asks for the status does not wait for another store.
_LOOK_S = 10.0


@dataclass(frozen=True)
class Made:
    """rows: of the index. run, state: what the files are of. outrun: those that are of no newest state, for the ledger
    went on while they were made."""

    rows: int
    run: Run
    state: LedgerState
    outrun: tuple[str, ...]


def stale(storage: Storage, run: Run, state: LedgerState) -> list[str]:
    """Those that are missing, or of another state than this one; a page whose rows are gone is missing, too. Reads the
    page and the ends of the others."""
    mark = mark_of(run, state)
    return [name for name in DERIVED if _mark_in(storage, name) != mark]


def with_stale(status: Status, run: Run, state: LedgerState) -> Status:
    """Also: which files are stale. Of the manifest only one that is on a disk, or in the output's own kind of store."""
    storage = Storage(status.output)
    is_near = service_of(run.manifest) in ("file", service_of(storage.uri))
    changed = is_near and _look_at_manifest(run) == "changed"
    return replace(status, stale=tuple(stale(storage, run, state)), manifest_changed=changed)


def make(storage: Storage, run: Run, state: LedgerState) -> Made:
    """Write all of them, of the run and the ledger as they are when it is done, if these leave it the time.

    Raises UsageError in an output without a copy of its manifest.
    """
    for _ in range(_TRIES):
        rows = _write(storage, run, state)
        known = run, state
        run, state = read_run(storage) or run, Ledger(storage).state()
        if not (outrun := stale(storage, run, state)):
            break
    return Made(rows, *known, tuple(outrun))


def make_if_stale(storage: Storage, run: Run, state: LedgerState, say: Callable[[str], None]) -> None:
    """`make`, and say so, where any is."""
    if found := stale(storage, run, state):
        made = make(storage, run, state)
        say(f"{stale_words(found)}: made again")
        say_outrun(made, say)


def stale_words(names: Sequence[str]) -> str:
    return f"not of what the ledger and the manifest say now: {', '.join(names)}"


def say_outrun(made: Made, say: Callable[[str], None]) -> None:
    """Which of the files that were written are of a ledger that has gone on since."""
    if made.outrun:
        say(
            f"the ledger went on meanwhile: {', '.join(made.outrun)} are of a moment before; the job that is at work "
            "makes them again at its end"
        )


def _write(storage: Storage, run: Run, state: LedgerState) -> int:
    mark = mark_of(run, state)
    manifest = _rows_of(storage, run)
    rows = write_index(storage, manifest, row_defaults_of(run), state, mark, parent_uri(run.manifest))
    write_report(storage, run, state, mark)
    return rows


def _rows_of(storage: Storage, run: Run) -> Manifest:
    manifest = kept(storage, run)
    if manifest is None:
        raise UsageError(
            f"{storage.uri} was made by a release that kept no copy of the manifest, and {run.manifest} is not there: "
            f"`cosmos-ray report {storage.uri} --manifest URI` says where it is now"
        )
    return manifest


def _look_at_manifest(run: Run) -> Now | None:
    """None: that takes too long."""
    found: list[Now] = []
    looker = threading.Thread(target=lambda: found.append(manifest_now(run, run.manifest)), daemon=True)
    looker.start()
    looker.join(_LOOK_S)
    return found[0] if found else None


def _mark_in(storage: Storage, name: str) -> str | None:
    """None: there is no such file, or no mark in it."""
    try:
        if name == REPORT:
            page = storage.read(name)
            return mark_in(page[:_HEAD]) if has_rows(storage, page) else None
        found = storage.stat(name)
        return None if found is None else _mark_in_table(storage.uri_of(name), found.size)
    except FileNotFoundError:
        return None


def _mark_in_table(uri: str, size: int) -> str | None:
    """Of a Parquet file, of which only the end is read; None if it has none, or is no such file."""
    end = read_bytes(uri, max(0, size - _FOOTER), size)
    length = int.from_bytes(end[-8:-4], "little") + 8
    if len(end) < length <= size:
        end = read_bytes(uri, size - length, size)
    try:
        mark = (pq.read_metadata(pa.BufferReader(end)).metadata or {}).get(MARK)
    except (pa.ArrowException, OSError):  # what is damaged is an OSError to pyarrow, or anything else
        return None
    return None if mark is None else str(mark.decode(errors="replace"))
