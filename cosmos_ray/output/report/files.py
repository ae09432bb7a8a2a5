"""The rows of a page, in files beside it: scripts, because a page that is opened from a disk may not fetch anything.

A file is named by what is in it and never changes, so a page finds its own rows whatever is written meanwhile. Those of
the page before stay until the next one, for whoever is reading it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from cosmos_ray.ledger.layout import REPORT, REPORT_ROWS
from cosmos_ray.output.report.listing import Listing
from cosmos_ray.output.report.values import as_json
from cosmos_ray.store.storage import Storage

#: Rows of a file: a second's reading from a store.
_ROWS = 500
_NAME = re.compile(r"[0-9a-f]{20}\.js")


def write_rows(storage: Storage, listing: Listing, folder: str = REPORT_ROWS) -> list[str]:
    """Names of the files in `folder` that hold the listing's rows, in order."""
    there = set(storage.list(folder))
    names = []
    for start in range(0, len(listing.rows), _ROWS):
        packed = as_json(listing.rows[start : start + _ROWS])
        name = f"{hashlib.sha256(packed.encode()).hexdigest()[:20]}.js"
        path = f"{folder}/{name}"
        if path not in there:
            storage.write(path, f'rowsOf("{name}", {packed});\n'.encode())
        names.append(name)
    return names


def names_in(storage: Storage, page: str = REPORT) -> set[str]:
    """Files that the page which is there now has its rows in."""
    try:
        return _names(storage.read(page))
    except FileNotFoundError:
        return set()


def has_rows(storage: Storage, page: bytes) -> bool:
    """Do all files lie beside it that this page has its rows in? One listing."""
    return {f"{REPORT_ROWS}/{name}" for name in _names(page)} <= set(storage.list(REPORT_ROWS))


def _names(page: bytes) -> set[str]:
    return set(_NAME.findall(page.decode(errors="replace")))


def remove_others(storage: Storage, kept: Iterable[str], folder: str = REPORT_ROWS) -> None:
    """All files of rows but those of these names."""
    paths = {f"{folder}/{name}" for name in kept}
    for path in list(storage.list(folder)):
        if path not in paths:
            storage.delete(path)
