"""What leaders and ranks log: who said it and when, of this package all that a person may want, of others faults."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator

import pytest

from cosmos_ray.gang.process_log import in_words, log_as

OURS, OTHERS = "cosmos_ray.gang.leader", "aiohttp.client"


@contextlib.contextmanager
def fresh_process() -> Iterator[io.StringIO]:
    """Nobody has set up its log yet; what it says goes to standard error, which is given."""
    root, ours = logging.getLogger(), logging.getLogger("cosmos_ray")
    levels = root.level, ours.level
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(io.StringIO()) as said:
        patch.setattr(root, "handlers", [])
        root.setLevel(logging.WARNING)
        yield said
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def test_a_line_says_when_and_who_and_how_bad_it_is() -> None:
    with fresh_process() as said:
        log_as("gang-0001-rank0")
        logging.getLogger(OURS).info("loaded")
        logging.getLogger(OURS).debug("of no interest")
        logging.getLogger(OTHERS).info("of no interest either")
        logging.getLogger(OTHERS).warning("cut")
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    expected = rf"{when} INFO gang-0001-rank0: loaded\n{when} WARNING gang-0001-rank0: cut\n"
    assert re.fullmatch(expected, said.getvalue())


def test_a_log_that_a_cluster_has_set_up_stays_as_it_is() -> None:
    with fresh_process() as said:
        theirs = logging.StreamHandler(theirs_said := io.StringIO())
        logging.getLogger().addHandler(theirs)
        log_as("gang-0001")
        logging.getLogger(OURS).info("loaded")
        assert logging.getLogger().handlers == [theirs]
    assert (theirs_said.getvalue(), said.getvalue()) == ("loaded\n", "")


def test_nothing_that_is_logged_orders_a_terminal_about() -> None:
    with fresh_process() as said:
        log_as("gang-0001")
        logging.getLogger(OTHERS).error("found \x1b[2J in a row")
    assert "\\x1b[2J" in said.getvalue()
    assert "\x1b" not in said.getvalue()


def test_seconds_of_parts_are_told_in_their_order() -> None:
    assert in_words({"imports": 4.06, "network": 2.0}) == "imports 4.1 s, network 2.0 s"
    assert in_words({}) == ""
