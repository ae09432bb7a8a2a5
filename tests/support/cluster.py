"""One Ray head for all of a test process's tests, to which they add nodes: a head costs as much as several jobs, and
something all the time that it is there."""

from __future__ import annotations

import contextlib
import functools
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import services
from ray.cluster_utils import Cluster

from support.job_runs import end_background_jobs
from support.paths import TOOLS
from support.waiting import wait_for

#: What Ray says of a node whose processes have not started within its thirty seconds: the machine is busy. Its raylet
#: has given up by then.
TOO_LATE = "timed out during startup"
TRIES = 10
#: No test looks at these.
_SPARE = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
_NO_METRICS = {"_system_config": {"enable_metrics_collection": False}}


class PatientCluster(Cluster):
    """A node that comes too late for Ray is started again. Agents of nodes are there where metrics are collected."""

    _has_agents = True

    def add_node(self, wait: bool = True, **arguments: Any) -> Any:
        if self.head_node is None:
            self._has_agents = arguments.get("_system_config") != _NO_METRICS["_system_config"]
        with contextlib.nullcontext() if self._has_agents else _without_agent():
            for _ in range(TRIES - 1):
                try:
                    return super().add_node(wait, **arguments)
                except Exception as error:
                    if TOO_LATE not in str(error):
                        raise
            return super().add_node(wait, **arguments)


@contextlib.contextmanager
def _without_agent() -> Iterator[None]:
    """Nodes that are started meanwhile have `tests/tools/no-dashboard-agent`: Ray wants an agent, whatever it does."""
    start, option = services.start_ray_process, "--dashboard_agent_command="

    @functools.wraps(start)
    def with_another_agent(command: list[str], *more: Any, **named: Any) -> Any:
        if any(word.startswith(option) for word in command):
            said = dict(word.split("=", 1) for word in command if "=" in word)
            agent = [str(TOOLS / "no-dashboard-agent"), said["--session_dir"], said["--node_id"]]
            command = [option + subprocess.list2cmdline(agent) if word.startswith(option) else word for word in command]
        return start(command, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "start_ray_process", with_another_agent)
        yield


def once_ray_has_started(scene: Callable[[Path], float], folder: Path, name: str) -> float:
    """What a scene gives that starts a Ray of its own and leaves a `log` in its folder. A busy machine may not start
    one in its thirty seconds: then the scene is played again. Raises AssertionError, with the log, if anything else
    does not hold."""
    for number in range(TRIES):
        attempt = folder / str(number)
        attempt.mkdir()
        try:
            return scene(attempt)
        except AssertionError as error:
            said = (attempt / "log").read_text()
            if TOO_LATE not in said:
                raise AssertionError(f"{name}: {error}\n{said[-6000:]}") from error
    raise AssertionError("no Ray has started")


@dataclass(frozen=True)
class SharedHead:
    """A head without CPUs and GPUs, as in production."""

    cluster: Cluster

    @contextlib.contextmanager
    def connected(self) -> Iterator[Cluster]:
        """This process is a driver on the head alone; afterwards whatever was added to it is gone."""
        with self._as_driver():
            self._remove_nodes()
            try:
                yield self.cluster
            finally:
                end_background_jobs()
                self._remove_nodes()

    @contextlib.contextmanager
    def with_a_node(self) -> Iterator[None]:
        """This process is a driver on the head and one node of four CPUs, which stays for the next that asks for it."""
        with self._as_driver():
            if not self.cluster.worker_nodes:
                self.cluster.add_node(num_cpus=4)
            try:
                yield
            finally:
                end_background_jobs()

    @contextlib.contextmanager
    def _as_driver(self) -> Iterator[None]:
        ray.shutdown()
        ray.init(address=self.cluster.address, log_to_driver=False)
        try:
            yield
        finally:
            ray.shutdown()

    def _remove_nodes(self) -> None:
        for node in list(self.cluster.worker_nodes):
            self.cluster.worker_nodes.remove(node)
            node.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)
        wait_for(lambda: sum(node["Alive"] for node in ray.nodes()) == 1, "the nodes to be gone")


@contextlib.contextmanager
def head_of_its_own(num_cpus: int, environment: Mapping[str, str]) -> Iterator[str]:
    """Address of a head for jobs whose processes need this environment beside the test's."""
    ray.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        cluster = PatientCluster(initialize_head=True, head_node_args={"num_cpus": num_cpus, **_SPARE, **_NO_METRICS})
    try:
        yield str(cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


@contextlib.contextmanager
def shared_head(metrics_port: int | None = None) -> Iterator[SharedHead]:
    """For `SharedHead.connected`. metrics_port: where Prometheus would scrape it; without one it collects none, which
    takes less of a machine the whole time."""
    reports: dict[str, Any] = _NO_METRICS
    if metrics_port is not None:
        often = {"metrics_report_interval_ms": 1000}  # not every ten seconds
        reports = {"metrics_export_port": metrics_port, "_system_config": often}
    cluster = PatientCluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, **_SPARE, **reports})
    try:
        yield SharedHead(cluster)
    finally:
        ray.shutdown()
        cluster.shutdown()
