"""Blocks of shell and Python that pages show. The line above each names the test that runs it, or says why none does:

<!-- run by tests/cli/test_pages.py::test_a_job_is_reckoned_as_shown -->
<!-- not run: needs Kubernetes -->
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.paths import ROOT

#: Pages for readers; dated results are history.
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "*/README.md")
    for page in ROOT.glob(pattern)
    if page.parent.name[0] != "."
)
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?:bash|sh|shell|console|python|py)\n(?P<code>.*?)^```", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """place: `PAGE:LINE` of its first line; mark: what stands above it, "" if nothing does."""

    place: str
    mark: str
    code: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for found in _BLOCK.finditer(text):
            line = text.count("\n", 0, found.start("code")) + 1
            yield Block(f"{page.relative_to(ROOT)}:{line}", found["mark"] or "", found["code"])


def shown_to(file: str, test: str) -> list[str]:
    """The code that this test is to run, in the pages' order. file: the test module's `__file__`."""
    name = f"{Path(file).resolve().relative_to(ROOT)}::{test}"
    found = [block.code for block in blocks() if block.mark == f"run by {name}"]
    assert found, f"no page has a block that is run by {name}"
    return found


def commands_of(code: str) -> Iterator[list[str]]:
    """The words of each command line, without comments."""
    for line in code.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words
