"""Drain this EC2 spot instance's Ray node as soon as AWS says that it takes the instance back (two minutes before).

Runs beside the node (`aws.yaml` starts it) and asks the instance metadata service every few seconds. On an on-demand
instance it asks for ever and is told nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

from drain_node import drain
from ray._private.services import canonicalize_bootstrap_address_or_die

#: The variable by which AWS's own tools find another metadata service.
_SERVICE = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
_POLL_S = 5.0
_TIMEOUT_S = 2.0
#: Kept back from AWS's notice: the node's own end takes a moment.
_MARGIN_S = 10.0


def main() -> int:
    notice_s = wait_for_notice() - _MARGIN_S
    print(f"this instance is taken back in {notice_s + _MARGIN_S:.0f} s", flush=True)
    return drain(canonicalize_bootstrap_address_or_die(None), None, max(0.0, notice_s), "spot instance taken back")


def wait_for_notice(poll_s: float = _POLL_S) -> float:
    """Block until this instance is to be stopped or terminated; seconds until then."""
    while True:
        notice = _instance_action()
        if notice is not None:
            ends = datetime.fromisoformat(notice["time"].replace("Z", "+00:00"))
            return (ends - datetime.now(UTC)).total_seconds()
        time.sleep(poll_s)


def _instance_action() -> dict[str, str] | None:
    """What AWS is about to do with this instance; None: nothing, or the service did not answer this time."""
    try:
        token = _request("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        answer = _request("GET", "/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token})
    except OSError:  # 404 as long as there is no notice, too
        return None
    found: dict[str, str] = json.loads(answer)
    return found


def _request(method: str, path: str, headers: dict[str, str]) -> str:
    request = urllib.request.Request(_SERVICE + path, method=method, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        text: str = answer.read().decode()
        return text


if __name__ == "__main__":
    sys.exit(main())
