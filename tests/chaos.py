"""Everything that can break, broken on purpose: a table of faults, each with what must hold after it.

    python tests/chaos.py            # all of it (`make chaos`): prints a line a case, exits 1 if any fails
    python tests/chaos.py leader     # the cases whose names contain "leader"

Real Ray clusters of several nodes on this machine, real processes, real signals; the job is a process of its own. Every
case of `CASES` ends with the same checks: each clip has ended once, with the expected outcome; nothing that was
committed before the fault was touched; no more clips were begun again than were in flight on what died; files are what
records say; index, failures and report are of what the ledger holds; no actor, process, placement group or unreferenced
object is left. Stores that are out and signals at every moment have their own (`support/outage_scene.py`,
`support/signal_scene.py`), and so have comparisons (`support/compare_scene.py`).
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import ray
from support.chaos_scene import (
    GANG,
    Scene,
    a_clip_is_committed,
    a_rank_exists,
    a_video_is_being_encoded,
    at_once,
    both_nodes_have_committed,
    cluster_of,
    every_clip_is_committed,
    kill_cluster_and_run_on_another,
    kill_driver_and_run_again,
    kill_leader,
    kill_node,
    kill_only_node_and_add_another,
    kill_rank,
    nothing,
    our_processes,
    put_driver_to_sleep_until_another_has_taken_over,
    run_a_second_job_beside,
    spoil_a_record_and_a_video_between_two_jobs,
    stop_rank,
)
from support.compare_scene import CASES as COMPARISONS
from support.compare_scene import Broken, run_broken
from support.held_scene import (
    check_that_holds,
    it_holds,
    kill_driver_whose_leader_asks,
    kill_leader_that_asks,
    kill_rank_that_checks,
    refiner_that_holds,
)
from support.job_runs import actor_pids, identity, records, write_manifest
from support.outage_scene import Outage, kill_again_and_again, run_outage
from support.signal_scene import MOMENTS, Stop, run_stop
from support.signal_scene import STOPS as SIGNALS
from support.spare_scene import (
    DEAD,
    HANGS,
    TAKEN,
    WITH_SPARES,
    kill_driver_meanwhile,
    kill_leader_meanwhile,
    kill_other_spare,
    kill_spare_then_rank,
    kill_spare_while_it_loads,
    kill_working_rank,
    spares_wait,
    stop_driver_meanwhile,
    stop_spare_then_kill_rank,
    take_node_away_meanwhile,
)
from support.waiting import PATIENCE_S, wait_for

from cosmos_ray.ledger.layout import ATTEMPTS, CLIPS, PREVIEWS
from cosmos_ray.ledger.tidy import clean, files_of
from cosmos_ray.output.derived import stale
from cosmos_ray.output.status import read_status
from cosmos_ray.store.storage import Storage

CLIPS_IN_FLIGHT = 3
#: What is promised of a job that is told to stop.
STOPS_WITHIN_S = 5.0
#: What a job says when it has noticed.
NOTICED = (
    " broke: ", "FAILED", "is silent: taking over", "has ended: taking over", "taken over", "living job",
    "no commit record",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """fault: done once `moment` has come. nodes: of the cluster, beside a head without CPUs. redone: how many attempts
    there may be beyond one a clip. outcome: of the clip `bad`, if it is not to end ok. deadline_s: of a clip, long but
    where it is what finds the fault. around: what is there while it runs, and the settings that it takes, beside
    `settings`. says: what the job has said at its end.
    """

    name: str
    moment: Callable[[Scene], object]
    fault: Callable[[Scene], None]
    nodes: int = 1
    model: str = "fake"
    prompts: tuple[str, ...] = ("a road [seconds=1]",) * 6
    bad: str | None = None
    outcome: str | None = None
    redone: int = CLIPS_IN_FLIGHT
    deadline_s: float = 600.0
    around: Callable[[Path], AbstractContextManager[Mapping[str, str]]] = lambda folder: nullcontext({})
    settings: Mapping[str, str] = field(default_factory=dict)
    says: str = ""


# --- the table -------------------------------------------------------------------------------------------------------

KILLED_ONCE = ("a road [seconds=1]", "a road [{}]", *("a road [seconds=1]",) * 4)


def _within(fault: str) -> tuple[str, ...]:
    return tuple(prompt.format(fault) for prompt in KILLED_ONCE)


CASES = (
    Case("rank killed before it loads", a_rank_exists, kill_rank, redone=0),
    Case("rank killed while it loads", a_rank_exists, lambda scene: (time.sleep(1.5), kill_rank(scene))[1],
         model="tiny", prompts=("A clear day on a city street.",) * 2, redone=0),
    Case("rank killed while embedding", at_once, nothing, prompts=_within("die at=embed attempt=1")),
    Case("rank killed in mid-step", a_clip_is_committed, kill_rank),
    Case("rank killed while decoding", at_once, nothing, prompts=_within("die at=decode attempt=1")),
    Case("rank killed while encoding", a_video_is_being_encoded, kill_rank),
    Case("rank hangs (SIGSTOP)", a_clip_is_committed, stop_rank, deadline_s=12),
    Case("rank out of memory", at_once, nothing, prompts=_within("oom rank=1 attempt=1")),
    Case("rank out of memory each time", at_once, nothing, prompts=_within("oom rank=1"), bad="r1", outcome="oom",
         redone=2 * CLIPS_IN_FLIGHT),
    Case("latents are NaN", at_once, nothing, prompts=_within("nan"), bad="r1", outcome="model", redone=0),
    Case("a row that kills its gang each time", at_once, nothing, prompts=_within("die"), bad="r1", outcome="gang",
         redone=2 * CLIPS_IN_FLIGHT),
    Case("leader killed", a_clip_is_committed, kill_leader),
    Case("leader killed, another gang goes on", both_nodes_have_committed, kill_leader, nodes=2,
         prompts=("a road [seconds=1]",) * 12),
    Case("node killed, another to go to", both_nodes_have_committed, kill_node, nodes=2,
         prompts=("a road [seconds=1]",) * 12),
    Case("node killed, another comes later", a_clip_is_committed, kill_only_node_and_add_another),
    Case("driver killed", a_clip_is_committed, kill_driver_and_run_again),
    Case("driver killed between its last commit and the index", every_clip_is_committed, kill_driver_and_run_again,
         redone=0),
    Case("whole cluster killed, job run on another", a_clip_is_committed, kill_cluster_and_run_on_another),
    Case("second job on the output of a living one", a_clip_is_committed, run_a_second_job_beside, redone=0),
    Case("first job wakes after it was declared dead", a_clip_is_committed,
         put_driver_to_sleep_until_another_has_taken_over),
    Case("record and video spoilt between two jobs", at_once, spoil_a_record_and_a_video_between_two_jobs, redone=2),
)  # fmt: skip


SPARES = tuple(
    Case(name, spares_wait, fault, settings=WITH_SPARES, says=says)
    for name, fault, says in (
        ("a spare takes the place of a rank that is killed", kill_working_rank, TAKEN),
        ("a spare killed while it waits, then a rank", kill_spare_then_rank, DEAD),
        ("a spare hangs while it waits, then a rank dies", stop_spare_then_kill_rank, HANGS),
        ("a spare killed while spares join", kill_other_spare, DEAD),
        ("leader killed while spares join", kill_leader_meanwhile, DEAD),
        ("driver killed while spares join", kill_driver_meanwhile, ""),
        ("SIGTERM while spares join", stop_driver_meanwhile, ""),
        ("node gone while spares join", take_node_away_meanwhile, ""),
    )
)
SPARES += (
    Case("a spare killed while spares load", spares_wait, kill_spare_while_it_loads, settings=WITH_SPARES, model="tiny",
         redone=2 * CLIPS_IN_FLIGHT,  # it may be up already, with other clips
         prompts=("A clear day on a city street.",) * 6),
)  # fmt: skip
HELD = (
    Case("rank killed while it checks a caption", it_holds, kill_rank_that_checks,
         around=partial(check_that_holds, kind="Text")),
    Case("rank killed while it checks a view", it_holds, kill_rank_that_checks,
         around=partial(check_that_holds, kind="Video")),
    Case("leader killed while a refiner is asked", it_holds, kill_leader_that_asks, around=refiner_that_holds),
    Case("driver killed while a refiner is asked", it_holds, kill_driver_whose_leader_asks, around=refiner_that_holds),
)  # fmt: skip
OUT_AT = ("video", "verify", "sidecar", "record", "everything")
OUTAGES = (
    *(Outage(step, seconds) for seconds in (5, 20, 300) for step in OUT_AT),
    Outage("everything", 20, "drop"),
    Outage("video", 20, then="driver"),
    Outage("record", 20, then="rank"),
    Outage("everything", 1e6, "late"),
)
STOPS = tuple(Stop(moment, stop) for moment in MOMENTS for stop in SIGNALS)
# --- running and checking --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """noticed_s: from the fault until the job says so, 0 if it says nothing; recovery_s: until the next commit, or the
    end of a job that is told to stop; redone: attempts beyond one a clip; also: what else was measured."""

    noticed_s: float
    recovery_s: float
    redone: int
    also: str = ""


def run_case(case: Case, folder: Path) -> Result:
    """Raises AssertionError, with the job's log, if anything does not hold."""
    with case.around(folder) as settings:
        return _run_case(case, folder, {**case.settings, **settings})


def _run_case(case: Case, folder: Path, settings: Mapping[str, str]) -> Result:
    rows = [{"id": f"r{number}", "prompt": prompt} for number, prompt in enumerate(case.prompts)]
    manifest = write_manifest(folder / "m.parquet", rows)
    cluster, nodes = cluster_of(case.nodes)
    scene = Scene(folder, cluster, nodes, _command(case, manifest, folder / "out", settings))
    try:
        scene.start_job()
        wait_for(lambda: case.moment(scene), "the moment of the fault")
        before = _committed(scene) if case.fault is not spoil_a_record_and_a_video_between_two_jobs else {}
        began, done, said = time.monotonic(), scene.settled(), scene.log()
        case.fault(scene)
        noticed_s = recovery_s = 0.0
        while not recovery_s:
            passed = time.monotonic() - began
            assert passed < PATIENCE_S, "no commit after the fault"
            if not noticed_s and any(words in scene.log()[len(said) :] for words in NOTICED):
                noticed_s = passed
            if scene.settled() > done or scene.jobs[-1].poll() is not None:
                recovery_s = passed
            time.sleep(0.05)
        code = scene.jobs[-1].wait(PATIENCE_S)
        for job in scene.jobs[:-1]:
            job.wait(PATIENCE_S)
        assert code == 0, f"exit code {code}"
        assert case.says in scene.log(), f"it has not said: {case.says}"
        return Result(noticed_s, recovery_s, _check(case, scene, before))
    except AssertionError as error:
        raise AssertionError(f"{case.name}: {error}\n{scene.log()[-6000:]}") from error
    finally:
        for job in scene.jobs:
            job.kill()
            job.wait()
        ray.shutdown()
        scene.cluster.shutdown()


def _command(case: Case, manifest: str, output: Path, more: Mapping[str, str]) -> list[str]:
    settings = {
        "device": "cpu",
        "lease.beat_s": 0.5,
        "lease.life_s": 4,
        "breaker.max_pause_s": 0.5,
        "gang.deadline_first_s": case.deadline_s,
        "gang.deadline_min_s": case.deadline_s,
        "sampling.num_steps": 2,
        **more,
    }
    flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    names = ["--manifest", manifest, "--output", str(output), "--model", case.model, "--gang-size", str(GANG)]
    gangs = ["--gangs", f"{case.nodes}:{case.nodes}", "--max-failed", "1"]
    return [sys.executable, "-m", "cosmos_ray", "generate", *names, *gangs, *flags]


def _committed(scene: Scene) -> dict[str, tuple[int, int]]:
    """Identities of all files that records refer to."""
    if not scene.output.exists():
        return {}
    paths = [path for one in records(scene.output).values() for path in files_of(one)]
    return {path: identity(scene.output / path) for path in paths}


def _check(case: Case, scene: Scene, before: dict[str, tuple[int, int]]) -> int:
    """What must hold after every case; the number of attempts beyond one a clip."""
    storage = Storage(str(scene.output))
    found: dict[str, str] = {}
    for one in sorted(_newest(scene), key=lambda one: one.id):
        found[one.id] = one.status if one.status == "ok" else str(one.failure_class)
    expected = {f"r{number}": "ok" for number in range(len(case.prompts))}
    if case.bad is not None:
        expected[case.bad] = str(case.outcome)
    assert found == expected, found
    for path, known in before.items():
        assert identity(scene.output / path) == known, f"{path} was committed and has been written again"
    _check_newest_files(scene)
    redone = len(list(storage.list(ATTEMPTS))) - len(case.prompts)
    assert redone <= case.redone, f"{redone} attempts beyond one a clip, expected at most {case.redone}"
    wait_for(lambda: not actor_pids("GangLeader") and not actor_pids("Rank"), "all gang actors to be gone")
    wait_for(lambda: not [title for title in our_processes() if _is_of_a_gang(title)], "processes to be gone")
    assert not [one for one in ray.util.placement_group_table().values() if one["state"] != "REMOVED"]
    clean(storage)
    referred = {path for one in _newest(scene) for path in files_of(one)}
    there = {path for folder in (CLIPS, PREVIEWS) for path in storage.list(folder)}
    assert there == referred, "unreferenced objects are left"
    assert not list(scene.output.rglob(".tmp-*"))
    assert not stale(storage, *read_status(storage.uri)[1:]), "index, failures or report are of another state"
    return redone


def _newest(scene: Scene) -> list:
    from cosmos_ray.ledger.ledger import Ledger
    from cosmos_ray.ledger.record import Record

    newest: dict[str, Record] = {}
    for one in Ledger(Storage(str(scene.output))).records():
        if one.id not in newest or one.generation > newest[one.id].generation:
            newest[one.id] = one
    return list(newest.values())


def _check_newest_files(scene: Scene) -> None:
    from cosmos_ray.ledger.tidy import damaged

    assert not list(damaged(Storage(str(scene.output))))


def _is_of_a_gang(title: str) -> bool:
    return title.startswith(("ray::GangLeader", "ray::Rank")) or "libx264" in title


def _outage(outage: Outage, folder: Path) -> Result:
    cost = run_outage(outage, folder)
    lost = "" if outage.then else f", {cost.lost_s:.2f} s of the gang lost"
    return Result(0.0, cost.recovery_s, cost.redone, lost)


def _loop(folder: Path) -> Result:
    cost = kill_again_and_again(folder)
    return Result(0.0, cost.recovery_s, cost.redone, ", recovery: of the last run, whole")


def _comparison(broken: Broken, folder: Path) -> Result:
    return Result(0.0, run_broken(broken, folder), 0, ", recovery: its end; the same command made the rest")


def _stop(stop: Stop, folder: Path) -> Result:
    took = run_stop(stop, folder)
    assert took < STOPS_WITHIN_S, f"it took {took:.1f} s, expected less than {STOPS_WITHIN_S:.0f} s"
    return Result(0.0, took, 0)


def table() -> dict[str, Callable[[Path], Result]]:
    """Every case by its name."""
    cases = {case.name: partial(run_case, case) for case in (*CASES, *SPARES, *HELD)}
    outages = {outage.name: partial(_outage, outage) for outage in OUTAGES}
    loop = {"driver killed four times, output in a bucket": _loop}
    loop |= {broken.name: partial(_comparison, broken) for broken in COMPARISONS}
    return {**cases, **outages, **loop, **{stop.name: partial(_stop, stop) for stop in STOPS}}


def main(words: list[str]) -> int:
    failed = 0
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # a killed node's last words, at length
    print(f"{'fault':48} {'noticed':>10} {'recovery':>10} {'redone':>7}  verdict", flush=True)
    for name, run in table().items():
        if words and not any(word in name for word in words):
            continue
        with tempfile.TemporaryDirectory(prefix="cosmos-ray-chaos-") as folder:
            try:
                result = run(Path(folder))
                times = f"{result.noticed_s:8.1f} s {result.recovery_s:8.1f} s"
                print(f"{name:48} {times} {result.redone:7}  held{result.also}", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"{name:48} {'':>10} {'':>10} {'':>7}  FAILED\n{error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
