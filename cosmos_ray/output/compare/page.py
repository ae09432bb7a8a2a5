"""The page itself: the table of all clips, then each clip under every setting, side by side and in step."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from cosmos_ray.clip.request import ALL_VIEWS
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import now
from cosmos_ray.output.compare.gather import Side, Taken
from cosmos_ray.output.compare.lines import Line
from cosmos_ray.output.compare.shown import Shown, unit_of
from cosmos_ray.output.report.files import remove_others, write_rows
from cosmos_ray.output.report.listing import Listing, captions, read_index
from cosmos_ray.output.report.page import Rows, filled, head_of
from cosmos_ray.output.report.values import Value, kind_of, text
from cosmos_ray.store.storage import Storage

PAGE, ROWS = "compare.html", "compare"
_SCRIPTS = ("rows.js", "controls.js", "preview.js", "dialog.js", "compare.js")
_STYLES = ("report.css", "compare.css")


def write_page(home: Storage, takens: Sequence[Taken], lines: Sequence[Line], table: pa.Table, before: set[str]) -> str:
    """Its URI. table: a row a clip and setting, as `build.SCHEMA` has them. before: files of rows that stay, for those
    who read the page before. Rows first, so a page finds its own."""
    listing = _listing(home, takens, table)
    rows = Rows(listing.name, listing.columns, write_rows(home, listing, ROWS), len(listing.rows), listing.total)
    clips = len(takens[0].sides)
    head = {"folder": f"{ROWS}/", "settings": [one.name for one in lines], "lists": [head_of(rows)]}
    page = filled(
        "compare.html", head, _SCRIPTS, _STYLES,
        title=f"Compared: {', '.join(one.name for one in lines)}", home=home.uri, made_at=now(), clips=clips,
        lines=[_OnPage(taken, one, home) for taken, one in zip(takens, lines, strict=True)],
        unit=unit_of(takens[0].device), has_price=any(one.usd is not None for one in lines), first=lines[0].name,
    )  # fmt: skip
    home.write(PAGE, page.encode())
    remove_others(home, before.union(rows.files), ROWS)
    return home.uri_of(PAGE)


class _OnPage(Shown):
    """A line, where its report is, and what its setting is."""

    def __init__(self, taken: Taken, line: Line, home: Storage) -> None:
        super().__init__(line)
        self.report = f"./{posixpath.relpath(taken.storage.uri, home.uri)}/report.html"
        self.given = "\n".join(_said(taken.setting.given)) or "(the model's own)"


def _said(given: Any, before: str = "") -> list[str]:
    """`sampling.preset: fast`, a line each."""
    found: list[str] = []
    for name, value in given.items():
        if isinstance(value, dict):
            found += _said(value, f"{before}{name}.")
        else:
            found.append(f"{before}{name}: {value}")
    return found


def _listing(home: Storage, takens: Sequence[Taken], table: pa.Table) -> Listing:
    """A row a clip and setting; the settings of a clip come one after the other."""
    words = _captions(takens)
    rows: list[list[Value]] = []
    for place, facts in enumerate(table.to_pylist()):
        clip, setting = divmod(place, len(takens))
        side = takens[setting].sides[clip]
        at = posixpath.relpath(takens[setting].storage.uri, home.uri)
        rows.append(
            [
                facts["folder"], _views(side), _preview(side, at), setting, facts["id"], facts["status"],
                _failure(facts), words.get(side.clip_id), facts["seconds"], facts["psnr_db"], facts["ssim"],
                facts["agreement"], facts["agreement_change"], facts["not_compared"], facts["seed"],
            ]
        )  # fmt: skip
    names = (
        *(".folder", ".views", ".preview", "setting", "id", "status", "failure", "caption", "seconds", "psnr_db"),
        *("ssim", "agreement", "agreement_change", "not_compared", "seed"),
    )
    kinds = [kind_of([row[place] for row in rows]) for place in range(len(names))]
    return Listing("clips", tuple(zip(names, kinds, strict=True)), rows, len(rows))


def _captions(takens: Sequence[Taken]) -> dict[str, Value]:
    """Of clips that were made under any setting."""
    found: dict[str, Value] = {}
    for taken in takens:
        index = read_index(taken.storage, Ledger(taken.storage).state())
        found |= dict(zip(index["id"].to_pylist(), captions(index), strict=True))
    return found


def _views(side: Side) -> Value:
    made = {entry.view for entry in side.record.files} if side.record else set()
    return " ".join(view for view in ALL_VIEWS if view in made) or None


def _preview(side: Side, at: str) -> Value:
    """Path without `.mp4` and `.jpg`."""
    previews = side.record.previews if side.record else ()
    return f"{at}/{previews[0].path.rpartition('.')[0]}" if previews else None


def _failure(facts: dict[str, Any]) -> Value:
    return None if facts["status"] != "failed" else text(f"{facts['class'] or 'internal'}: {facts['error']}")
