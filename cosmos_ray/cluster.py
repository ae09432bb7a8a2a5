"""The Ray cluster a job runs on: connect to it, or start one on this machine, and see what gangs it can hold."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator

import ray
import ray._private.state

from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import Bundle, fitting_world_sizes

#: Below this many parameters' worth of channels x blocks, a model is small enough for CPUs.
_SMALL_MODEL = 512 * 12


@contextlib.contextmanager
def connect(bundle: Bundle, config: GenerateConfig, say: Callable[[str], None]) -> Iterator[tuple[str, int]]:
    """(device, gang size) on the cluster of RAY_ADDRESS or of this machine, or on a Ray started here for this job."""
    ours = not ray.is_initialized()
    if ours:
        _initialise(config)
    try:
        device = _device(bundle, config)
        yield device, config.gang_size or _gang_size(bundle, device)
    finally:
        if ours:
            ray.shutdown()


def _initialise(config: GenerateConfig) -> None:
    options = {"log_to_driver": False, "logging_level": logging.WARNING, "include_dashboard": False}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**{**options, "include_dashboard": None})
        return
    # Gangs of CPU ranks ask for a CPU a rank; on a small machine they share them.
    cpus = max(os.cpu_count() or 1, (config.gang_size or 1) * config.max_gangs)
    ray.init(address="local", num_cpus=cpus, **options)


def _most(resource: str) -> int:
    """The most of a resource that one node has."""
    return max((int(node["Resources"].get(resource, 0)) for node in ray.nodes() if node["Alive"]), default=0)


def nodes_with(resource: str, amount: int) -> list[str]:
    """Living nodes that have so much of it in all: a head without GPUs, say, is none for gangs."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(resource, 0) >= amount]


def what_nodes_have(resource: str) -> str:
    """For a person who waits for a node with more of it."""
    amounts = sorted((int(node["Resources"].get(resource, 0)) for node in ray.nodes() if node["Alive"]), reverse=True)
    return f"the cluster's nodes have {', '.join(map(str, amounts)) or 'none'} in all"


def draining_nodes() -> dict[str, float]:
    """Nodes that are about to go (`ray drain-node`, a spot notice, scale-down) and when: seconds since 1970, 0 if open.

    Ray itself places nothing on them any more; what runs there is ended at that time. There is no public way to ask.
    """
    found: dict[str, int] = ray._private.state.state.get_draining_nodes()
    return {node: deadline_ms / 1000 for node, deadline_ms in found.items()}


def _device(bundle: Bundle, config: GenerateConfig) -> str:
    if config.device != "auto":
        return config.device
    if _most("GPU"):
        return "cuda"
    if bundle.network.model_channels * bundle.network.num_blocks <= _SMALL_MODEL:
        return "cpu"
    if config.gang_size is None:
        raise UsageError(
            f"the cluster has no GPU now and {bundle.name} is no model for CPUs: give --gang-size to wait for nodes "
            "that are scaled up, or --set device=cpu"
        )
    return "cuda"


def _gang_size(bundle: Bundle, device: str) -> int:
    """The largest gang that fits a node and the model."""
    room = _most("GPU") if device == "cuda" else 1
    if room == 0:
        raise UsageError("no node has a GPU: give --gang-size to wait for nodes that are scaled up")
    return max(fitting_world_sizes(bundle.network.num_heads, bundle.tokens_per_view, limit=room))
