"""How far a job is, told from its output while it runs and afterwards."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace

import pytest
from support.outcomes import clips, run_of, settle

from cosmos_ray.errors import UsageError
from cosmos_ray.ledger.lease import LeaseTimes, Owner, acquire
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.ledger.run import open_run
from cosmos_ray.output import status as status_module
from cosmos_ray.output.status import owner_lines, read_status, record_lines
from cosmos_ray.store.storage import Storage


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
        "stale": [],
        "manifest_changed": False,
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


def test_the_rate_is_that_of_the_last_clips_that_were_made(
    manifest: str, output: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever order their records are read in; a failure says nothing of it."""
    monkeypatch.setattr(status_module, "_RATE_CLIPS", 3)
    open_run(output, run_of(manifest))
    known = list(clips(manifest).values())
    for clip, time in zip(known, ("05:00", "00:00", "05:30", "06:00"), strict=False):
        settle(output, clip, finished=f"2026-01-01T{time}:00.000+00:00")
    settle(output, known[4], "oom", finished="2026-01-01T23:00:00.000+00:00")
    status = read_status(output.uri)[0]
    assert (status.clips_per_hour, status.left) == (2.0, 3)
    assert status.eta_s == 1.5 * 3600


def test_two_clips_of_one_moment_have_no_rate(manifest: str, output: Storage) -> None:
    open_run(output, run_of(manifest))
    for clip in list(clips(manifest).values())[:2]:
        settle(output, clip, finished="2026-01-01T00:00:00.000+00:00")
    status = read_status(output.uri)[0]
    assert (status.clips_per_hour, status.eta_s) == (None, None)


def test_clips_whose_rows_are_gone_are_in_no_other_count(manifest: str, output: Storage) -> None:
    """As the job counted them that began last; more of them than there are now count as none."""
    open_run(output, run_of(manifest, removed={"ok": 1, "oom": 2, "input": 1}))
    known = list(clips(manifest).values())
    for clip in known[:3]:
        settle(output, clip)
    settle(output, known[3], "oom")
    settle(output, known[4], "input")
    settle(output, known[5], "gang")
    status = read_status(output.uri)[0]
    assert (status.ok, status.failed_by_class, status.failed) == (2, {"gang": 1}, 1)
    assert (status.removed, status.left) == (4, 8 - 2 - 1)


def test_more_clips_than_the_manifest_asks_for_leave_nothing(manifest: str, output: Storage) -> None:
    open_run(output, run_of(manifest, clips=1))
    for clip in list(clips(manifest).values())[:3]:
        settle(output, clip)
    assert read_status(output.uri)[0].left == 0


def test_of_a_job_that_is_well_only_its_name_is_told() -> None:
    assert list(owner_lines(Owner("job-1", 3, False, 4.6, {}))) == ["job job-1, last heard of 5 s ago"]


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


def test_the_status_tells_where_each_gang_is_and_what_the_job_itself_expects(manifest: str, output: Storage) -> None:
    """A job that runs knows its gangs: the ledger alone might tell of a run before it. After it, the ledger speaks."""
    open_run(output, run_of(manifest))
    known = clips(manifest)
    settle(output, known["a"], finished="2026-01-01T00:00:00.000+00:00")
    settle(output, known["e"], finished="2026-01-01T00:30:00.000+00:00")
    lease = acquire(output, LeaseTimes(60.0, 180.0))
    at = {"clip": "b.s000", "step": 12, "steps": 35, "left_s": 62.0}
    lease.describe = lambda: {
        "gangs": {"gang-0001": "b" * 40, "gang-0002": "a" * 40},
        "at": {"gang-0002": {**at, "left_s": None}, "gang-0001": at, "gang-0003": {**at, "left_s": 0.0}},
        "eta_s": 90.0,
        "clips_per_hour": 40.0,
    }
    lease._beat()
    found = read_status(output.uri)[0]
    assert found.owner is not None
    assert (found.eta_s, found.clips_per_hour) == (90.0, 40.0)
    assert list(owner_lines(found.owner))[2:] == [
        "  gang-0001: b.s000, step 12 of 35, 1m02s left",
        "  gang-0002: b.s000, step 12 of 35",
        "  gang-0003: b.s000, step 12 of 35, 0s left",
    ]
    lease.describe = lambda: {"eta_s": 0.0, "clips_per_hour": 40.0}
    lease._beat()
    assert read_status(output.uri)[0].eta_s == 0.0, "a job that makes its last clip has nothing left"
    lease.describe = lambda: {"eta_s": None, "clips_per_hour": None}
    lease._beat()
    assert read_status(output.uri)[0].clips_per_hour == 2.0
    lease.release()
    assert read_status(output.uri)[0].clips_per_hour == 2.0
