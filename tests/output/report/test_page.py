"""What the report's page promises: everything shown, nothing run, nothing fetched."""

from __future__ import annotations

import base64
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import imageio_ffmpeg
import numpy as np
import pytest

from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.clip.request import VIEWS
from cosmos_ray.output.report.page import Failure, ReportPage, Sheet, render
from cosmos_ray.output.report.sheets import contact_sheet

PAGE = ReportPage(
    title="Night drives",
    output="s3://bucket/run",
    generated_at="2030-01-02 03:04 UTC",
    totals={"rows": 1200, "clips": 1200, "ok": 1000, "failed": 50, "left": 150},
    clips_per_hour=123.45,
    model="tiny (4f0c)",
    settings={"steps": "35", "guidance": "7.0"},
    failures=[Failure("clip-7", 0, "input", 1, "column `input_video`: truncated")],
    failure_counts={"input": 48, "oom": 2},
    sheets=[
        Sheet("clip-1", "a street", b"\xff\xd8\xff", {"front_wide": "clips/clip-1/a1/front_wide.mp4"}, {"seed": "7"})
    ],
    sheets_left_out=999,
)

HOSTILE = "<script>alert(1)</script>\"' onerror=alert(1) x='</style><img src=http://x/ onerror=alert(1)>{{ 7*7 }}"


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside of style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] != "style":
            self.text.append(data.strip())


def shown(page: ReportPage) -> list[str]:
    return Reader(render(page)).text


def test_page_shows_all_that_it_was_given() -> None:
    text = shown(PAGE)
    for expected in (
        *("Night drives", "s3://bucket/run", "1,200", "1,000", "50", "150", "123.5", "tiny (4f0c)", "guidance", "7.0"),
        *("clip-7", "column `input_video`: truncated", "input", "48", "clip-1", "a street", "seed", "7"),
        "83.3% made, 4.1% failed",
    ):
        assert expected in text
    whole = " ".join(text)
    assert "2030-01-02 03:04 UTC" in whole
    assert "and 999 more clips" in whole
    assert "and 49 more:" in whole


def test_links_are_relative_and_pictures_inside() -> None:
    elements = Reader(render(PAGE)).elements
    assert [a["href"] for tag, a in elements if tag == "a"] == ["./clips/clip-1/a1/front_wide.mp4"]
    picture = base64.b64encode(b"\xff\xd8\xff").decode()
    assert [a["src"] for tag, a in elements if tag == "img"] == [f"data:image/jpeg;base64,{picture}"]


def test_links_head_the_columns_of_the_sheet() -> None:
    sheet = replace(PAGE.sheets[0], videos={view: f"{view}.mp4" for view in sorted(VIEWS)})
    text = shown(replace(PAGE, sheets=[sheet]))
    assert [line for line in text if line in VIEWS] == list(VIEWS)


def page_of(text: str) -> ReportPage:
    """The same text wherever a stranger's text can be."""
    return replace(
        PAGE,
        title=text,
        output=text,
        generated_at=text,
        model=text,
        settings={text: text},
        failures=[Failure(text, 0, text, 1, text)],
        failure_counts={text: 1},
        sheets=[Sheet(text, text, b"", {text: "javascript:alert(1)"}, {text: text})],
    )


def test_hostile_text_is_shown_and_never_run() -> None:
    """The same elements with the same attributes as for harmless text, and every character to be read."""
    hostile, harmless = Reader(render(page_of(HOSTILE))), Reader(render(page_of("harmless")))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    assert [sorted(a) for _, a in hostile.elements] == [sorted(a) for _, a in harmless.elements]
    assert hostile.text.count(HOSTILE) == harmless.text.count("harmless") >= 10
    assert [a["href"] for tag, a in hostile.elements if tag == "a"] == ["./javascript%3Aalert%281%29"]


def test_page_fetches_nothing_and_runs_nothing() -> None:
    html = render(PAGE)
    assert not re.search(r"https?://|@import|url\(|<link|<script|<iframe|\son\w+=", html)
    policy = [a for tag, a in Reader(html).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy[0]["content"])
    assert "script-src" not in str(policy[0]["content"])


def test_page_of_a_job_that_has_just_begun() -> None:
    page = replace(
        PAGE,
        totals={"rows": 0, "clips": 0, "ok": 0, "failed": 0, "left": 0},
        clips_per_hour=None,
        failures=[],
        failure_counts={},
        sheets=[],
        sheets_left_out=0,
    )
    text = shown(page)
    assert "No clip has been made yet." in text
    assert "–" in text
    assert "Failures" not in text
    assert "0.0% made, 0.0% failed" in text


def test_all_but_one_is_not_all() -> None:
    page = replace(PAGE, totals={"rows": 50_000, "clips": 100_000, "ok": 99_999, "failed": 1, "left": 0})
    assert "99.9% made, 0.0% failed" in shown(page)


# --- contact sheets ---


def flat_video(level: int, frames: int = 9) -> bytes:
    """Grey, ten levels brighter from frame to frame."""
    levels = (level + 10 * np.arange(frames))[:, None, None, None]
    return encode_mp4(np.broadcast_to(levels, (frames, 48, 96, 3)).astype(np.uint8), 10)


def pixels(jpeg: bytes) -> np.ndarray:
    """uint8 [H, W, 3]; the size is read from the JPEG's own header (frame marker, then height and width)."""
    marker = jpeg.index(b"\xff\xc0")
    height, width = (int.from_bytes(jpeg[marker + at : marker + at + 2], "big") for at in (5, 7))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "image2pipe", "-i", "-"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, input=jpeg, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(height, width, 3)


def test_contact_sheet_has_a_row_a_moment_and_a_column_a_view() -> None:
    """First, middle and last frame; view order, whatever the mapping's."""
    videos = {"cross_right": flat_video(100), "front_wide": flat_video(20)}
    sheet = pixels(contact_sheet(videos, moments=3, width=40)).astype(int)
    assert sheet.shape == (3 * 20 + 2 * 2, 2 * 40 + 2, 3)
    found = [[sheet[y * 22 + 10, x * 42 + 20].mean() for x in range(2)] for y in range(3)]
    assert np.abs(np.array(found) - [[20, 100], [60, 140], [100, 180]]).max() <= 4


def test_contact_sheet_of_seven_views_and_of_a_short_video() -> None:
    sheet = pixels(contact_sheet({view: flat_video(30, frames=2) for view in reversed(VIEWS)}, width=32))
    assert sheet.shape == (3 * 16 + 4, 7 * 32 + 12, 3)


def test_contact_sheet_refuses_what_it_cannot_show() -> None:
    for videos in ({}, {"front": flat_video(1, 1)}):
        with pytest.raises(ValueError, match="expected some of front_wide"):
            contact_sheet(videos)
