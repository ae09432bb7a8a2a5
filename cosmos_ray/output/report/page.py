"""What the report's page shows, and the page itself. No torch, no Ray."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cosmos_ray.foreign import shown_lines
from cosmos_ray.output.report.summary import Throughput
from cosmos_ray.output.report.values import as_json
from cosmos_ray.words import counted

_ASSETS = Path(__file__).parent / "assets"
#: In this order: each uses what stands in those before it.
_SCRIPTS = ("rows.js", "controls.js", "preview.js", "cards.js", "grid.js", "dialog.js", "list.js", "detail.js")

_MARK = re.compile(rb'<meta name="cosmos-ray-mark" content="([0-9a-f]*)">')


@dataclass(frozen=True)
class Rows:
    """Rows that lie beside the page, in `files` of `folder`, in order. columns: (name, kind) of a row's values.

    count: rows that are in those files; total: that there are.
    """

    name: str
    columns: Sequence[tuple[str, str]]
    files: Sequence[str]
    count: int
    total: int


@dataclass(frozen=True)
class OutputLine:
    """One of several outputs on a page. address: of its own page, from this one. hours: of GPUs; usd: None without a
    price."""

    name: str
    address: str
    clips: int
    ok: int
    failed: int
    left: int
    hours: str = "–"
    usd: str | None = None


@dataclass(frozen=True)
class ReportPage:
    """Everything on the page, ready to be shown.

    totals: rows, clips (what the rows ask for), ok, failed, left. failure_counts: by class.
    clips_per_hour: None while it cannot be told. folder: of the rows' files, relative to the page.
    mark: of the state that the page is of. part: which clips are on it, "" for all. grid: two columns, see `Part`.
    summary: what it has taken, (what, how much).
    again: the command that writes a page of everything. outputs: where the page is of several, how far each is;
    retries: there, by class of failure, the commands that have its clips made again, of each output that has any.
    """

    title: str
    output: str
    generated_at: str
    totals: Mapping[str, int]
    clips_per_hour: float | None
    model: str
    settings: Mapping[str, str]
    failure_counts: Mapping[str, int]
    retry: str
    folder: str
    lists: Sequence[Rows]
    mark: str = ""
    part: str = ""
    grid: tuple[str, str] | None = None
    summary: Sequence[tuple[str, str]] = ()
    throughput: Throughput | None = None
    again: str = ""
    outputs: Sequence[OutputLine] = ()
    retries: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def retries_of(self, failure_class: str) -> Sequence[str]:
        return self.retries.get(failure_class) or [f"{self.retry} --class {failure_class}"]


def mark_in(head: bytes) -> str | None:
    """The mark of a page that begins so; None if it has none."""
    found = _MARK.search(head)
    return found[1].decode() if found else None


def render(page: ReportPage) -> str:
    """One HTML page that runs its own scripts and no others, and fetches nothing but what lies beside it.

    Ids, captions, columns and errors come from strangers: the template escapes every value, the scripts make texts of
    them, and a script runs only with the word that was drawn when the page was written.
    """
    head = {
        "folder": page.folder,
        "retry": page.retry,
        "grid": page.grid,
        "lists": [head_of(rows) for rows in page.lists],
    }
    return filled("report.html", head, _SCRIPTS, title=page.title, page=page)


def head_of(rows: Rows) -> dict[str, Any]:
    """What the scripts are told of rows that lie beside a page."""
    return {
        "name": rows.name,
        "columns": [[name, kind] for name, kind in rows.columns],
        "files": list(rows.files),
        "count": rows.count,
        "total": rows.total,
    }


def filled(template: str, head: Any, scripts: Sequence[str], styles: Sequence[str] = ("report.css",), **of: Any) -> str:
    """A page of ours, from files of `assets/`. head: what its scripts are told; of: what the template is."""
    return _template(template).render(
        **of,
        word=secrets.token_urlsafe(16),
        head=Markup(as_json(head)),  # noqa: S704 - it has no meaning in HTML
        style=Markup("\n").join(map(_asset, styles)),
        scripts=[_asset(name) for name in scripts],
    )


@cache
def _asset(name: str) -> Markup:
    """A file of ours."""
    return Markup((_ASSETS / name).read_text(encoding="utf-8"))  # noqa: S704 - ours


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent_of"] = _percent_of
    environment.filters["href"] = jinja2.filters.do_urlencode
    environment.filters["counted"] = lambda number: f"{number:,}"
    environment.filters["noun"] = lambda noun, number: counted(number, noun).partition(" ")[2]
    return environment.get_template(name)


def _shown(value: Any) -> Any:
    return shown_lines(value) if type(value) is str else value


def _percent_of(part: int, whole: int) -> float:
    """To a tenth; only all of it is 100, and only none of it is 0."""
    if part in (0, whole):
        return 100.0 if part else 0.0
    return min(max(round(100 * part / whole, 1), 0.1), 99.9)
