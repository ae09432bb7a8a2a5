"""Whole surfaces beside how they were: what people and programs see of the package, as texts (`tests/golden-surfaces`).

`tests/tools/surfaces` writes them again; whoever changes one on purpose reads the difference and commits it.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cosmos_ray.output.report import page
from cosmos_ray.version import VERSION
from support.paths import ROOT

FOLDER = ROOT / "tests" / "golden-surfaces"
#: Set by `tests/tools/surfaces`.
WRITES = "COSMOS_RAY_WRITE_SURFACES"
#: What differs from one run to the next, and the words that stand for it. Tests' own times are of 2031.
_CHANGING = (
    (re.compile(r"(?!2031-)\d{4}-\d\d-\d\d([T ])\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"), "(time)"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "(clock)"),
    (re.compile(re.escape(VERSION)), "(version)"),
)


def assert_as_it_was(name: str, text: str) -> None:
    """name: of a file in `FOLDER`. Line by line, so that a test's words show which differ."""
    path = FOLDER / name
    found = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    if os.environ.get(WRITES):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found)
    assert path.is_file(), f"{path} is not there: tests/tools/surfaces writes it"
    differ = list(
        difflib.unified_diff(path.read_text().splitlines(), found.splitlines(), "as it was", "now", "", "", 0)
    )
    assert not differ, "\n".join([f"{path}: tests/tools/surfaces writes it again", *differ[:40]])


def assert_numbers_as_they_were(name: str, found: dict[str, list[float]]) -> None:
    """name: of a file in `FOLDER`. To within what processors differ by: their libraries add up in other orders."""
    path = FOLDER / name
    if os.environ.get(WRITES):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{json.dumps(key)}: {[float(f'{one:.7g}') for one in numbers]}" for key, numbers in found.items()]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    expected = json.loads(path.read_text())
    assert list(found) == list(expected)
    for key, numbers in found.items():
        assert numbers == pytest.approx(expected[key], rel=2e-4, abs=2e-5), key


def masked(text: str, *places: Path | str) -> str:
    """Without what changes from run to run. places: folders of this run, the innermost first."""
    for place in places:
        text = text.replace(str(place), "(folder)")
    for pattern, words in _CHANGING:
        text = pattern.sub(words, text)
    return text


def as_lines(value: Any, name: str = "") -> list[str]:
    """A line a leaf of dicts, lists and the like, so that one that differs is one line that differs."""
    if isinstance(value, dict) and value:
        return [line for key, one in value.items() for line in as_lines(one, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list | tuple) and any(isinstance(one, dict | list | tuple) for one in value):
        return [line for place, one in enumerate(value) for line in as_lines(one, f"{name}[{place}]")]
    return [f"{name} = {json.dumps(value, default=repr, ensure_ascii=False)}"]


def plainly(value: Any) -> str:
    """A value of a table, as every version of the libraries has it."""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return repr(value.tolist() if hasattr(value, "tolist") else value)


def table_lines(path: Path) -> Iterator[str]:
    table = pq.read_table(path, partitioning=None)
    yield from (f"{field.name}: {field.type}" for field in table.schema)
    for row in table.to_pylist():
        yield "--"
        yield from (f"{name} = {plainly(value)}" for name, value in row.items() if value is not None)


def page_lines(path: Path) -> Iterator[str]:
    """Its markup and data; of its scripts and styles, which others look at, only which they are."""
    text = path.read_text()
    for asset in sorted(page._ASSETS.glob("*.*s*")):
        text = text.replace(asset.read_text(), f"(({asset.name}))")
    text = re.sub(r'(nonce="|nonce-)[\w-]+', r"\1(word)", text)
    text = re.sub(r'(content=")[0-9a-f]{32,}"', r'\1(mark)"', text)
    yield from filter(None, (line.strip() for line in text.splitlines()))
    for name in re.findall(r"[0-9a-f]{20}\.js", path.read_text()):
        rows = json.loads((path.parent / path.stem / name).read_text().partition(", ")[2].strip().removesuffix(");"))
        yield from (json.dumps(row) for row in rows)
