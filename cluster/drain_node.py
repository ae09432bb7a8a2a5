"""Let a Ray node go in order: no new clips, the one in flight finished if the time allows. Returns once it is gone.

    python cluster/drain_node.py --notice-s 540        # what a pod's preStop hook runs, on the node itself

A node that is being drained ends by itself as soon as nothing runs on it. Exit code 0 then, and also when there is no
such node or no cluster any more; 1 if it is still busy when the notice is over.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time

from ray._private.services import canonicalize_bootstrap_address_or_die, get_node_ip_address
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
from ray.exceptions import RpcError

_POLL_S = 1.0
_CONNECT_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notice-s", type=float, required=True, help="seconds until the node is taken away")
    parser.add_argument("--node-id", help="which node, if not the only one of this machine's address")
    parser.add_argument("--address", help="host:port of the head; left out: RAY_ADDRESS, or of what runs here")
    arguments = parser.parse_args()
    address = canonicalize_bootstrap_address_or_die(arguments.address)
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()  # Ray's client would try for 40 s
        return drain(address, arguments.node_id, arguments.notice_s, "its machine is taken away")
    except (OSError, RpcError) as error:
        print(f"the cluster at {address} does not answer: {error}", flush=True)
        return 0  # nothing is left that could be disturbed


def drain(address: str, node_id: str | None, notice_s: float, reason: str) -> int:
    """Drain a node (None: this machine's) and wait for its end; the exit code. Raises RpcError without a cluster."""
    deadline = time.time() + notice_s
    node_id = node_id or _own_node(address)
    if node_id is None or node_id not in _living(address):
        print("no living Ray node to drain", flush=True)
        return 0
    preemption = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, refusal = GcsClient(address=address).drain_node(node_id, preemption, reason, int(deadline * 1000))
    if not accepted:
        print(f"node {node_id[-8:]} was not drained: {refusal}", flush=True)
        return 1
    print(f"node {node_id[-8:]} is being drained, {notice_s:.0f} s at most", flush=True)
    while node_id in _living(address):
        if time.time() > deadline:
            print(f"node {node_id[-8:]} is still busy", flush=True)
            return 1
        time.sleep(_POLL_S)
    print(f"node {node_id[-8:]} is gone", flush=True)
    return 0


def _living(address: str) -> dict[str, str]:
    """IP address by node id."""
    status = get_cluster_status(address)
    return {node.node_id: node.ip_address for node in (*status.active_nodes, *status.idle_nodes) if node.node_id}


def _own_node(address: str) -> str | None:
    """The node of this machine's address; None if there is none. Exits where there are several."""
    own = get_node_ip_address()
    found = [node_id for node_id, ip in _living(address).items() if ip == own]
    if len(found) > 1:
        sys.exit(f"{len(found)} nodes have the address {own}: say which with --node-id")
    return found[0] if found else None


if __name__ == "__main__":
    sys.exit(main())
