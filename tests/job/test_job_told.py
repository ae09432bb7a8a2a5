"""What a job makes of its settings before the first gang: what each gang is told, what the pool may try, and what the
output keeps of the job. Nothing runs."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.job_runs import fake_config, write_manifest
from support.outcomes import clips, settle

from cosmos_ray import signals
from cosmos_ray.clip.check_rules import CheckRules
from cosmos_ray.clip.guardrail_rules import NO_GUARDRAILS, Guardrails
from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.config import BreakerConfig, GangConfig, InputsConfig
from cosmos_ray.errors import ManifestError, UsageError
from cosmos_ray.gang.spec import GangSpec
from cosmos_ray.job import job as job_module
from cosmos_ray.job.check import Job, check
from cosmos_ray.job.clips import _gang_spec, _pool_config, _progress, _shown
from cosmos_ray.job.job import Summary, _finish, carry_out
from cosmos_ray.job.plan import Plan, manifest_clips, plan_for
from cosmos_ray.job.say import hearers_of
from cosmos_ray.ledger.lease import read_owner
from cosmos_ray.ledger.run import open_run
from cosmos_ray.ledger.state import LedgerState
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.pool.pool_config import PoolConfig
from cosmos_ray.store.storage import Storage

ROWS: list[dict[str, Any]] = [{"id": f"r{number}", "prompt": "p"} for number in range(4)]


def checked(folder: Path, rows: list[dict[str, Any]] = ROWS, **settings: Any) -> tuple[Job, Plan, list[str]]:
    manifest, said = write_manifest(folder / "m.parquet", rows), []
    job, plan = check(fake_config(manifest, folder / "out", **settings), said.append)
    return job, plan, said


def test_each_gang_is_told_all_of_the_jobs_settings(tmp_path: Path) -> None:
    """No field of it is left as it is by default."""
    gang = GangConfig(clips_waiting=7, step_checkpoint=3)
    inputs = InputsConfig(rate="as_is")
    checks = CheckRules(max_black=0.25)
    job, plan, _ = checked(
        tmp_path,
        gang=gang,
        inputs=inputs,
        checks=checks,
        breaker=BreakerConfig(patience_s=77.0),
        sampling=SamplingConfig(preset="fast"),
    )
    words, guardrails = {"r0": ("other",)}, Guardrails(NO_GUARDRAILS.rules, ("a check",))  # type: ignore[arg-type]
    job = replace(job, words=words, guardrails=guardrails, reads_home=True)
    spec = _gang_spec(job, replace(plan, rare_stores=("s3",)), 5, 4, "cuda")
    assert spec == GangSpec(
        bundle=job.bundle,
        gang_size=4,
        device="cuda",
        numerics=job.bundle.numerics,
        output=str(tmp_path / "out"),
        epoch=5,
        settings=gang,
        approximations=job.config.sampling.approximations,
        inputs=inputs,
        manifest=str(tmp_path / "m.parquet"),
        home=str(tmp_path),
        home_read=str(tmp_path),
        patience_s=77.0,
        checks=checks.of_model("fake"),
        refining=job.refining,
        words=words,
        guardrails=guardrails,
        rare_stores=("s3",),
        preset="fast",
    )
    plain = _gang_spec(checked(tmp_path)[0], plan, 5, 4, "cuda")
    same = {one.name for one in fields(spec) if getattr(spec, one.name) == getattr(plain, one.name)}
    assert same <= {"bundle", "gang_size", "device", "numerics", "output", "epoch", "manifest", "home", "refining"}


@pytest.mark.parametrize(("limit", "expected"), [(None, 4), (3, 3), (9, 4)])
def test_the_pool_is_told_what_it_may_have_and_try(tmp_path: Path, limit: int | None, expected: int) -> None:
    breaker = BreakerConfig(max_consecutive_faults=4)
    job, plan, _ = checked(
        tmp_path, gangs="2:5", gang={"clips_in_flight": 6, "max_attempts": 7}, breaker=breaker, max_gpu_hours=1.5,
        limit=limit,
    )  # fmt: skip
    found = _pool_config(job.config, plan)
    assert found == PoolConfig(
        min_gangs=2,
        max_gangs=5,
        clips_in_flight=6,
        max_attempts=7,
        breaker=breaker,
        max_gpu_hours=1.5,
        expected_clips=expected,
    )


def test_rows_that_no_gang_is_to_make_are_none_of_the_time_that_is_left(tmp_path: Path) -> None:
    _, plan, said = checked(tmp_path, [*ROWS, {"id": "bad", "prompt": None}])
    assert said[0].startswith("bad: ")
    assert _progress(None, plan, print)._invalid == 1
    assert _progress(2, plan, print)._invalid == 0


def test_the_output_keeps_what_the_job_is_of(tmp_path: Path) -> None:
    """As it was told, and as the rows say; of what was left as it is by default, nothing."""
    job, plan, _ = checked(tmp_path, inputs={"rate": "as_is"}, sampling={"solver": "unipc"})
    run = job.run
    assert (run.manifest, run.rows, run.clips) == (str(tmp_path / "m.parquet"), 4, 4)
    assert run.manifest_sha256 == job.manifest.sha256()
    assert (run.model, run.model_fingerprint, run.numerics) == ("fake", job.bundle.fingerprint, job.bundle.numerics)
    assert (run.sampling, run.inputs, run.removed) == (job.defaults.to_json(), {"rate": "as_is"}, {})
    assert run.approximations == job.config.sampling.approximations.chosen
    assert run.manifest_version
    assert checked(tmp_path)[0].run.inputs == {}
    assert plan.left == 4


def test_the_output_keeps_how_clips_ended_whose_rows_are_gone(tmp_path: Path) -> None:
    job, _, _ = checked(tmp_path)
    known = {clip.id: clip for clip in manifest_clips(job.run.manifest, job.defaults)}
    settle(job.storage, known["r0"])
    settle(job.storage, known["r2"])
    settle(job.storage, known["r3"], "oom")
    assert checked(tmp_path, ROWS[:2])[0].run.removed == {"ok": 1, "oom": 1}


def test_a_job_ends_with_its_verdict_and_where_everything_is(tmp_path: Path) -> None:
    """So many failures are all right; one more is exit code 3."""
    job, plan, _ = checked(tmp_path, max_failed="2")
    open_run(job.storage, job.run)
    said: list[str] = []
    summary = _finish(job, plan, job.ledger.state(), said.append)
    assert summary == Summary(str(tmp_path / "out"), 4, 0, 0, 4, 2)
    out = tmp_path / "out"
    assert said == [
        "0 ok, 0 failed (up to 2 allowed), 4 left",
        f"videos: {out}/clips   index: {out}/index.parquet",
        f"report: {out}/report.html",
    ]
    assert [replace(summary, failed=failed).exit_code for failed in (0, 2, 3)] == [0, 0, 3]
    job, plan, _ = checked(tmp_path, max_failed="50%")
    share = _finish(job, plan, job.ledger.state(), said.append)
    assert share.allowed == 2, "of all that the manifest asks for, made or not"


@pytest.mark.parametrize(("ids", "shown"), [(1, "r0"), (5, "r0, r1, r2, r3, r4"), (6, "r0, r1, r2, r3, r4 …")])
def test_rows_that_were_edited_after_their_clips_were_made_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: int, shown: str
) -> None:
    """A few of them. With `redo_changed` the job goes on."""
    found = checked(tmp_path)
    changed = replace(found[1], changed=tuple(f"r{number}" for number in range(ids)))
    monkeypatch.setattr(
        "cosmos_ray.job.check.survey", lambda *_, **__: SimpleNamespace(plan=changed, work=(), reads_home=False)
    )
    with pytest.raises(ManifestError, match=rf"edited after their clips were made: {ids} rows? \({shown}\)\. Give"):
        checked(tmp_path)
    assert checked(tmp_path, redo_changed=True)[1] is changed


def carried_out(job: Job, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> list[tuple[LedgerState, Plan]]:
    """What gangs would be made for: the ledger's state and the plan. None is made, and nothing of the clips."""
    asked: list[tuple[LedgerState, Plan]] = []

    def make_clips(job: Job, plan: Plan, state: LedgerState, *_: Any) -> Any:
        asked.append((state, plan))
        return SimpleNamespace(result=lambda: SimpleNamespace(state=state))

    monkeypatch.setattr(job_module, "make_clips", make_clips)
    monkeypatch.setattr(job_module, "say_outrun", lambda *_: None)
    carry_out(job, plan, hearers_of(lambda line: None))
    return asked


def test_rows_that_were_edited_are_open_again_before_gangs_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As their next generation, in what gangs are told; the others stay as they are."""
    job, plan, _ = checked(tmp_path)
    for clip in clips(job.config.manifest).values():
        settle(job.storage, replace(clip, row_hash="another's" if clip.id == "r1" else clip.row_hash))
    open_run(job.storage, job.run)
    job, plan, _ = checked(tmp_path, redo_changed=True)
    again = {"r0", "r1", "r2", "r3"} & set(plan.changed)
    ((state, _),) = carried_out(job, plan, monkeypatch)
    assert again >= {"r1"}
    for clip_id in ("r0", "r1", "r2", "r3"):
        assert (state.is_settled(clip_id), state.generation(clip_id)) == (clip_id not in again, int(clip_id in again))


def test_a_display_shows_the_job_that_is_at_work_where_there_is_one(tmp_path: Path) -> None:
    _, plan, _ = checked(tmp_path)
    progress = _progress(None, plan, print)
    display: Any = SimpleNamespace(shows=lambda of: nullcontext(("shown", of)))
    with _shown(display, progress) as shown, _shown(None, progress) as nothing:
        assert (shown, nothing) == (("shown", progress), None)


def test_a_job_and_its_plan_hold_to_the_setting_of_how_many_clips(tmp_path: Path) -> None:
    assert checked(tmp_path, max_clips=4)[1].clips == 4
    with pytest.raises(ManifestError, match="expected at most 3"):
        checked(tmp_path, max_clips=3)
    config = fake_config(str(tmp_path / "m.parquet"), tmp_path / "out", max_clips=3)
    with pytest.raises(ManifestError, match="expected at most 3"):
        plan_for(config, load_bundle("fake"), LedgerState.empty())


def test_an_output_without_room_is_refused_before_anything_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(storage: Storage, path: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(Storage, "write", full)
    with pytest.raises(UsageError, match=r"out is not writable: .*No space left on device"):
        checked(tmp_path)


def test_of_a_stop_that_hangs_the_lease_is_released_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the thread that hears signals, while the job is in a library that does not end."""
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(signals, "job", lambda *what: asked.append(what) or nullcontext())

    def hangs(job: Job, *_: Any) -> Summary:
        ((_, at_last, _),) = asked
        assert not was_released(job)
        at_last()
        assert was_released(job)
        return Summary("out", 0, 0, 0, 0, 0)

    monkeypatch.setattr(job_module, "_run", hangs)
    job, plan, said = checked(tmp_path)
    carry_out(job, plan, hearers_of(said.append, said.append))


def was_released(job: Job) -> bool:
    owner = read_owner(job.storage)
    assert owner is not None
    return owner.released
