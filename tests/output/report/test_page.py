"""What the report's page promises as it is written: everything shown, its own scripts run and no others."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

from cosmos_ray.output.report.page import OutputLine, ReportPage, Rows, render
from cosmos_ray.output.report.summary import Throughput
from cosmos_ray.output.report.values import as_json

PAGE = ReportPage(
    title="Night drives",
    output="s3://bucket/run",
    generated_at="2030-01-02 03:04 UTC",
    totals={"rows": 1200, "clips": 1200, "ok": 1000, "failed": 50, "left": 150},
    clips_per_hour=123.45,
    model="tiny (4f0c)",
    settings={"steps": "35", "guidance": "7.0"},
    failure_counts={"input": 48, "oom": 2},
    retry="cosmos-ray retry s3://bucket/run",
    folder="report/",
    lists=[Rows("clips", [("id", "text"), ("seed", "number")], ["a.js"], 3, 5)],
)

HOSTILE = "<script>alert(1)</script>\"' onerror=alert(1) x='</style><img src=http://x/ onerror=alert(1)>{{ 7*7 }}"


class Reader(HTMLParser):
    """Elements with their attributes, the text outside of style sheets and scripts, and the scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script":
            self.scripts.append(data)
        elif self.elements and self.elements[-1][0] != "style":
            self.text.append(data.strip())


def test_page_shows_all_that_it_was_given() -> None:
    text = Reader(render(PAGE)).text
    for expected in (
        *("Night drives", "s3://bucket/run", "1,200", "1,000", "50", "150", "123.5", "tiny (4f0c)", "guidance", "7.0"),
        *("48", "cosmos-ray retry s3://bucket/run --class input", "83.3% made, 4.2% failed"),
    ):
        assert expected in text
    assert "2030-01-02 03:04 UTC" in " ".join(text)


def test_the_scripts_are_told_where_the_rows_lie() -> None:
    head = json.loads(Reader(render(PAGE)).scripts[0])
    assert head == {
        "folder": "report/",
        "retry": "cosmos-ray retry s3://bucket/run",
        "grid": None,
        "lists": [
            {
                "name": "clips",
                "columns": [["id", "text"], ["seed", "number"]],
                "files": ["a.js"],
                "count": 3,
                "total": 5,
            }
        ],
    }


def test_what_it_took_is_told_and_drawn() -> None:
    drawn = Throughput((3, 0, 4), "2030-01-01", "2030-01-02", 60.0)
    found = Reader(render(replace(PAGE, summary=[("cost", "20.00 USD")], throughput=drawn)))
    assert {"cost", "20.00 USD"} <= set(found.text)
    (chart,) = (a for tag, a in found.elements if tag == "svg" and a.get("class") == "chart")
    assert chart["aria-label"] == f"Clips made over time: {drawn.in_words()}"
    bars = [(a["x"], a["height"]) for tag, a in found.elements if tag == "rect" and a.get("width") == "0.9"]
    assert bars == [("0", "3"), ("1", "0"), ("2", "4")]


def test_a_page_of_a_part_says_so_and_how_to_see_all() -> None:
    said = " ".join(
        Reader(render(replace(PAGE, part="only clips for which seed < 3", again="cosmos-ray report s3://b"))).text
    )
    assert "only clips for which seed < 3" in said
    assert "cosmos-ray report s3://b" in said
    assert "shows all" not in " ".join(Reader(render(PAGE)).text)


def page_of(text: str) -> ReportPage:
    """The same text wherever a stranger's text can be."""
    return replace(
        PAGE,
        title=text,
        output=text,
        generated_at=text,
        model=text,
        settings={text: text},
        failure_counts={text: 1},
        retry=text,
        part=text,
        again=text,
        outputs=[OutputLine(text, text, 1, 1, 0, 0)],
        grid=(text, text),
        summary=[(text, text)],
        folder=text,
        lists=[Rows(text, [(text, text)], [text], 1, 1)],
    )


def test_hostile_text_is_shown_and_never_run() -> None:
    """The same elements with the same attributes as for harmless text, and every character to be read."""
    hostile, harmless = Reader(render(page_of(HOSTILE))), Reader(render(page_of("harmless")))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    assert [sorted(a) for _, a in hostile.elements] == [sorted(a) for _, a in harmless.elements]
    said = [" ".join(found.text) for found in (hostile, harmless)]
    assert said[0].count(HOSTILE) == said[1].count("harmless") >= 7
    assert json.loads(hostile.scripts[0])["lists"][0]["columns"] == [[HOSTILE, HOSTILE]]
    assert len(hostile.scripts) == len(harmless.scripts)


def test_text_in_a_script_has_no_meaning_in_html() -> None:
    packed = as_json([HOSTILE, "\u2028 \u00e4 </script>"])
    assert json.loads(packed) == [HOSTILE, "\u2028 \u00e4 </script>"]
    assert packed.isascii()
    assert not re.search("[<>&]", packed)


def test_only_scripts_with_the_word_of_the_day_run_and_nothing_is_fetched_from_elsewhere() -> None:
    html, other = render(PAGE), render(PAGE)
    found = Reader(html)
    (policy,) = (str(a["content"]) for tag, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    word = rules["script-src"].removeprefix("'nonce-").removesuffix("'")
    assert len(word) >= 20
    assert rules == {
        "default-src": "'none'",
        "script-src": f"'nonce-{word}'",
        "style-src": f"'nonce-{word}'",
        "img-src": "'self' file:",
        "media-src": "'self' file:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert word not in other, "whoever wrote a caption knew no word that runs"
    run = [a for tag, a in found.elements if tag == "script" and a.get("type") != "application/json"]
    assert run == [{"nonce": word}]
    assert not re.search(r"https?://|@import|url\(|<link|<iframe|\sstyle=|innerHTML|\seval\(", html)


def test_page_of_a_job_that_has_just_begun() -> None:
    nothing = {"rows": 0, "clips": 0, "ok": 0, "failed": 0, "left": 0}
    text = Reader(render(replace(PAGE, totals=nothing, clips_per_hour=None, failure_counts={}, lists=[]))).text
    assert "No clip has been made yet." in text
    assert "–" in text
    assert "Failures" not in text
    assert "0.0% made, 0.0% failed" in text


def test_one_clip_of_one_row_is_said_so() -> None:
    totals = {"rows": 1, "clips": 1, "ok": 1, "failed": 0, "left": 0}
    assert {"clip of 1 row", "clip made"} <= set(Reader(render(replace(PAGE, totals=totals))).text)


def test_all_but_one_is_not_all_and_one_is_not_none() -> None:
    page = replace(PAGE, totals={"rows": 50_000, "clips": 100_000, "ok": 99_999, "failed": 1, "left": 0})
    assert "99.9% made, 0.1% failed" in Reader(render(page)).text
