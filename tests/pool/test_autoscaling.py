"""A job on a cluster that has no node until gangs ask for one: Ray's autoscaler (v2) starts and ends real raylets here.

* Nodes come when rows wait, no more of them than gangs are worth, and go when the job has no use for them, not only
  when it ends.
* What cannot be had is said, with what the cluster and its autoscaler offer, and ends the job after a while.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from support.autoscaling import NodeType, autoscaling_cluster
from support.job_runs import SMALL, BackgroundJob, actor_pids, assert_no_actors_left, records, write_manifest
from support.waiting import wait_for

from cosmos_ray.pool.health import JobFailedError

pytestmark = [pytest.mark.ray, pytest.mark.slow]

Start = Callable[..., None]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """start(NAME=(GPUs, at most so many nodes)): a cluster of these types of nodes, and this process in it."""
    ray.shutdown()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")  # a node says that it has GPUs, and would be asked where they are
    clusters = []

    def start(**node_types: tuple[int, int]) -> None:
        types = {name: NodeType({"GPU": gpus}, most) for name, (gpus, most) in node_types.items()}
        clusters.append(autoscaling_cluster(types, idle_timeout_s=3))
        ray.init(address=clusters[0].__enter__(), log_to_driver=False)

    yield start
    ray.shutdown()
    for cluster in clusters:
        cluster.__exit__(None, None, None)


def workers() -> list[str]:
    """Nodes that are there now, beside the head."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]


def workers_ever() -> int:
    return len(ray.nodes()) - 1


def test_nodes_come_with_the_work_and_go_with_its_tail(start: Start, tmp_path: Path) -> None:
    """0 → 2 → 1 while one clip is still being made → 0. Nothing of the job's holds a node that no gang is on."""
    start(small=(1, 4))
    rows = [
        {**SMALL, "id": "last", "prompt": "a road [hang attempt=1]"},
        *({**SMALL, "id": f"r{n}", "prompt": "a road"} for n in range(3)),
    ]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    alone = {"gang_size": 1, "gang": {"clips_in_flight": 1}}
    job = BackgroundJob(manifest, output, device="cuda", gangs="1:2", **alone)
    wait_for(lambda: len(workers()) == 2, "two nodes")
    wait_for(lambda: len(records(output)) == 3, "all clips but the one that hangs")
    wait_for(lambda: len(workers()) == 1, "the node that has nothing left to do to go")
    assert job.is_running
    assert set(records(output)) == {"r0", "r1", "r2"}
    assert workers_ever() == 2
    os.kill(actor_pids("Rank")[0], signal.SIGKILL)
    assert job.result().ok == 4
    wait_for(lambda: not workers(), "the last node to go")
    # Not by nodes: the autoscaler may end the broken gang's, idle for three seconds, before the next is asked for.
    assert sum("is up: " in line for line in job.said) == 3, "one clip is worth one gang"
    assert_no_actors_left()


@pytest.mark.long
def test_four_nodes_of_eight_and_none_too_many(start: Start, tmp_path: Path) -> None:
    start(gpu8=(8, 8))
    rows = [{**SMALL, "id": f"r{n:02d}", "prompt": "a road [seconds=2]"} for n in range(24)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    summary = BackgroundJob(manifest, tmp_path / "out", device="cuda", gang_size=8, gangs="1:4").result()
    assert summary.ok == 24
    assert len({one.node for one in records(tmp_path / "out").values()}) == 4, "each that came was of use"
    wait_for(lambda: not workers(), "all nodes to go")
    assert workers_ever() == 4


@pytest.mark.long
def test_a_tail_of_two_clips_gets_two_gangs(start: Start, tmp_path: Path) -> None:
    """Four are allowed, and a minimum of three asked for."""
    start(small=(2, 4))
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=1]"} for n in range(2)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    assert BackgroundJob(manifest, tmp_path / "out", device="cuda", gangs="3:4").result().ok == 2
    assert workers_ever() == 2


@pytest.mark.long
@pytest.mark.parametrize(("gang_size", "gangs", "nodes"), [(1, 8, 1), (2, 6, 2), (4, 4, 2)])
def test_gangs_share_nodes(start: Start, tmp_path: Path, gang_size: int, gangs: int, nodes: int) -> None:
    """The autoscaler starts as many nodes as hold the gangs, not one a gang."""
    start(gpu8=(8, 4))
    rows = [{**SMALL, "id": f"r{n:02d}", "prompt": "a road [seconds=3]"} for n in range(4 * gangs)]
    manifest, settings = write_manifest(tmp_path / "m.parquet", rows), {"device": "cuda", "gang_size": gang_size}
    job = BackgroundJob(manifest, tmp_path / "out", gangs=f"{gangs}:{gangs}", **settings)
    assert job.result().ok == 4 * gangs
    assert len({one.gang for one in records(tmp_path / "out").values()}) == gangs
    assert workers_ever() == nodes


@pytest.mark.long
def test_a_gang_that_no_node_can_hold_is_said_and_ends_the_job(start: Start, tmp_path: Path) -> None:
    start(small=(2, 4))
    manifest = write_manifest(tmp_path / "m.parquet", [{**SMALL, "id": "a", "prompt": "a road"}])
    job = BackgroundJob(manifest, tmp_path / "out", device="cuda", gang_size=4, gang={"placement_timeout_s": 50})
    missing = (
        r"a gang needs 4 free GPUs on one node; the cluster's nodes have none in all; its autoscaler cannot start a "
        r"node with so many"
    )
    wait_for(lambda: any(re.search(missing, line) for line in job.said), "what is missing to be said")
    assert job.is_running
    with pytest.raises(JobFailedError, match=rf"no gang in 5\d s.*{missing}.*The same command goes on from here"):
        job.result()
    assert records(tmp_path / "out") == {}
    assert_no_actors_left()
