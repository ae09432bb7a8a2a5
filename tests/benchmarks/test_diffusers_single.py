"""The comparison with diffusers' pipelines, in few steps: what it says of a network corrected is what parity is."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
@pytest.mark.long
def test_corrected_networks_agree_and_solvers_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    """Its short sibling: the golden cases of `tests/models/test_parity.py`."""
    from diffusers_single import main  # type: ignore[import-not-found]  # pipelines, seconds of every process of tests

    main(["--steps", "4"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()][1:]
    as_is, corrected, stretched, *runs = lines
    assert corrected["largest"] < 1e-5 < as_is["largest"] < stretched["largest"]
    assert all(run["largest"] > 1e-2 for run in runs)
