"""Faults that need more than one node or more than one driver, on real Ray clusters and real processes.

* A node that dies takes no clip with it; the other node's gang goes on.
* A node that breaks gangs is avoided.
* A driver killed with SIGKILL: the same command, at once, sees that it is dead and goes on.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster
from support.job_runs import (
    SMALL,
    BackgroundJob,
    actor_pids,
    assert_no_actors_left,
    check_files,
    identity,
    records,
    write_manifest,
)
from support.waiting import PATIENCE_S, wait_for

from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.output.status import read_status
from cosmos_ray.store.storage import Storage
from cosmos_ray.words import node_name

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_node_that_dies_takes_no_clip_with_it(cluster: Cluster, tmp_path: Path) -> None:
    """It hangs in its first clip when it dies, and holds what waits behind it; the other makes the rest meanwhile."""
    nodes = {node.node_id: node for node in (cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1))}
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [hang attempt=1]" if n == 0 else "a road"} for n in range(8)]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    job = BackgroundJob(manifest, output, gangs="2:2", gang_size=1)
    wait_for(lambda: output.exists() and len(records(output)) >= 5, "all clips but those in flight on one node")
    before = records(output)
    gang = (output / "_cosmos_ray/attempts/r0.1").read_text().split("/")[1]
    doomed = _owner(output)["gangs"][gang]
    (living,) = nodes.keys() - {doomed}
    cluster.remove_node(nodes[doomed], allow_graceful=False)
    summary = job.result()
    assert (summary.ok, summary.failed) == (8, 0)
    found = records(output)
    assert {clip: found[clip] for clip in before} == before
    assert {one.node for clip, one in found.items() if clip not in before} == {living}
    redone = {clip for clip, one in found.items() if one.attempt > 1}
    assert "r0" in redone
    assert len(redone) <= 3, "more than the clips in flight redone"
    check_files(output)
    assert_no_actors_left()


@pytest.mark.long
def test_a_node_that_breaks_gangs_is_avoided(cluster: Cluster, tmp_path: Path) -> None:
    """Two deaths in a row on the only node: a node added during the second life gets the third gang."""
    cluster.add_node(num_cpus=2)
    rows = [{**SMALL, "id": "breaker", "prompt": "a road [die attempt=1] [hang attempt=2]"}]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    job = BackgroundJob(manifest, tmp_path / "out", gang={"deadline_min_s": 1800})
    wait_for(lambda: list((tmp_path / "out").glob("_cosmos_ray/attempts/breaker.2")), "a second attempt")
    cluster.add_node(num_cpus=2)
    os.kill(actor_pids("Rank")[0], signal.SIGKILL)

    (avoided,) = wait_for(lambda: _owner(tmp_path / "out").get("avoided_nodes"), "the avoided node in the status")
    summary = job.result()
    assert (summary.ok, summary.failed) == (1, 0)
    assert any("avoided while there are others" in line for line in job.said)
    nodes = [found[1] for line in job.said if (found := re.search(r"is up: .* on node (\w+)", line))]
    assert nodes[2] != nodes[0] == nodes[1] == node_name(avoided)


def _owner(output: Path) -> dict[str, Any]:
    """What the running job says of itself, as `status` shows it."""
    owner = read_status(str(output))[0].owner
    return owner.job if owner else {}


def _command(manifest: str, output: Path) -> list[str]:
    settings = ["device=cpu", "lease.beat_s=0.5", "lease.life_s=3"]
    flags = [part for setting in settings for part in ("--set", setting)]
    names = ["--manifest", manifest, "--output", str(output), "--model", "fake", "--gang-size", "1"]
    return [sys.executable, "-m", "cosmos_ray", "generate", *names, *flags]


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """start(command, environment): a job of its own process, which ends with the test."""
    jobs: list[subprocess.Popen[str]] = []

    def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        jobs.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()
        job.wait()


@pytest.fixture(params=["on a cluster", pytest.param("alone", marks=pytest.mark.long)])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """Of a job on a cluster, or of one that starts a Ray of its own, which dies with it."""
    alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    if request.param == "alone":
        return alone
    cluster = request.getfixturevalue("cluster")
    cluster.add_node(num_cpus=2)
    return {**alone, "RAY_ADDRESS": cluster.address}


def test_a_killed_driver_is_resumed_by_the_same_command(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    """SIGKILL half way, the same command at once: the dead owner's lease is taken, and every row ends once."""
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [hang attempt=1]" if n == 6 else "a road"} for n in range(7)]
    rows.append({**SMALL, "id": "bad", "prompt": "a road", "num_conditional_frames": 1})
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    first = start(_command(manifest, output), environment)
    wait_for(lambda: first.poll() or (output / "_cosmos_ray/attempts/r6.1").exists(), "the one that hangs")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = {clip: one for clip, one in records(output).items() if one.status == "ok"}
    times = {entry.path: identity(output / entry.path) for one in before.values() for entry in one.files}
    assert 4 <= len(before) < 7, "three clips are in flight"

    second = start(_command(manifest, output), environment)
    _, said = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 3, said  # one of eight failed: more than the default 5 %
    assert "watching it" not in said
    assert "a process of this machine that has ended: taking over" in said
    found = records(output)
    assert {clip: one.status for clip, one in found.items()} == {"bad": "failed", **{f"r{n}": "ok" for n in range(7)}}
    assert {one.epoch for one in found.values()} == {1, 2}
    for clip, one in before.items():
        assert found[clip] == one, "a committed clip was made again"
    assert all(identity(output / path) == known for path, known in times.items()), "a committed file was rewritten"
    check_files(output)


def test_a_job_that_is_told_to_stop_leaves_at_once_and_says_how_to_go_on(
    start: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    """SIGTERM, as `ray job stop` sends it: exit 1, the lease is released, the next job need not wait.

    There are more rows than were read by then: the end of Ray Data's stream must not start another Ray.
    """
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=0.7]"} for n in range(60)]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    job = start(_command(manifest, output), environment)
    wait_for(lambda: job.poll() or list(output.glob("_cosmos_ray/ledger/*/*.json")), "a first clip")
    job.send_signal(signal.SIGTERM)
    _, said = job.communicate(timeout=PATIENCE_S)
    assert job.returncode == 1
    assert "stopped by SIGTERM; the same command goes on from here" in said
    assert {one.status for one in records(output).values()} == {"ok"}
    in_the_middle = set(re.findall(r"(r\d+) \(attempt 1\)", said))
    assert in_the_middle, said
    assert in_the_middle.isdisjoint(records(output)), "said to be unfinished, and committed"
    watched: list[str] = []
    acquire(Storage(str(output)), LeaseTimes(1.0, PATIENCE_S), say=watched.append).release()
    assert not watched, "the lease was not released"
