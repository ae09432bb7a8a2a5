"""What the report's page shows, and the page itself. No torch, no Ray."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import jinja2

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.foreign import shown_lines


@dataclass(frozen=True)
class Failure:
    """One failed commit record."""

    id: str
    generation: int
    failure_class: str
    attempt: int
    error: str


@dataclass(frozen=True)
class Sheet:
    """One clip to look at.

    jpeg: its contact sheet. videos: view -> address relative to the page. details: name -> value, listed below.
    """

    id: str
    prompt: str
    jpeg: bytes
    videos: Mapping[str, str]
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportPage:
    """Everything on the page, ready to be shown.

    totals: rows, clips (what the rows ask for), ok, failed, left.
    failure_counts: by class, of all failures; `failures` may be only the first of them.
    sheets_left_out: ok clips without a contact sheet here. clips_per_hour: None while it cannot be told.
    """

    title: str
    output: str
    generated_at: str
    totals: Mapping[str, int]
    clips_per_hour: float | None
    model: str
    settings: Mapping[str, str]
    failures: Sequence[Failure]
    failure_counts: Mapping[str, int]
    sheets: Sequence[Sheet]
    sheets_left_out: int


def render(page: ReportPage) -> str:
    """One self-contained HTML page: pictures inside, nothing fetched, no script.

    Ids, prompts and errors come from strangers: the template escapes every value, and the page forbids scripts besides.
    """
    return _template().render(page=page)


@cache
def _template() -> jinja2.Template:
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: shown_lines(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent_of"] = _percent_of
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.filters["href"] = _href
    environment.filters["in_view_order"] = _in_view_order
    return environment.get_template("report.html")


def _percent_of(part: int, whole: int) -> float:
    """0 of nothing is 0. Rounded down to a tenth, so that only all of it is 100."""
    return int(1000 * part / whole) / 10 if whole else 0.0


def _href(address: str) -> str:
    """A relative address as a link's target. `./` keeps one that begins like `javascript:` from being a scheme."""
    return "./" + jinja2.filters.do_urlencode(address)


def _in_view_order(videos: Mapping[str, str]) -> list[tuple[str, str]]:
    """As the contact sheet's columns, which the links head."""
    return sorted(videos.items(), key=lambda item: VIEWS.index(item[0]) if item[0] in VIEWS else len(VIEWS))
