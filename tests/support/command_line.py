"""Commands as people run them, and what is promised of an error: one line, and an exit code of the contract."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def in_a_process(*arguments: str | Path) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", "cosmos_ray", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def assert_one_line(answer: Answer, code: int, *parts: str) -> None:
    """This exit code, nothing on standard output, and one line on standard error that has these parts."""
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.startswith("cosmos-ray: ")
    assert answer.err.count("\n") == 1, answer.err
    for part in parts:
        assert part in answer.err
