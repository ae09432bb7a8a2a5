"""What is said to people: one clip is no "1 clips", and two nodes have two names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import ROOT

from cosmos_ray.words import Kinds, byte_size, counted, duration, node_name

PACKAGE = ROOT / "cosmos_ray"
#: Plurals that follow a number in a message, which may be 1.
#: Whose errors are for programmers.
_ARITHMETIC = ("models/network/", "models/vae/", "models/parallel.py")
_PLURAL = re.compile(
    r" (?:more |free |other )?"
    r"(?:captions|clips|files|frames|gangs|GPUs|nodes|objects|parameters|ranks|records|rows|shards|tensors|videos|views)\b"
)


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [(0, "clip", "0 clips"), (1, "clip", "1 clip"), (2, "clip", "2 clips"), (1, "free GPU", "1 free GPU")],
)
def test_a_count_agrees_with_its_noun(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


def test_two_nodes_whose_ids_begin_alike_have_two_names() -> None:
    """As Ray gives them: 28 random bytes, of which the first may be the same for all nodes of a machine."""
    ids = [f"{'04f7' * 12}{number:08x}" for number in range(3)]
    assert len({node_name(one) for one in ids}) == 3
    assert node_name("bad") == "bad", "tests and records of old may have short ones"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0s"),
        (12, "12s"),
        (59.6, "1m00s"),
        (187, "3m07s"),
        (3599.6, "1h00m"),
        (7500, "2h05m"),
        (360_000, "100h00m"),
    ],
)
def test_a_time_is_said_in_two_units_to_the_nearest(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_messages_that_differ_in_names_and_numbers_are_of_one_kind() -> None:
    """The most frequent first, whatever came first; of each the first three."""
    kinds = Kinds()
    kinds.add("a", "found no file")
    for number in range(5):
        kinds.add(f"row{number}", f"/data/{number}.mp4: found {number}.5 frames, expected 'x{number}' or \"y\"")
    often, once = kinds.found()
    assert (often.count, [of for of, _ in often.examples]) == (5, ["row0", "row1", "row2"])
    assert often.examples[1][1].startswith("/data/1.mp4: found 1.5 frames")
    assert (once.count, once.examples) == (1, (("a", "found no file"),))


def _bare_counts(path: Path) -> Iterator[str]:
    """f-strings of a file in which a plain `{…}` stands before a plural."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, after in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            said = ast.unparse(value.value)
            is_text = said.isupper() or said.endswith("dtype") or ".join(" in said
            is_count = value.format_spec is None and not is_text
            if is_count and _PLURAL.match(str(after.value)):
                yield f"{path.relative_to(PACKAGE)}:{value.lineno}: {{{said}}}{after.value}"


def test_every_count_before_a_noun_is_made_by_one_function() -> None:
    found = [line for path in sorted(PACKAGE.rglob("*.py")) for line in _bare_counts(path)]
    found = [line for line in found if not line.startswith(_ARITHMETIC)]
    assert not found, "\n".join(["say them with `counted`:", *found])


@pytest.mark.parametrize(
    ("count", "digits", "said"),
    [
        (0, 1, "0 bytes"),
        (1, 1, "1 byte"),
        (999, 1, "999 bytes"),
        (999.7, 1, "1.0 kB"),
        (1_234, 1, "1.2 kB"),
        (999_949, 1, "999.9 kB"),
        (999_951, 1, "1.0 MB"),
        (13_400_000, 2, "13.40 MB"),
        (79.6e9, 0, "80 GB"),
        (999.6e9, 0, "1 TB"),
        (2.5e18, 1, "2,500.0 PB"),
    ],
)
def test_a_size_is_said_in_the_unit_in_which_it_is_something(count: float, digits: int, said: str) -> None:
    assert byte_size(count, digits) == said


def test_no_other_place_makes_words_of_sizes() -> None:
    """Small ones would be `0.0 GB` there."""
    own = re.compile(r"/ 1e\d+:[,.\d]*f\}|/ 2\*\*\d0:")
    assert [path for path in PACKAGE.rglob("*.py") if own.search(path.read_text())] == []


def test_messages_about_one_thing_count_once_and_names_make_no_difference() -> None:
    kinds = Kinds(("rear", "rear_left"))
    for clip in ("a", "b"):
        kinds.add_all(clip, ["black: rear: 90 %", "black: rear_left: 80 %", "black: rear: 7 %", "frozen: rear: 60 %"])
    black, frozen = kinds.found()
    assert (black.count, black.examples[0]) == (2, ("a", "black: rear: 90 % (and 2 more like it)"))
    assert (frozen.count, frozen.examples[1]) == (2, ("b", "frozen: rear: 60 %"))
