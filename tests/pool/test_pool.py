"""What the gang pool owes to a job, on one real Ray node with the fake generator: one test an obligation.

* Every row ends exactly once, as ok or as failed with the right class and a message.
* A rank's death, hang or lonely fault ends its gang; its clips go on in a new one.
* A row that kills gangs is failed after its attempts and takes no other with it.
* A fault of the job is not turned into failures of its rows.
* Nothing is left over, but for a log that tells what happened.
"""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import ray
from support.job_runs import (
    FAST,
    SMALL,
    BackgroundJob,
    actor_pids,
    assert_no_actors_left,
    check_files,
    fake_config,
    identity,
    records,
    run_job,
    write_manifest,
)
from support.waiting import holds_at_last, wait_for

from cosmos_ray.errors import LeaseHeld
from cosmos_ray.gang.step_checkpoint import StepCheckpoint, read_state
from cosmos_ray.job.job import generate
from cosmos_ray.ledger import compaction
from cosmos_ray.ledger.history import read_jobs
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.pool import gpu_time
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.store.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("one_node")]


def test_every_row_ends_once_with_the_right_class(tmp_path: Path) -> None:
    """Good rows, a row with samples, row faults found at three different places, and a rank that is out of memory."""
    manifest = write_manifest(
        tmp_path / "m.parquet",
        [
            {**SMALL, "id": "good", "prompt": "a road"},
            {**SMALL, "id": "two", "prompt": "a road", "num_samples": 2},
            {**SMALL, "id": "bad-column", "prompt": "a road", "num_conditional_frames": 5},
            {**SMALL, "id": "bad-file", "prompt": "a road", "input_video": "not-there.mp4"},
            {**SMALL, "id": "nan", "prompt": "a road [nan]"},
            {**SMALL, "id": "oom", "prompt": "a road [oom rank=1]"},
        ],
    )
    summary, said = run_job(manifest, tmp_path / "out")
    found = records(tmp_path / "out")
    assert {clip: (one.status, one.failure_class) for clip, one in found.items()} == {
        "good": ("ok", None),
        "two.s000": ("ok", None),
        "two.s001": ("ok", None),
        "bad-column": ("failed", "input"),
        "bad-file": ("failed", "input"),
        "nan": ("failed", "model"),
        "oom": ("failed", "oom"),
    }
    assert "not-there.mp4" in (found["bad-file"].error or "")
    assert found["nan"].attempt == 1, "a row's own fault is final: it is not tried again"
    assert found["oom"].attempt == 3
    assert (summary.ok, summary.failed, summary.left, summary.exit_code) == (3, 4, 0, 0)
    assert any(line.startswith("[7/7]") for line in said)
    check_files(tmp_path / "out")
    (took,) = read_jobs(Storage(str(tmp_path / "out")))
    assert (took.epoch, took.gang_size, took.device) == (1, 2, "cpu")
    assert took.gpu_seconds > 0
    assert_no_actors_left()


def test_same_seed_same_files_and_samples_differ(tmp_path: Path) -> None:
    manifest = write_manifest(
        tmp_path / "m.parquet",
        [
            {**SMALL, "id": "a", "prompt": "x", "seed": 7},
            {**SMALL, "id": "b", "prompt": "x", "seed": 7, "num_samples": 2},
        ],
    )
    run_job(manifest, tmp_path / "out", gang_size=1)
    hashes = {clip: [entry.sha256 for entry in one.files] for clip, one in records(tmp_path / "out").items()}
    assert hashes["a"] == hashes["b.s000"] != hashes["b.s001"]


@pytest.mark.parametrize(
    "stage", [pytest.param("embed", marks=pytest.mark.long), "denoise", pytest.param("decode", marks=pytest.mark.long)]
)
def test_a_rank_that_dies_costs_an_attempt_and_nothing_else(tmp_path: Path, stage: str) -> None:
    """Killed once, at each of the stages; its clip and the clips beside it are made by the next gang."""
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=0.1]"} for n in range(4)]
    rows.insert(1, {**SMALL, "id": "killer", "prompt": f"a road [die at={stage} attempt=1]"})
    summary, said = run_job(write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out")
    assert (summary.ok, summary.failed) == (5, 0)
    assert records(tmp_path / "out")["killer"].attempt == 2
    assert sum("broke" in line for line in said) == 1
    check_files(tmp_path / "out")
    assert_no_actors_left()


def test_a_poison_row_takes_no_other_with_it(tmp_path: Path) -> None:
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=0.1]"} for n in range(3)]
    rows.insert(1, {**SMALL, "id": "poison", "prompt": "a road [die]"})
    summary, _ = run_job(write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out", gang_size=1)
    found = records(tmp_path / "out")
    assert (summary.ok, summary.failed) == (3, 1)
    assert (found["poison"].failure_class, found["poison"].attempt) == ("gang", 3)


@pytest.mark.long
def test_a_poison_row_at_the_head_waits_for_the_others_to_show_that_the_job_is_well(tmp_path: Path) -> None:
    """It is the first that every gang meets: the others must get past it, and it must not stop the job."""
    rows = [
        {**SMALL, "id": "poison", "prompt": "a road [die at=embed]"},
        {**SMALL, "id": "slow", "prompt": "a road [seconds=1]"},
    ]
    summary, _ = run_job(write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out")
    found = records(tmp_path / "out")
    assert (summary.ok, summary.failed) == (1, 1)
    assert (found["poison"].failure_class, found["poison"].attempt) == ("gang", 3)
    assert found["slow"].status == "ok"


@pytest.mark.long
def test_poison_rows_that_are_all_that_is_left_end_after_their_attempts(tmp_path: Path) -> None:
    """No other clip can show that the job is well, and the faults are too few for the job to be ill."""
    rows = [{**SMALL, "id": f"poison{n}", "prompt": "a road [die]"} for n in range(2)]
    summary, _ = run_job(write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out")
    found = records(tmp_path / "out")
    assert (summary.failed, summary.left) == (2, 0)
    assert {(one.failure_class, one.attempt) for one in found.values()} == {("gang", 3)}


def test_a_hang_is_found_by_the_clips_deadline(tmp_path: Path) -> None:
    rows = [
        {**SMALL, "id": "hang", "prompt": "a road [hang rank=1 attempt=1]"},
        {**SMALL, "id": "good", "prompt": "a road"},
    ]
    # On a busy machine other calls may take as long: they are made again, and nothing is failed for it.
    short = {"deadline_first_s": 6.0, "deadline_min_s": 6.0, "max_attempts": 30}
    manifest, patient = write_manifest(tmp_path / "m.parquet", rows), {**FAST["breaker"], "max_consecutive_faults": 60}
    summary, said = run_job(manifest, tmp_path / "out", gang=short, breaker=patient)
    assert (summary.ok, summary.failed) == (2, 0)
    assert any("timeout: denoise: no answer within" in line for line in said)
    assert_no_actors_left()


def test_a_clip_goes_on_from_its_stored_state(tmp_path: Path) -> None:
    """A rank is killed after the third of four steps: the next gang takes the clip up at the last that was stored (some
    come too soon for that), and leaves no state. It is the spare of the one that broke, under the same leader."""
    output = tmp_path / "out"
    rows = [{**SMALL, "id": "long", "prompt": "a road [hang step=3 attempt=1]", "num_steps": 3}]
    settings = {"gang": {"step_checkpoint": 1, "spare_ranks": "always"}, "gang_size": 1}
    job = BackgroundJob(write_manifest(tmp_path / "m.parquet", rows), output, **settings)

    def stored_step() -> int:
        found = [read_state(Storage(str(output)), StepCheckpoint(str(path.relative_to(output)), 1))
                 for path in output.glob("_cosmos_ray/steps/long.*.safetensors")]  # fmt: skip
        return int(found[0]["step"]) if found and found[0] is not None else 0

    stored = wait_for(stored_step, "a stored state")
    leaders = actor_pids("GangLeader")
    os.kill(actor_pids("Rank", "gang-0001-rank")[0], signal.SIGKILL)
    wait_for(lambda: any("gang-0002 is up in the place of gang-0001" in line for line in job.said), "the spare")
    assert actor_pids("GangLeader") == leaders
    assert job.result().ok == 1
    record = records(output)["long"]
    assert (record.attempt, record.gang) == (2, "gang-0002")
    assert record.sidecar is not None
    assert json.loads((output / record.sidecar.path).read_bytes())["first_step"] >= stored
    assert not list(output.glob("_cosmos_ray/steps/*"))
    assert_no_actors_left()


@pytest.mark.parametrize("victim", ["GangLeader", pytest.param("Rank", marks=pytest.mark.long)])
def test_a_killed_actor_is_replaced(tmp_path: Path, victim: str) -> None:
    """SIGKILL from outside, in mid-clip."""
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [hang attempt=1]" if n == 4 else "a road"} for n in range(5)]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    job = BackgroundJob(manifest, output)
    wait_for((output / "_cosmos_ray/attempts/r4.1").exists, "the one that hangs")
    before = records(output)
    assert len(before) >= 2, "three clips are in flight"
    os.kill(actor_pids(victim)[0], signal.SIGKILL)
    assert job.result().ok == 5
    found = records(output)
    assert {clip: found[clip] for clip in before} == before
    assert (found["r4"].attempt, max(one.attempt for one in found.values())) == (2, 2)
    check_files(tmp_path / "out")
    assert_no_actors_left()


def test_two_gangs_share_the_work(tmp_path: Path) -> None:
    """While one hangs, the other makes all that is left."""
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [hang attempt=1]" if n == 0 else "a road"} for n in range(5)]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    job = BackgroundJob(manifest, output, gangs="1:2", gang={"clips_in_flight": 1}, gang_size=1)
    wait_for(lambda: output.exists() and len(records(output)) == 4, "all clips but the one that hangs")
    (busy,) = {one.gang for one in records(output).values()}
    hung = (output / "_cosmos_ray/attempts/r0.1").read_text().split("/")[1]
    assert {busy, hung} == {"gang-0001", "gang-0002"}
    os.kill(actor_pids("Rank", hung)[0], signal.SIGKILL)
    assert job.result().ok == 5


@pytest.mark.long
def test_a_gang_that_never_finds_room_does_not_hold_the_job(tmp_path: Path) -> None:
    """Three gangs of two are wanted and four CPUs are there: the third waits, and is given up with the last clip."""
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=0.3]"} for n in range(9)]
    summary, said = run_job(write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out", gangs="3:3")
    assert summary.ok == 9
    assert sum("is up:" in line for line in said) == 2
    assert_no_actors_left()


@pytest.mark.parametrize("fault", [pytest.param("die", marks=pytest.mark.long), "nan"])
def test_a_model_that_fails_everywhere_stops_the_job_and_fails_no_row(tmp_path: Path, fault: str) -> None:
    """Every row kills its gang, or comes out as NaN: the job is ill, not a thousand rows."""
    rows = [{**SMALL, "id": f"r{n}", "prompt": f"a road [{fault}]"} for n in range(6)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    with pytest.raises(JobFailedError, match="4 faults in a row"):
        run_job(manifest, tmp_path / "out", gang_size=1, breaker={"max_consecutive_faults": 4, "max_pause_s": 0.1})
    assert records(tmp_path / "out") == {}
    assert_no_actors_left()


def test_limit_and_resume(tmp_path: Path) -> None:
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road"} for n in range(5)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    first, _ = run_job(manifest, tmp_path / "out", limit=2, gang_size=1)
    assert (first.ok, first.left) == (2, 3)
    before = {clip: identity(tmp_path / "out" / one.files[0].path) for clip, one in records(tmp_path / "out").items()}
    second, _ = run_job(manifest, tmp_path / "out", gang_size=1)
    assert (second.ok, second.left) == (5, 0)
    for clip, one in records(tmp_path / "out").items():
        if clip in before:
            assert identity(tmp_path / "out" / one.files[0].path) == before[clip], "nothing committed is rewritten"


def test_a_spent_budget_stops_the_job_between_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is spent when a clip is made, whatever that took. The one that is denoised then is finished.

    Of eight clips that are begun at once, some are ready still when the first is stored, however long that takes.
    """
    rows = [{**SMALL, "id": f"r{n:02d}", "prompt": "a road [seconds=8]" if n else "a road"} for n in range(12)]
    manifest, ledger = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out/_cosmos_ray/ledger"
    clock = SimpleNamespace(monotonic=lambda: 3600.0 * any(ledger.glob("*/*.json")))
    monkeypatch.setattr(gpu_time, "time", clock)
    with pytest.raises(JobFailedError, match=r"the budget .* is spent"):
        run_job(manifest, tmp_path / "out", gang_size=1, gang={"clips_in_flight": 8}, max_gpu_hours=1)
    made = records(tmp_path / "out")
    assert 1 <= len(made) < 12
    assert {one.status for one in made.values()} == {"ok"}
    begun = {path.name.rpartition(".")[0] for path in (tmp_path / "out").glob("_cosmos_ray/attempts/*")}
    assert begun > set(made), "clips that were ready, but not being denoised, are given back"


def test_retry_makes_failed_rows_again_under_a_new_generation(tmp_path: Path) -> None:
    rows = [
        {**SMALL, "id": "flaky", "prompt": "a road [fail=model attempt=1]"},
        {**SMALL, "id": "good", "prompt": "a road"},
    ]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    first, _ = run_job(manifest, tmp_path / "out", gang_size=1)
    assert (first.ok, first.failed) == (1, 1)
    assert Ledger(Storage(str(tmp_path / "out"))).retry(["model"]) == ["flaky"]
    second, _ = run_job(manifest, tmp_path / "out", gang_size=1)
    assert (second.ok, second.failed) == (2, 0)
    record = Ledger(Storage(str(tmp_path / "out"))).find("flaky", 1)
    assert record is not None
    assert (record.status, record.attempt) == ("ok", 2)


def test_a_living_owner_keeps_its_output(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{**SMALL, "id": "long", "prompt": "a road [hang attempt=1]"}])
    job = BackgroundJob(manifest, tmp_path / "out", gang_size=1)
    wait_for((tmp_path / "out/_cosmos_ray/attempts/long.1").exists, "its clip")
    with pytest.raises(LeaseHeld, match="living job"):
        generate(fake_config(manifest, tmp_path / "out"), print)
    os.kill(actor_pids("Rank")[0], signal.SIGKILL)
    assert job.result().ok == 1


def test_a_manifest_that_grows_and_shrinks_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of files. Records are moved into parts meanwhile, and index, summary and a third run are right."""
    monkeypatch.setattr(compaction, "BATCH", 2)
    folder, output = tmp_path / "m", tmp_path / "out"
    folder.mkdir()
    rows = [{**SMALL, "id": name, "prompt": "a road"} for name in "abcdef"]
    write_manifest(folder / "1.parquet", rows[:4])
    first, _ = run_job(str(folder), output, gang_size=1)
    assert (first.ok, first.left) == (4, 0)
    write_manifest(folder / "1.parquet", rows[:3])
    write_manifest(folder / "2.parquet", rows[4:])
    second, said = run_job(str(folder), output, gang_size=1)
    assert (second.clips, second.ok, second.failed, second.left) == (5, 5, 0, 0)
    assert "5 clips: 3 done, 0 failed, 2 left; 0 with faults in their rows" in said
    assert any(line.startswith("1 more clip of rows that the manifest no longer has") for line in said)
    assert list((output / "_cosmos_ray" / "ledger").glob("*.parquet"))
    assert records(output).keys() == set("abcdef")
    check_files(output)
    assert pq.read_table(output / "index.parquet")["id"].to_pylist() == list("abcef")
    third, said = run_job(str(folder), output, gang_size=1)
    assert "5 clips: 5 done, 0 failed, 0 left: nothing to do" in said
    assert third == second


def test_leaders_and_ranks_leave_a_log_that_tells_what_happened(tmp_path: Path) -> None:
    """Of a fault nobody foresaw: when, which gang and clip, and the traceback of the rank's generator (`_act`)."""
    manifest = write_manifest(
        tmp_path / "m.parquet", [{**SMALL, "id": "unlucky", "prompt": "a road [oom rank=1 attempt=1]"}]
    )
    summary, _ = run_job(manifest, tmp_path / "out")
    assert summary.ok == 1
    folder = Path(ray._private.worker._global_node.get_logs_dir_path())

    def found() -> None:
        text = "\n".join(path.read_text() for path in folder.glob("worker-*.err"))
        when = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ "
        lines = (
            r"INFO gang-0001: unlucky: attempt 1 begins$",
            r"WARNING gang-0001: denoise failed on a rank:$",
            r"ERROR gang-0001: the gang breaks \(oom\): denoise: MemoryError: out of memory",
            r"WARNING gang-0001: unlucky: attempt 1 failed \(oom\)",
            r"INFO gang-0002: unlucky: attempt 2 committed: .*denoise \d+\.\d s",
            r"INFO gang-0002-rank1-\d+-\d+: unlucky: denoised in",
        )
        for line in lines:
            assert re.search(when + line, text, flags=re.MULTILINE), text
        assert "in _act" in text

    holds_at_last(found)
