"""Every flag of every published command line: its names, default, choices, and which values it takes.

`flags.json` is what people's command lines rely on. It is compared as it stands; a flag that changes on purpose is
changed there too.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from cosmos_ray.published import multiview, multiview25, text2image, text2world, transfer_multiview, video2world

PARSERS = {
    "multiview": multiview.build_parser,
    "video2world": video2world.build_parser,
    "text2image": text2image.build_parser,
    "text2world": text2world.build_parser,
    "multiview25": multiview25.parser,
    "transfer_multiview": transfer_multiview.parser,
}
KEPT = Path(__file__).parent / "flags.json"
#: At, and beside, every bound.
PROBES = (
    "-1", "0", "0.5", "1", "2", "4", "5", "6", "7", "8", "10", "16", "64", "65", "100", "100.5", "101", "480", "720",
    "1000", "1001", "4294967295", "4294967296", "64x112", "64x", "word",
)  # fmt: skip


def taken(action: argparse.Action) -> list[str] | str:
    """The probes that it takes."""
    parse: Any = action.type or str
    found = []
    for probe in PROBES:
        try:
            value = parse(probe)
        except (ValueError, argparse.ArgumentTypeError):
            continue
        if action.choices is None or value in action.choices:
            found.append(probe)
    return "any" if len(found) == len(PROBES) else found


def described(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """By destination. Words of help may change, but there are some."""
    found: dict[str, Any] = {}
    for action in parser._actions:
        assert action.help, action.dest
        found[action.dest] = {
            "flags": action.option_strings,
            "kind": type(action).__name__.strip("_"),
            "default": action.default,
            "choices": None if action.choices is None else list(action.choices),
            "nargs": action.nargs,
            "required": action.required,
            "takes": taken(action) if action.nargs != 0 else "nothing",
        }
    return found


@pytest.mark.parametrize("command", PARSERS)
def test_flags_are_as_they_were_released(command: str) -> None:
    found = json.loads(json.dumps(described(PARSERS[command]())))
    assert found == json.loads(KEPT.read_text())[command]


@pytest.mark.parametrize("command", PARSERS)
def test_help_has_two_examples_that_it_takes_exit_codes_and_defaults_where_there_are_some(command: str) -> None:
    parser = PARSERS[command]()
    text = parser.format_help()
    begins = f"  python jobs/{command}.py "
    examples = [line.removeprefix(begins) for line in text.splitlines() if line.startswith(begins)]
    assert len(examples) == 2
    for example in examples:
        assert len(begins + example) < 80, "a narrow terminal would break it"
        parser.parse_args(shlex.split(example))
    assert "exit codes: 0 done; 1 the job failed; 2 bad arguments, inputs or model; 3 a clip" in text
    assert not re.search(r"\(default:\s+(None)?\)", text)
    assert re.search(r"\(default:\s+auto\)", text)
