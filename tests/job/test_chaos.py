"""The table of faults (`chaos.py`): its quick representatives here, all of it by `make chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos import CASES, COMPARISONS, HELD, OUTAGES, SPARES, STOPS, Case, run_case, table

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.name.startswith("first job wakes")],
    ids=lambda case: case.name.replace(" ", "-"),
)
def test_after_a_fault_everything_holds(case: Case, tmp_path: Path) -> None:
    run_case(case, tmp_path)


def test_cases_have_names_of_their_own() -> None:
    alike = (*CASES, *SPARES, *HELD)
    assert len({case.name for case in alike}) == len(alike) > 15
    assert len(table()) == len(alike) + len(OUTAGES) + 1 + len(COMPARISONS) + len(STOPS)
