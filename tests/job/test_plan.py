"""What a job would do, told before it runs: rows, clips, faults, and what is left by what it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, EMPTY, ROWS, clips, settle

from cosmos_ray.config import SamplingConfig
from cosmos_ray.errors import ManifestError
from cosmos_ray.job.cost import ClipGroup
from cosmos_ray.job.plan import make_plan, row_defaults
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    return write_manifest(tmp_path / "m.parquet", ROWS)


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


def test_the_plan_of_a_new_job_counts_rows_clips_and_faults(manifest: str) -> None:
    plan = make_plan(manifest, DEFAULTS, EMPTY)
    assert (plan.rows, plan.clips, plan.invalid) == (5, 8, 3)
    assert (plan.done, plan.failed, plan.left, plan.changed) == (0, 0, 8, ())
    assert [clip_id for clip_id, _ in plan.invalid_examples] == ["c", "d.s000", "d.s001"]
    assert "column `prompt`" in plan.invalid_examples[0][1]


def test_the_plan_subtracts_what_is_settled(manifest: str, output: Storage) -> None:
    known = clips(manifest)
    settle(output, known["a"])
    settle(output, known["b.s001"])
    settle(output, known["c"], "input")
    plan = make_plan(manifest, DEFAULTS, Ledger(output).state())
    assert (plan.rows, plan.clips, plan.done, plan.failed, plan.left) == (5, 8, 2, 1, 5)
    assert plan.changed == ()


def test_the_plan_tells_the_work_that_is_left_by_what_it_costs(tmp_path: Path, output: Storage) -> None:
    """Rows that are checked as columns count as those that are looked at one by one; faulty ones cost nothing."""
    rows = [
        {"id": "a", "prompt": "a street"},
        {"id": "b", "prompt": "a bridge", "num_samples": 3, "num_steps": 10},
        {"id": "c", "prompt": None, "num_steps": 10},
        {"id": "d", "prompt": "rain", "negative_prompt": ""},
        {"id": "e", "prompt": "ünlesbar/../x", "input_video": "./in.mp4", "num_conditional_frames": 5},
        {"id": "f", "prompt": "snow", "n_views": 1},
    ]
    manifest = write_manifest(tmp_path / "work.parquet", rows)
    settle(output, clips(manifest)["b.s001"])
    plan = make_plan(manifest, DEFAULTS, Ledger(output).state())
    assert plan.work == (
        ClipGroup(1, 35, True, 0, 1),
        ClipGroup(7, 10, True, 0, 2),
        ClipGroup(7, 35, False, 0, 1),
        ClipGroup(7, 35, True, 0, 1),
        ClipGroup(7, 35, True, 5, 1),
    )


def test_a_retried_clip_is_left_again(manifest: str, output: Storage) -> None:
    settle(output, clips(manifest)["c"], "input")
    Ledger(output).retry()
    plan = make_plan(manifest, DEFAULTS, Ledger(output).state())
    assert (plan.done, plan.failed, plan.left) == (0, 0, 8)


def test_records_of_rows_that_the_manifest_no_longer_has_are_not_counted(manifest: str, output: Storage) -> None:
    settle(output, replace(clips(manifest)["a"], id="gone"))
    assert make_plan(manifest, DEFAULTS, Ledger(output).state()).done == 0


def test_a_settled_clip_whose_row_was_edited_is_named(manifest: str, output: Storage, tmp_path: Path) -> None:
    """By what decides its video; a column that is carried along may change."""
    known = clips(manifest)
    for clip_id in ("a", "b.s000", "b.s001", "e"):
        settle(output, known[clip_id])
    edited = [dict(row, weather="dry") for row in ROWS]
    edited[1]["prompt"] = "another bridge"
    edited[4]["seed"] = 6
    plan = make_plan(write_manifest(tmp_path / "m.parquet", edited), DEFAULTS, Ledger(output).state())
    assert plan.changed == ("b.s000", "b.s001", "e")
    assert (plan.done, plan.left) == (4, 4)


def test_the_plan_of_an_unusable_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="row 1: column `id`"):
        make_plan(write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "p"}] * 2), DEFAULTS, EMPTY)


def test_rows_may_leave_out_what_the_job_says_or_else_the_bundle() -> None:
    bundle = load_bundle("tiny")
    assert row_defaults(bundle, SamplingConfig()).num_steps == bundle.sampling.num_steps
    given = row_defaults(bundle, SamplingConfig(num_steps=3, guidance=0.0, negative_prompt=""))
    assert (given.num_steps, given.guidance, given.negative_prompt) == (3, 0.0, "")
    assert given.n_views == bundle.n_views
