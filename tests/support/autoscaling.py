"""A Ray cluster whose autoscaler (v2) starts and ends nodes on this machine: Ray's fake multi-node provider.

The nodes are real raylets, with the GPUs that the test says and no device behind them. Ray's own helper for this needs
a file that its wheel lacks, and stops every Ray of the machine; here each cluster has a port and an environment of its
own, and ends its own processes only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ray._private.services import get_node_ip_address
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from support.cluster import TOO_LATE, TRIES
from support.waiting import PATIENCE_S

#: In the environment of every process of a cluster.
_MARK = "COSMOS_RAY_AUTOSCALING"
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


@dataclass(frozen=True)
class NodeType:
    """Nodes that the autoscaler may start, up to so many."""

    resources: Mapping[str, float]
    max_workers: int


@contextlib.contextmanager
def autoscaling_cluster(node_types: Mapping[str, NodeType], idle_timeout_s: float) -> Iterator[str]:
    """Address of a cluster: a head without CPUs, no other node until one is asked for."""
    with socket.socket() as found:
        found.bind(("", 0))
        port = found.getsockname()[1]
    address = f"{get_node_ip_address()}:{port}"
    mark = uuid.uuid4().hex
    environment = {
        **os.environ,
        _MARK: mark,
        "RAY_AUTH_MODE": "disabled",  # as on the clusters that this process starts
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "cluster.yaml"
        config.write_text(yaml.safe_dump(_config(node_types, idle_timeout_s, address)))
        flags = ["--head", f"--port={port}", "--num-cpus=0", "--num-gpus=0", f"--autoscaling-config={config}"]
        flags += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=200000000"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *flags]
        try:
            for attempt in range(TRIES):
                started = subprocess.run(
                    command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
                )
                said = started.stdout + started.stderr
                if started.returncode == 0:
                    break
                assert TOO_LATE in said, said
                assert attempt < TRIES - 1, said
                _end_processes(mark)
            yield address
        finally:
            _end_processes(mark)


def _config(node_types: Mapping[str, NodeType], idle_timeout_s: float, address: str) -> dict[str, Any]:
    head: dict[str, Any] = {"resources": {}, "node_config": {}, "max_workers": 0}
    workers = {
        name: {
            "resources": {"object_store_memory": 100_000_000, **kind.resources},
            "node_config": {},
            "min_workers": 0,
            "max_workers": kind.max_workers,
        }
        for name, kind in node_types.items()
    }
    # By its module: as type `fake_multinode` it would look for the file that the wheel lacks.
    provider = {"type": "external", "module": _PROVIDER, "launch_multiple": True, "head_node_id": FAKE_HEAD_NODE_ID}
    return {
        "cluster_name": "fake",
        "max_workers": sum(kind.max_workers for kind in node_types.values()),
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": idle_timeout_s / 60,
        "provider": {**provider, "gcs_address": address},
        "available_node_types": {"ray.head.default": head, **workers},
        "head_node_type": "ray.head.default",
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


def _end_processes(mark: str) -> None:
    """SIGKILL for the cluster's processes, and those that they start meanwhile."""
    for _ in range(100):
        found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_marked(pid, mark)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    raise AssertionError(f"processes {found} do not end")


def _is_marked(pid: int, mark: str) -> bool:
    try:
        return f"{_MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
