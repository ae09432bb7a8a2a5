"""Several gangs on a node, and nodes of several sizes. The GPUs are Ray's to count, and are not there.

* A gang is on one node, and has its GPUs for itself.
* Without --gang-size, gangs fit every node, so that none is left out.
* A node that dies with several gangs costs their clips an attempt each; one that is drained sends all of them away.
* A node that dies is one fault of the job, though Ray goes on placing gangs there until it has noticed.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from pathlib import Path

import pytest
from ray._private.state import actors
from ray.cluster_utils import Cluster
from support.job_runs import (
    SMALL,
    BackgroundJob,
    assert_no_actors_left,
    check_files,
    drain,
    records,
    write_manifest,
)
from support.waiting import wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def living_ranks() -> dict[str, list[int]]:
    """Processes of ranks, by node."""
    found = defaultdict(list)
    for actor in actors().values():
        if actor["ActorClassName"] == "Rank" and actor["State"] == "ALIVE":
            found[actor["Address"]["NodeID"]].append(actor["Pid"])
    return found


def visible_gpus(pid: int) -> str:
    environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.partition("=")[::2] for entry in environment)["CUDA_VISIBLE_DEVICES"]


@pytest.mark.long
@pytest.mark.parametrize(("large", "small"), [(2, 1), (8, 4)])
def test_one_gang_size_fits_nodes_of_two_sizes(cluster: Cluster, tmp_path: Path, large: int, small: int) -> None:
    """Two gangs on the large node, one on the small one. The large one dies, and its clips are made on the other."""
    doomed = cluster.add_node(num_cpus=0, num_gpus=large)
    cluster.add_node(num_cpus=0, num_gpus=small)
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [hang attempt=1]"} for n in range(3)]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    settings = {"device": "cuda", "gang_size": None, "gangs": "3:3", "gang": {"clips_in_flight": 1}}
    job = BackgroundJob(manifest, output, **settings)
    wait_for(lambda: len(list(output.glob("_cosmos_ray/attempts/*"))) == 3, "three gangs with a clip each")
    assert any(f"gangs of {small} on cuda" in line for line in job.said)
    on_small, on_large = sorted(living_ranks().values(), key=len)
    assert sorted(map(visible_gpus, on_small)) == [str(gpu) for gpu in range(small)]
    assert sorted(map(visible_gpus, on_large)) == [str(gpu) for gpu in range(large)]

    cluster.remove_node(doomed, allow_graceful=False)
    wait_for(lambda: sum("broke" in line for line in job.said) == 2, "both of its gangs to be given up")
    os.kill(on_small[0], signal.SIGKILL)  # the third gang hangs as well
    assert (job.result().ok, job.result().failed) == (3, 0)
    assert {one.attempt for one in records(output).values()} == {2}
    check_files(output)
    assert_no_actors_left()


@pytest.mark.long
def test_a_dead_node_is_one_fault_though_a_gang_is_sent_there_once_more(cluster: Cluster, tmp_path: Path) -> None:
    """It has room for a second gang. A second fault would end the job."""
    doomed = cluster.add_node(num_cpus=0, num_gpus=2)
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=1]"} for n in range(4)]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    breaker = {"max_consecutive_faults": 2, "max_pause_s": 0.2}
    job = BackgroundJob(manifest, output, device="cuda", gang_size=1, breaker=breaker)
    wait_for(lambda: living_ranks() and list(output.glob("_cosmos_ray/attempts/*")), "a gang with a clip")
    os.kill(doomed.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    wait_for(lambda: any(line.endswith("did not start: its node died") for line in job.said), "Ray to notice")
    cluster.add_node(num_cpus=0, num_gpus=1)
    assert job.result().ok == len(rows)
    assert sum("broke" in line for line in job.said) == 1
    check_files(output)


@pytest.mark.long
def test_a_drained_node_sends_all_its_gangs_away(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=0, num_gpus=2)
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=3]"} for n in range(8)]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    job = BackgroundJob(manifest, output, device="cuda", gang_size=1, gangs="2:2")
    wait_for(
        lambda: output.exists() and len({one.gang for one in records(output).values()}) == 2, "a clip of each gang"
    )
    (node,) = {str(one.node) for one in records(output).values()}
    cluster.add_node(num_cpus=0, num_gpus=2)
    drain(cluster.address, node, 1800)
    assert job.result().ok == 8
    assert sum("leaves: node" in line for line in job.said) == 2
    assert not any("broke" in line for line in job.said)
    assert len({one.node for one in records(output).values()}) == 2
    assert all(one.attempt == 1 for one in records(output).values() if one.node == node)
