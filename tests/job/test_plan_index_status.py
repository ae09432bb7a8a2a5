"""What is told about a job without running it: the plan before, the status meanwhile, the index afterwards."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.job_runs import write_manifest

from cosmos_ray.config import SamplingConfig
from cosmos_ray.errors import FailureClass, ManifestError, UsageError
from cosmos_ray.job.cost import ClipGroup
from cosmos_ray.job.plan import make_plan, manifest_clips, row_defaults
from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.ledger.ledger import FileEntry, Ledger, LedgerState, Record
from cosmos_ray.ledger.run import Run, open_run, read_run, row_defaults_of
from cosmos_ray.manifest.files import open_manifest
from cosmos_ray.manifest.rows import Clip, RowDefaults
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.output.index import write_index
from cosmos_ray.output.status import owner_lines, read_status, record_lines
from cosmos_ray.store.storage import Storage

DEFAULTS = RowDefaults(n_views=7, num_steps=35, guidance=7.0, negative_prompt="blurry")
EMPTY = LedgerState.empty()
ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "a street"},
    {"id": "b", "prompt": "a bridge", "num_samples": 3},
    {"id": "c", "prompt": None},
    {"id": "d", "prompt": "rain", "seed": -1, "num_samples": 2},
    {"id": "e", "prompt": "snow", "seed": 5},
]


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """Five rows that ask for eight clips, three of them with faults."""
    return write_manifest(tmp_path / "m.parquet", ROWS)


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


def settle(output: Storage, clip: Clip, failure: FailureClass | None = None, **fields: Any) -> Record:
    """Commit an outcome of this clip, as a gang would."""
    files = tuple(
        FileEntry(view, f"clips/{clip.id}/1/{view}.mp4", 1, f"sha of {view}") for view in ("rear", "front_wide")
    )
    record = Record(
        id=clip.id,
        generation=clip.generation,
        status="failed" if failure else "ok",
        failure_class=failure,
        attempt=1,
        error="why" if failure else None,
        row_hash=clip.row_hash,
        epoch=1,
        seconds={} if failure else {"denoise": 12.5},
        files=() if failure else files,
        sidecar=None if failure else FileEntry("", f"clips/{clip.id}/1/clip.json", 1, "s"),
    )
    return Ledger(output).commit(replace(record, **fields))


def clips(manifest: str) -> dict[str, Clip]:
    return {clip.id: clip for clip in manifest_clips(manifest, DEFAULTS)}


def run_of(manifest: str, /, **changes: Any) -> Run:
    known = Run(manifest, "h" * 64, 5, 8, "fake", "f" * 64, "reference", asdict(DEFAULTS))
    return replace(known, **changes)


# --- plan ------------------------------------------------------------------------------------------------------------


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


# --- index -----------------------------------------------------------------------------------------------------------


def read_index(output: Storage) -> pa.Table:
    return pq.read_table(output.uri_of("index.parquet"))


def test_the_index_has_a_row_for_each_clip_that_was_made(manifest: str, output: Storage) -> None:
    known = clips(manifest)
    settle(output, known["e"])
    settle(output, known["b.s002"])
    settle(output, known["a"], "oom")
    assert write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state()) == 2
    table = read_index(output)
    assert table.column("id").to_pylist() == ["b.s002", "e"]  # in the manifest's order
    assert table.column("row_id").to_pylist() == ["b", "e"]
    assert table.column("seed").to_pylist() == [known["b.s002"].seed, 5]
    assert table.column("prompt").to_pylist() == ["a bridge", "snow"]
    assert table.column("seconds").to_pylist() == [12.5, 12.5]
    assert dict(table.column("videos").to_pylist()[1]) == {
        view: f"{output.uri}/clips/e/1/{view}.mp4" for view in ("rear", "front_wide")
    }
    assert dict(table.column("sha256").to_pylist()[1])["rear"] == "sha of rear"
    assert table.column("sidecar").to_pylist()[1] == f"{output.uri}/clips/e/1/clip.json"


def test_the_index_carries_the_manifests_columns_untouched(tmp_path: Path, output: Storage) -> None:
    """Of any type, nested ones too; each sample of a row gets its row's."""
    carried = pa.table(
        {
            "id": ["a", "b"],
            "prompt": ["p", "p"],
            "num_samples": [2, 1],
            "tags": pa.array([["wet", "night"], None], pa.list_(pa.string())),
            "pose": pa.array(
                [{"x": 1.5, "y": None}, {"x": 2.5, "y": 3}], pa.struct([("x", pa.float32()), ("y", pa.int8())])
            ),
            "taken": pa.array([1, 2], pa.timestamp("us", "UTC")),
            "thumbnail": pa.array([b"\x00\xff", b""], pa.binary()),
        }
    )
    pq.write_table(carried, tmp_path / "m.parquet")
    manifest = str(tmp_path / "m.parquet")
    for clip in clips(manifest).values():
        settle(output, clip)
    assert write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state()) == 3
    table = read_index(output)
    stored = pq.read_table(manifest)
    for name in ("tags", "pose", "taken", "thumbnail"):
        assert table.schema.field(name).type == stored.schema.field(name).type
        assert table.column(name).to_pylist() == [stored.column(name).to_pylist()[row] for row in (0, 0, 1)]


def test_a_column_with_a_name_of_the_index_is_kept_under_another(tmp_path: Path, output: Storage) -> None:
    rows = [{"id": "a", "prompt": "p", "videos": "mine", "generation": "third", "seed": 4}]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    settle(output, clips(manifest)["a"])
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    [row] = read_index(output).to_pylist()
    assert (row["manifest_videos"], row["manifest_generation"]) == ("mine", "third")
    assert (row["generation"], row["seed"]) == (0, 4)
    assert "manifest_id" not in row
    assert "manifest_seed" not in row


def test_the_index_points_to_the_newest_generation(manifest: str, output: Storage) -> None:
    clip = clips(manifest)["a"]
    settle(output, clip, "oom")
    Ledger(output).retry()
    settle(output, replace(clip, generation=1), attempt=4)
    write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state())
    [row] = read_index(output).to_pylist()
    assert (row["id"], row["generation"], row["attempt"]) == ("a", 1, 4)


def test_the_index_of_nothing_has_its_columns(manifest: str, output: Storage) -> None:
    assert write_index(output, open_manifest(manifest), DEFAULTS, EMPTY) == 0
    table = read_index(output)
    assert table.num_rows == 0
    assert {"id", "videos", "sha256", "prompt", "num_samples"} <= set(table.column_names)


def test_the_index_works_on_an_object_store(s3: str, tmp_path: Path) -> None:
    output = Storage(f"{s3}/out")
    Storage(s3).write("m.parquet", Path(write_manifest(tmp_path / "m.parquet", ROWS)).read_bytes())
    manifest = f"{s3}/m.parquet"
    for clip in clips(manifest).values():
        settle(output, clip, "input" if clip.error else None)
    assert write_index(output, open_manifest(manifest), DEFAULTS, Ledger(output).state()) == 5
    (tmp_path / "index.parquet").write_bytes(output.read("index.parquet"))
    videos = pq.read_table(tmp_path / "index.parquet").column("videos").to_pylist()
    assert dict(videos[0])["rear"] == f"{s3}/out/clips/a/1/rear.mp4"


# --- run and status --------------------------------------------------------------------------------------------------


def test_a_run_comes_back_as_it_was_opened(manifest: str, output: Storage) -> None:
    assert read_run(output) is None
    open_run(output, run_of(manifest))
    assert read_run(output) == run_of(manifest)
    assert row_defaults_of(run_of(manifest)) == DEFAULTS


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"model_fingerprint": "0" * 64},
        {"numerics": "float32"},
        {"sampling": {**asdict(DEFAULTS), "num_steps": 3}},
        {"approximations": {"guidance_interval": [0.0, 0.5]}},
        {"manifest": "s3://elsewhere/m.parquet", "manifest_sha256": "0" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_output_goes_on_only_with_the_settings_it_began_with(
    manifest: str, output: Storage, change: dict[str, Any]
) -> None:
    open_run(output, run_of(manifest))
    name = next(iter(change))
    with pytest.raises(UsageError, match=f"was made with other settings.* {name}: it has "):
        open_run(output, run_of(manifest, **change))
    assert read_run(output) == run_of(manifest)


@pytest.mark.parametrize(
    "change", [{"manifest": "s3://elsewhere/m.parquet"}, {"manifest_sha256": "0" * 64, "rows": 6, "clips": 9}]
)
def test_a_manifest_may_move_or_grow(manifest: str, output: Storage, change: dict[str, Any]) -> None:
    open_run(output, run_of(manifest))
    open_run(output, run_of(manifest, **change))
    assert read_run(output) == run_of(manifest, **change)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"rows": 3, "unknown": 4}', b"\xff"])
def test_a_run_file_that_is_not_ours(output: Storage, content: bytes) -> None:
    output.write("_cosmos_ray/run.json", content)
    with pytest.raises(UsageError, match="is not a run of this version"):
        read_run(output)


def test_the_status_tells_of_the_job_that_owns_the_output(manifest: str, output: Storage) -> None:
    """While it beats, and after it was cut off; not after it has said farewell."""
    open_run(output, run_of(manifest))
    lease = acquire(output, LeaseTimes(60.0, 180.0))
    lease.describe = lambda: {
        "gangs": {"gang-0002": "a" * 40, "gang-0001": "b" * 40},
        "avoided_nodes": ["c" * 40],
        "draining_nodes": ["d" * 40],
        "pause": "storage: 503",
    }
    lease._beat()
    owner = read_status(output.uri)[0].owner
    assert owner is not None
    assert (owner.name, owner.epoch, owner.released) == (lease.owner, 1, False)
    first, *rest = owner_lines(owner)
    assert re.fullmatch(rf"job {lease.owner}, last heard of \d+ s ago", first)
    assert rest == [
        "gangs: gang-0001 on node bbbbbbbb, gang-0002 on node aaaaaaaa",
        "avoided, because gangs broke on them: node cccccccc",
        "being drained: node dddddddd",
        "the job pauses: storage: 503",
    ]
    lease.release()
    assert read_status(output.uri)[0].owner is None


def test_the_status_counts_what_is_settled(manifest: str, output: Storage) -> None:
    open_run(output, run_of(manifest))
    known = clips(manifest)
    settle(output, known["a"], finished="2026-01-01T00:00:00.000+00:00")
    settle(output, known["e"], finished="2026-01-01T00:30:00.000+00:00")
    settle(output, known["b.s000"], finished="2026-01-01T01:00:00.000+00:00")
    settle(output, known["c"], "input")
    settle(output, known["d.s000"], "input")
    settle(output, known["d.s001"], "oom")
    status, run, state = read_status(output.uri)
    assert (status.clips, status.ok, status.failed, status.left) == (8, 3, 3, 2)
    assert status.failed_by_class == {"input": 2, "oom": 1}
    assert (status.clips_per_hour, status.eta_s) == (2.0, 3600.0)
    assert (run, len(state.records)) == (run_of(manifest), 6)
    assert json.loads(json.dumps(asdict(status))) == {
        "output": output.uri,
        "model": "fake",
        "clips": 8,
        "ok": 3,
        "failed": 3,
        "failed_by_class": {"input": 2, "oom": 1},
        "left": 2,
        "clips_per_hour": 2.0,
        "eta_s": 3600.0,
        "removed": 0,
        "owner": None,
    }


def test_a_retried_clip_counts_as_left(manifest: str, output: Storage) -> None:
    open_run(output, run_of(manifest))
    settle(output, clips(manifest)["c"], "input")
    Ledger(output).retry()
    status, _, _ = read_status(output.uri)
    assert (status.failed, status.left, status.failed_by_class) == (0, 8, {})


def test_before_two_clips_there_is_no_rate(manifest: str, output: Storage) -> None:
    open_run(output, run_of(manifest))
    settle(output, clips(manifest)["a"], finished="2026-01-01T00:00:00.000+00:00")
    status, _, _ = read_status(output.uri)
    assert (status.clips_per_hour, status.eta_s) == (None, None)


def test_a_finished_job_has_nothing_to_wait_for(manifest: str, output: Storage) -> None:
    open_run(output, run_of(manifest))
    for minute, clip in enumerate(clips(manifest).values()):
        settle(output, clip, finished=f"2026-01-01T00:{minute:02d}:00.000+00:00")
    status, _, _ = read_status(output.uri)
    assert (status.left, status.eta_s) == (0, 0.0)


def test_record_lines_are_a_contract(manifest: str, output: Storage) -> None:
    """One a record, every generation, with exactly these keys."""
    open_run(output, run_of(manifest))
    clip = clips(manifest)["a"]
    settle(output, clip, "oom")
    Ledger(output).retry()
    settle(output, replace(clip, generation=1), attempt=2)
    lines = sorted(record_lines(output.uri), key=lambda line: line["generation"])
    assert lines == [
        {"id": "a", "generation": 0, "status": "failed", "class": "oom", "attempt": 1, "error": "why"},
        {"id": "a", "generation": 1, "status": "ok", "class": None, "attempt": 2, "error": None},
    ]


def test_the_status_of_nothing(output: Storage) -> None:
    expected = f"there is no run at {output.uri}: expected {output.uri}/_cosmos_ray/run.json"
    with pytest.raises(UsageError, match=expected):
        read_status(output.uri)
    with pytest.raises(UsageError, match=expected):
        list(record_lines(output.uri))
