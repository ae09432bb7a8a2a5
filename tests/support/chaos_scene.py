"""A job on a cluster for the table of faults (`tests/chaos.py`): the scene, moments that are waited for, faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from support.cluster import PatientCluster
from support.job_runs import actor_pids, records
from support.waiting import PATIENCE_S, wait_for

#: Gangs are of two CPU ranks and nodes have two CPUs: one gang a node.
GANG = 2
#: In the environment of every process of this process's clusters.
_MARK = "COSMOS_RAY_CHAOS"
os.environ[_MARK] = uuid.uuid4().hex


@dataclass
class Scene:
    """A cluster, a job on it, and its output, as a case's fault finds them."""

    folder: Path
    cluster: Cluster
    nodes: list[object]
    command: list[str]
    jobs: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def start_job(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "RAY_ADDRESS": self.cluster.address}
        log = (self.folder / f"job-{len(self.jobs)}.log").open("w")
        self.jobs.append(subprocess.Popen(self.command, env=environment, stderr=log, stdout=log, text=True))
        return self.jobs[-1]

    def add_node(self) -> None:
        self.nodes.append(self.cluster.add_node(num_cpus=GANG))

    def settled(self) -> int:
        return len(list(self.output.glob("_cosmos_ray/ledger/*/*.json")))

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("job-*.log")))


def cluster_of(nodes: int) -> tuple[Cluster, list[object]]:
    ray.shutdown()
    cluster = PatientCluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    added = [cluster.add_node(num_cpus=GANG) for _ in range(nodes)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="WARNING")
    return cluster, added


def our_processes() -> list[str]:
    """Titles of the processes of this process's clusters, the dead and defunct ones left out."""
    alive = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_bytes().decode(errors="replace")
            ours = f"{_MARK}={os.environ[_MARK]}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        if ours:
            alive.append(title)
    return alive


# --- moments ---------------------------------------------------------------------------------------------------------


def at_once(scene: Scene) -> object:
    return True


def a_rank_exists(scene: Scene) -> object:
    return actor_pids("Rank")


def a_clip_is_committed(scene: Scene) -> object:
    return scene.settled() >= 1


def every_clip_is_committed(scene: Scene) -> object:
    """All that is left to the driver is the index, the failures and the report."""
    return scene.settled() == 6


def both_nodes_have_committed(scene: Scene) -> object:
    return scene.output.exists() and len({one.node for one in records(scene.output).values()}) == 2


def a_video_is_being_encoded(scene: Scene) -> object:
    return any("libx264" in title for title in our_processes())


# --- faults ----------------------------------------------------------------------------------------------------------


def nothing(scene: Scene) -> None:
    """The fault lies in a prompt: the fake generator does it to itself."""


def kill_rank(scene: Scene) -> None:
    os.kill(actor_pids("Rank")[-1], signal.SIGKILL)


def stop_rank(scene: Scene) -> None:
    os.kill(actor_pids("Rank")[-1], signal.SIGSTOP)


def kill_leader(scene: Scene) -> None:
    os.kill(actor_pids("GangLeader")[0], signal.SIGKILL)


def kill_node(scene: Scene) -> None:
    scene.cluster.remove_node(scene.nodes.pop(0), allow_graceful=False)


def kill_only_node_and_add_another(scene: Scene) -> None:
    kill_node(scene)
    time.sleep(3)
    scene.add_node()


def kill_driver_and_run_again(scene: Scene) -> None:
    scene.jobs[-1].kill()
    scene.jobs[-1].wait()
    scene.start_job()


def kill_cluster_and_run_on_another(scene: Scene) -> None:
    ray.shutdown()
    scene.cluster.shutdown()
    scene.jobs[-1].kill()
    scene.jobs[-1].wait()
    scene.cluster, scene.nodes = cluster_of(1)
    scene.start_job()


def put_driver_to_sleep_until_another_has_taken_over(scene: Scene) -> None:
    sleeper = scene.jobs[-1]
    sleeper.send_signal(signal.SIGSTOP)
    scene.start_job()
    scene.add_node()  # the sleeper's gang holds the first one
    wait_for((scene.output / "_cosmos_ray/lease/00000002.json").exists, "the second owner")
    sleeper.send_signal(signal.SIGCONT)


def run_a_second_job_beside(scene: Scene) -> None:
    second = scene.start_job()
    second.wait(PATIENCE_S)
    assert second.returncode == 1
    assert "living job" in scene.log()
    scene.jobs.pop()


def spoil_a_record_and_a_video_between_two_jobs(scene: Scene) -> None:
    scene.jobs[-1].wait(PATIENCE_S)
    damaged, spoilt = sorted(records(scene.output).values(), key=lambda one: one.id)[:2]
    (scene.output / spoilt.files[0].path).write_bytes(b"not the video")
    (record,) = scene.output.glob(f"_cosmos_ray/ledger/*/{damaged.id}.0.json")
    record.write_text('{"id":')
    done = subprocess.run(
        [sys.executable, "-m", "cosmos_ray", "retry", str(scene.output), "--damaged"], capture_output=True, text=True
    )
    assert "1 clip will be made again" in done.stdout, done.stdout + done.stderr
    scene.start_job()
