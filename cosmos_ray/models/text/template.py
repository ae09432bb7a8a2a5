"""Is a chat template one that ends? Asked before a folder's template is rendered in a process of ours. No torch."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

#: Of a template, in characters: those of known models have a few thousand.
_LONGEST = 2**18
#: By the clock, on however busy a machine: the trial's own limit is one of its processor.
_PATIENCE_S = 300


def check_template(template: object, given: dict[str, Any]) -> None:
    """ValueError for a template that takes more than a conversation can need, tried in a process that may be ended.

    template: as a tokenizer has it: text, or several by name, of which `default` is taken. given: what it is told, as
    JSON can say it.
    """
    if isinstance(template, dict):
        template = template.get("default")
    if isinstance(template, str):
        if len(template) > _LONGEST:
            raise ValueError(f"found {len(template):,} characters, expected at most {_LONGEST:,}")
        if _takes_too_much(json.dumps({"template": template, "given": given})):
            raise ValueError("it takes more time or memory than any conversation (5 s, 0.5 GB, a million characters)")


@cache
def _takes_too_much(asked: str) -> bool:
    program = Path(__file__).with_name("template_trial.py")
    # -P: what lies beside the program is not what is imported.
    done = subprocess.run(
        [sys.executable, "-P", str(program)],
        input=asked.encode(),
        capture_output=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    return done.returncode == 3 or done.returncode < 0
