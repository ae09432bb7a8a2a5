"""The site builds strictly, from every page of the repository, and nothing of it looks like unread Markdown."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

import cosmos_ray

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does, where a link, an anchor or a page that is not there is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def _text(page: Path) -> str:
    """What is read on a page, without code."""
    article = page.read_text().partition("<article")[2].partition("</article")[0]
    without = re.sub(r"<(pre|code)\b.*?</\1>", "", article, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", "", without))


def test_every_page_of_the_repository_is_on_it_and_reads_as_prose(site: Path) -> None:
    for pattern in ("docs/**/*.md", "benchmarks/**/*.md", "*.md"):
        for page in ROOT.glob(pattern):
            made = (site / page.relative_to(ROOT)).with_suffix(".html")
            made = made.with_name("index.html") if page.name == "README.md" else made
            assert made.is_file(), made
            for sign in (r"^\s*\|.*\|\s*$", r"^\s*(?:-|\*|\d+\.) \w", r"```", r"\]\(", r"^:::"):
                assert not (found := re.search(sign, _text(made), re.MULTILINE)), f"{page}: {found}"


def test_what_pages_load_is_part_of_it(site: Path) -> None:
    """Styles, scripts and pictures: from a disk without a network the pages are whole."""
    for page in (site / "index.html", site / "docs" / "troubleshooting.html"):
        text = page.read_text()
        loaded = re.findall(r"<(?:link rel=.?stylesheet.? href|script src|img [^>]*src)=[\"']?([^\"' >]+)", text)
        assert sum(".css" in one for one in loaded) >= 2
        assert sum(".js" in one for one in loaded) >= 1
        assert [one for one in loaded if not (page.parent / one.partition("?")[0]).is_file()] == []


def test_the_python_page_has_every_public_name_with_its_words(site: Path) -> None:
    page = (site / "docs" / "python-api.html").read_text()
    for name in cosmos_ray.__all__:
        made = page.partition(f'id="cosmos_ray.{name}"')[2].partition('class="doc doc-contents')[2]
        assert len(re.sub(r"<[^>]+>", "", made[:2000]).split()) > 10, name
    assert "a row a clip; failed ones too" in page
