"""What a rank finds on its machine: its gang's part of the cores, and its GPU's memory."""

from __future__ import annotations

import gc
import os
import sys
import time

import ray

_MEMORY_WAIT_S = 60.0


def cores_of_gang(resource: str, gang_size: int) -> float:
    """The gang's part of this node's cores, as it has that part of its GPUs: several gangs may share a node.

    To be asked for in numbers of threads, since Ray gives a process that asks for no CPU one.
    """
    here = ray.get_runtime_context().get_node_id()
    (total,) = (node["Resources"].get(resource, 0) for node in ray.nodes() if node["NodeID"] == here)
    return (os.cpu_count() or 1) * gang_size / max(gang_size, total)


def peak_memory(device: str) -> int:
    if device != "cuda" or "torch" not in sys.modules:  # the fake generator runs on GPUs that are not there
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated())


def wait_for_free_memory() -> None:
    """The GPU is this rank's alone; what a predecessor held may take a while to come back after its death."""
    import torch

    deadline = time.monotonic() + _MEMORY_WAIT_S
    while time.monotonic() < deadline:
        free, total = torch.cuda.mem_get_info()
        if free > 0.9 * total:
            return
        time.sleep(0.1)
        gc.collect()
    raise RuntimeError(f"GPU memory is still in use after {_MEMORY_WAIT_S:.0f} s: {free} of {total} bytes free")
