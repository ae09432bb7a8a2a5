"""Start the cluster of local.yaml on this machine: a head without CPUs, nodes that come with the work, autoscaler v2.

    python cluster/local_cluster.py                      # until Ctrl-C
    RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 ray job submit --working-dir . -- \\
        python jobs/generate.py --manifest ... --output ... --model tiny --gang-size 2 --gangs 1:2

Further flags go to `ray start`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import yaml

_SHAPE = Path(__file__).with_name("local.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=6379, help="of the head")
    arguments, flags = parser.parse_known_args()
    config = yaml.safe_load(_SHAPE.read_text(encoding="utf-8"))
    config["provider"]["gcs_address"] = f"127.0.0.1:{arguments.port}"  # what new nodes connect to
    with tempfile.NamedTemporaryFile("w", prefix="cosmos-ray-local-", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(config, file)
    head_id = config["provider"]["head_node_id"]
    os.environ |= {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": head_id,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": head_id,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    ray = Path(sys.executable).with_name("ray")
    head = ["start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={arguments.port}", "--num-cpus=0"]
    rest = ["--dashboard-host=127.0.0.1", "--disable-usage-stats", f"--autoscaling-config={file.name}"]
    os.execv(ray, [str(ray), *head, *rest, *flags])  # noqa: S606


if __name__ == "__main__":
    main()
