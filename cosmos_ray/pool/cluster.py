"""The Ray cluster a job runs on: connect to it, or start one on this machine, and see what gangs it can hold."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import ray
import ray._private.state
import ray._private.worker
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.autoscaler_pb2 import AutoscalingState, GetClusterStatusReply
from ray.exceptions import RpcError

from cosmos_ray import signals
from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError, first_line
from cosmos_ray.models.bundle.bundle import Bundle, fitting_world_sizes
from cosmos_ray.models.bundle.memory import runs_on_cpus
from cosmos_ray.pool import closed_ray, joining, own_ray, ray_words
from cosmos_ray.pool.health import JobFailedError
from cosmos_ray.pool.stop import goes_on
from cosmos_ray.words import counted


@contextlib.contextmanager
def connect(bundle: Bundle, config: GenerateConfig) -> Iterator[tuple[str, int]]:
    """(device, gang size) on the cluster of RAY_ADDRESS or of this machine, or on a Ray started here for this job."""
    ours = not ray.is_initialized()
    if ours:
        _initialise(config)
    is_done = False
    try:
        device = _device(bundle, config)
        size = config.gang_size or _gang_size(bundle, device)
        if device == "cuda" and own_ray.is_there():
            _check_own_gpus(size)
        yield device, size
        is_done = True
    finally:
        if ours:
            _leave(is_done)


def _leave(is_done: bool) -> None:
    """After a signal a Ray of our own is not asked to shut down but killed: its agents may have got the signal too, and
    Ray ends the process that asks a dead one, without a word. It also may once it sees its own killed: the last word of
    a command that is not done (is_done) comes before."""
    why = signals.reason() if own_ray.is_there() else ""
    try:
        if not why:
            with _nothing_collected(), _signals_heard():
                ray.shutdown()
        elif not is_done:
            signals.complain(goes_on(why))
    finally:
        own_ray.end_what_is_left()
        closed_ray.reopen()
        signals.take_again()


@contextlib.contextmanager
def _signals_heard() -> Iterator[None]:
    """Ray's core puts the system's own answer to SIGTERM back when it ends. A second goes by then until Ray's processes
    are gone, in which a signal would end this process without a word: ours is in place again before they are ended."""
    if (node := ray._private.worker._global_node) is not None:
        end_processes = node.kill_all_processes

        def heard(*args: Any, **options: Any) -> None:
            signals.take_again()
            end_processes(*args, **options)

        node.kill_all_processes = heard
    yield


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """Index and report are written in another thread while Ray ends. Were Python to look for garbage there, it might
    free references to Ray's objects (of tasks and errors that refer to each other) into a Ray that is half gone."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _initialise(config: GenerateConfig) -> None:
    """Raises JobFailedError, or UsageError of an address that can be none, with nothing of Ray left behind."""
    try:
        _start_or_join(config)
    except BaseException as error:
        with contextlib.suppress(Exception):
            _leave(is_done=False)
        if isinstance(error, SystemExit):  # what Ray makes of SIGTERM while it starts
            raise signals.Interrupted(signals.reason() or "stopped by SIGTERM") from None
        if not isinstance(error, Exception) or isinstance(error, UsageError):
            raise
        raise JobFailedError(_why_not(error)) from error
    finally:
        signals.take_again()


def _why_not(error: Exception) -> str:
    """Why there is no Ray, and what to do."""
    if "RAY_ADDRESS" in os.environ:
        return joining.why_not(os.environ["RAY_ADDRESS"], error)
    said = f"{type(error).__name__}: {first_line(error)}"
    where = os.environ.get("RAY_TMPDIR", tempfile.gettempdir())
    return (
        f"Ray did not start on this machine: {said}. It needs room in {where} (RAY_TMPDIR names another folder, with a "
        f"short name), memory, and free processes; what it wrote is below {where}. The same "
        "command goes on from here"
    )


def _start_or_join(config: GenerateConfig) -> None:
    ray_words.shorten()
    options = {"log_to_driver": False, "logging_level": logging.WARNING}
    if "RAY_ADDRESS" in os.environ:
        joining.be_let_in(os.environ["RAY_ADDRESS"])
        ray.init(**options)
        return
    # Gangs of CPU ranks ask for a CPU a rank; on a small machine they share them.
    cpus = max(os.cpu_count() or 1, (config.gang_size or 1) * config.max_gangs)
    own_ray.mark()
    with own_ray.in_groups_of_their_own():
        ray.init(address="local", num_cpus=cpus, **options, **closed_ray.close())


def nodes_with(resource: str, amount: int) -> list[str]:
    """Living nodes that have so much of it in all: a head without GPUs, say, is none for gangs."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(resource, 0) >= amount]


def _amounts(resource: str) -> list[int]:
    """How much of a resource each living node has that has any, most first."""
    found = (int(node["Resources"].get(resource, 0)) for node in ray.nodes() if node["Alive"])
    return sorted((amount for amount in found if amount), reverse=True)


def what_is_on_offer(resource: str, amount: int) -> str:
    """What nodes have, and what the autoscaler makes of a demand for so much on one node. For a person who waits."""
    nodes = ", ".join(map(str, _amounts(resource))) or "none"
    return f"the cluster's nodes have {nodes} in all; {_what_the_autoscaler_does(resource, amount)}"


def _what_the_autoscaler_does(resource: str, amount: int) -> str:
    reply = GetClusterStatusReply()
    try:
        client = GcsClient(ray.get_runtime_context().gcs_address)
        reply.ParseFromString(client.get_cluster_status(timeout_s=10))
    except RpcError as error:
        return f"its autoscaler's state cannot be read ({error})"
    state: AutoscalingState = reply.autoscaling_state
    if not state.autoscaler_state_version:
        return "no autoscaler (v2) reports to it"
    if any(demand.resources_bundle.get(resource) == amount for demand in state.infeasible_resource_requests):
        return "its autoscaler cannot start a node with so many, or no more of them"
    said = [f"its autoscaler starts {one.count} x {one.ray_node_type_name}" for one in state.pending_instance_requests]
    said += [f"{one.ray_node_type_name} is starting" for one in state.pending_instances]
    said += [f"{one.ray_node_type_name} could not be started: {one.reason}" for one in state.failed_instance_requests]
    return ", ".join(dict.fromkeys(said)) or "its autoscaler starts none at the moment"


def draining_nodes() -> dict[str, float]:
    """Nodes that are about to go (`ray drain-node`, a spot notice, scale-down) and when: seconds since 1970, 0 if open.

    Ray itself places nothing on them any more; what runs there is ended at that time. There is no public way to ask.
    """
    found: dict[str, int] = ray._private.state.state.get_draining_nodes()
    return {node: deadline_ms / 1000 for node, deadline_ms in found.items()}


def _device(bundle: Bundle, config: GenerateConfig) -> str:
    if config.device != "auto":
        return config.device
    if _amounts("GPU"):
        return "cuda"
    if runs_on_cpus(bundle):
        return "cpu"
    if config.gang_size is None:
        if own_ray.is_there():
            _check_own_gpus(1)
        raise UsageError(
            f"the cluster has no GPU now and {bundle.name} is no model for CPUs: give --gang-size to wait for nodes "
            "that are scaled up, or --set device=cpu"
        )
    return "cuda"


def _check_own_gpus(gang_size: int) -> None:
    """To a Ray that was started here no node comes: waiting for more GPUs than this machine has would be in vain."""
    here = max(_amounts("GPU"), default=0)
    if here < gang_size:
        ways = ["a smaller --gang-size"] * (here > 0) + ["RAY_ADDRESS of a cluster that has them"]
        raise UsageError(
            f"this machine has {counted(here, 'GPU')}, expected {gang_size} for a gang: {', '.join(ways)}, or a small "
            "model on CPUs (--model tiny --set device=cpu)"
        )


def _gang_size(bundle: Bundle, device: str) -> int:
    """The largest gang that fits the model and every node with GPUs, so that none of them is left out."""
    room = min(_amounts("GPU"), default=0) if device == "cuda" else 1
    if room == 0:
        raise UsageError("no node has a GPU: give --gang-size to wait for nodes that are scaled up")
    return max(fitting_world_sizes(bundle.network.num_heads, bundle.tokens_per_view, limit=room))
