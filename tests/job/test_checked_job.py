"""Checks on outputs in a whole job; each of a leader's decisions is in `tests/gang/test_checked.py`, without Ray."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.job_runs import SMALL, check_files, records, run_job, write_manifest

from cosmos_ray.manifest.rows import Clip

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.usefixtures("one_node")]


def test_marked_clips_are_made_again_or_failed_and_the_job_goes_on(tmp_path: Path) -> None:
    rows = [
        {"id": "good", "prompt": "x", "seed": 1, **SMALL},
        {"id": "second", "prompt": "[black seed=7]", "seed": 7, **SMALL},
        {"id": "never", "prompt": "[black]", "seed": 1, **SMALL},
    ]
    summary, said = run_job(
        write_manifest(tmp_path / "m.parquet", rows),
        tmp_path / "out",
        checks={"redo": ["black"], "redo_at_most": 2, "fail": ["black"], "min_agreement": None},
    )
    assert (summary.ok, summary.failed) == (2, 1)
    found = records(tmp_path / "out")
    check_files(tmp_path / "out")
    assert found["never"].failure_class == "model"
    never = Clip("never", "never", seed=1)
    again, second = never.with_next_seed(), Clip("second", "second", seed=7).with_next_seed().seed
    assert [one.seed for one in found["never"].tries] == [1, again.seed, again.with_next_seed().seed]
    assert (found["second"].seed, [one.seed for one in found["second"].tries]) == (second, [7])
    assert found["good"].scores.keys() == {"front_wide", "cross_right"}
    index = {row["id"]: row for row in pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()}
    assert {name: row["seed"] for name, row in index.items()} == {"good": 1, "second": second}
    assert not [line for line in said if "faults in a row" in line]
