"""What a job would do, told before it runs: rows, clips, faults, and what is left by what it costs."""

from __future__ import annotations

import collections
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.job_runs import write_manifest
from support.outcomes import DEFAULTS, EMPTY, ROWS, clips, settle

from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import ManifestError, UsageError
from cosmos_ray.job.cost import ClipGroup
from cosmos_ray.job.plan import make_plan, manifest_clips, plan_for, row_defaults, survey
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.record import Record, table_of
from cosmos_ray.ledger.state import LedgerState, contents_of
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import Clip
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.store.storage import Storage


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


def write_files(folder: Path, *files: list[dict[str, Any]], row_group_size: int = 2) -> str:
    """A manifest of several files of small row groups: 0.parquet, 1.parquet, ..."""
    folder.mkdir(exist_ok=True)
    for number, rows in enumerate(files):
        schema = pa.schema([("id", pa.string()), ("prompt", pa.string()), ("num_samples", pa.int64())])
        table = pa.Table.from_pylist([{"prompt": "p", "num_samples": 1, **row} for row in rows], schema=schema)
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=row_group_size)
    return str(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a b c a"], "0.parquet: row 3: column `id`: found 'a', which is also asked for by 0.parquet: row 0"),
        (["a b", "a c"], "1.parquet: row 0: column `id`: found 'a', which is also asked for by 0.parquet: row 0"),
        (["a b c", "d b"], "1.parquet: row 1: column `id`: found 'b', which is also asked for by 0.parquet: row 1"),
        (["a b", "c d", "d"], "2.parquet: row 0: column `id`: found 'd', which is also asked for by 1.parquet: row 1"),
        (
            ["a b", "c", "e f g c"],
            "2.parquet: row 3: column `id`: found 'c', which is also asked for by 1.parquet: row 0",
        ),
        (
            ["a*2 b", "a.s001"],
            "1.parquet: row 0: column `id`: found 'a.s001', which is also asked for by 0.parquet: row 0",
        ),
        (
            ["b a.s001", "c a*2"],
            "1.parquet: row 1: column `id`: found 'a', whose clip 'a.s001' is also asked for by 0.parquet: row 1",
        ),
    ],
)
def test_an_id_that_is_asked_for_twice_is_named_with_both_places(
    tmp_path: Path, files: list[str], message: str
) -> None:
    """In whatever file, row group and row: also the first row of a file. `a*2` asks for two samples."""
    rows = [
        [{"id": word.partition("*")[0], "num_samples": int(word.partition("*")[2] or 1)} for word in file.split()]
        for file in files
    ]
    with pytest.raises(ManifestError) as caught:
        make_plan(write_files(tmp_path / "m", *rows), DEFAULTS, EMPTY)
    assert str(caught.value) == f"{message}; expected ids that differ"


def test_an_illegal_id_is_named_with_its_place(tmp_path: Path) -> None:
    rows = [[{"id": "a"}, {"id": "b"}], [*({"id": one} for one in ("c", "d", "e", "f", "../g"))]]
    with pytest.raises(ManifestError, match=r"^1\.parquet: row 4: column `id`: found '\.\./g', expected "):
        make_plan(write_files(tmp_path / "m", *rows), DEFAULTS, EMPTY)
    with pytest.raises(ManifestError, match=r"^row 1: column `id`: found 'a', which is also asked for by row 0; "):
        make_plan(write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "p"}] * 2), DEFAULTS, EMPTY)


def test_no_more_than_twenty_faults_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": f"r{n:02d}", "prompt": None} for n in range(23)])
    plan = make_plan(manifest, DEFAULTS, EMPTY)
    assert plan.invalid == 23
    assert [clip_id for clip_id, _ in plan.invalid_examples] == [f"r{n:02d}" for n in range(20)]


def test_clips_of_rows_that_are_gone_are_told_by_how_they_ended(manifest: str, output: Storage) -> None:
    known = clips(manifest)
    settle(output, known["a"])
    for number, failure in enumerate((None, None, "oom", "input")):
        settle(output, replace(known["a"], id=f"gone{number}"), failure)  # type: ignore[arg-type]
    settle(output, replace(known["a"], id="opened"), "oom")
    Ledger(output).redo(["opened"])
    plan = make_plan(manifest, DEFAULTS, Ledger(output).state())
    assert plan.removed == {"ok": 2, "oom": 1, "input": 1}
    assert (plan.done, plan.failed, plan.left) == (1, 0, 7)


def test_settings_that_the_network_cannot_have_are_refused_before_the_manifest_is_read() -> None:
    settings = {"attention": "fp8", "fp8_exact_blocks": [99]}
    config = GenerateConfig.model_validate({"manifest": "/nowhere", "output": "/nowhere", "sampling": settings})
    with pytest.raises(UsageError, match="fp8_exact_blocks: found 99"):
        plan_for(config, load_bundle("tiny"), EMPTY)


# --- for any manifest and any ledger ---------------------------------------------------------------------------------

_rows = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["a street", "ein Weg", None, "see.txt"]),
        "num_samples": st.sampled_from([None, 1, 2, 3, 1001]),
        "negative_prompt": st.sampled_from([None, "", "ugly"]),
        "num_steps": st.sampled_from([None, 10, 0]),
        "n_views": st.sampled_from([None, 1]),
        "seed": st.sampled_from([None, 3, -1]),
    }
)
_endings = st.sampled_from(["left", "ok", "oom", "opened", "edited"])


@settings(max_examples=25)
@given(st.lists(_rows, min_size=1, max_size=7), st.data())
def test_columns_and_rows_tell_the_same_plan(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """What a plan counts in columns is what looking at each clip by itself gives."""
    with tempfile.TemporaryDirectory() as folder:
        table = pa.Table.from_pylist([{"id": f"r{n}", **row} for n, row in enumerate(rows)], schema=_SCHEMA)
        cut = data.draw(st.integers(0, len(rows) - 1))
        for number, part in enumerate((table.slice(0, cut), table.slice(cut))):
            pq.write_table(part, f"{folder}/{number}.parquet", row_group_size=3)
        asked = list(manifest_clips(folder, DEFAULTS))
        endings = {clip.id: data.draw(_endings) for clip in asked}
        state = LedgerState(
            contents_of(
                (), (), table_of(_record(clip, endings[clip.id]) for clip in asked if endings[clip.id] != "left"), ()
            ),
            {clip.id: 1 for clip in asked if endings[clip.id] == "opened"},
        )
        found = survey(open_manifest(folder), DEFAULTS, state)
    plan, right = found.plan, [clip for clip in asked if clip.error is None]
    settled = {clip.id for clip in asked if endings[clip.id] in ("ok", "oom", "edited")}
    edited = [clip.id for clip in asked if endings[clip.id] == "edited"]
    assert (plan.rows, plan.clips, plan.invalid) == (len(rows), len(asked), len(asked) - len(right))
    assert plan.unguided == sum(not clip.negative_prompt for clip in right)
    assert plan.failed == sum(endings[clip.id] == "oom" for clip in asked)
    assert (plan.done, plan.left) == (len(settled) - plan.failed, len(asked) - len(settled))
    assert sorted(plan.changed) == sorted(edited)
    left = [clip for clip in asked if clip.id not in settled or clip.id in edited]
    kinds = collections.Counter(
        (clip.n_views, clip.num_steps, bool(clip.negative_prompt), clip.num_conditional_frames)
        for clip in left
        if clip.error is None
    )
    assert plan.work == tuple(ClipGroup(*kind, count) for kind, count in sorted(kinds.items()))
    in_work = {clip.row_id for clip in left}
    bits = [
        (group.file.name, group.number, np.unpackbits(np.frombuffer(group.left, np.uint8)).tolist())
        for group in found.work
    ]
    expected = []
    for name, first, count in (("0.parquet", 0, cut), ("1.parquet", cut, len(rows) - cut)):
        for number in range(0, count, 3):
            is_left = [f"r{first + row}" in in_work for row in range(number, min(number + 3, count))]
            if any(is_left):
                expected.append((name, number // 3, [*map(int, is_left), *[0] * (8 - len(is_left))]))
    assert bits == expected


_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("num_samples", pa.int64()),
        ("negative_prompt", pa.string()),
        ("num_steps", pa.int64()),
        ("n_views", pa.int64()),
        ("seed", pa.int64()),
    ]
)


def _record(clip: Clip, ending: str) -> Record:
    is_ok = ending in ("ok", "edited")
    row_hash = "of another row" if ending == "edited" else clip.row_hash
    return Record(clip.id, 0, "ok" if is_ok else "failed", None if is_ok else "oom", 1, None, row_hash, 1)


def test_rows_may_leave_out_what_the_job_says_or_else_the_bundle() -> None:
    bundle = load_bundle("tiny")
    assert row_defaults(bundle, SamplingConfig()).num_steps == bundle.sampling.num_steps
    given = row_defaults(bundle, SamplingConfig(num_steps=3, guidance=0.0, negative_prompt=""))
    assert (given.num_steps, given.guidance, given.negative_prompt) == (3, 0.0, "")
    assert given.n_views == bundle.n_views


def test_a_manifest_of_more_clips_than_are_allowed_is_refused_before_they_are_counted_out(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "prompt": "a", "num_samples": 1000} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    manifest = open_manifest(str(tmp_path / "m.parquet"))
    assert survey(manifest, DEFAULTS, LedgerState.empty(), max_clips=3000).plan.clips == 3000
    with pytest.raises(
        ManifestError, match=r"asks for 3000 clips so far, .* expected at most 2999 \(--set max_clips=N"
    ):
        survey(manifest, DEFAULTS, LedgerState.empty(), max_clips=2999)
