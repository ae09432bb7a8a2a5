"""Every block of shell or Python on a page is run by a test, or says why not."""

from __future__ import annotations

import ast
import re

import pytest
from support.pages import Block, blocks
from support.paths import ROOT


@pytest.mark.parametrize("block", list(blocks()), ids=lambda block: block.place)
def test_every_block_is_run_or_says_why_not(block: Block) -> None:
    if match := re.fullmatch(r"not run: (.+)", block.mark):
        assert len(match[1].split()) >= 2, f"{block.place}: {match[1]!r} is no reason"
        return
    match = re.fullmatch(r"run by (tests/\S+\.py)::(\w+)", block.mark)
    assert match, f"{block.place}: the line above it says neither `run by tests/…` nor `not run: …`"
    file, test = ROOT / match[1], match[2]
    assert test in {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
    assert f'shown_to(__file__, "{test}")' in file.read_text(), f"{block.place}: {match[1]} does not ask for it"
