"""Nodes that are drained (`ray drain-node`, as KubeRay's preStop hook and spot notices do), on real Ray clusters.

* With time enough, the clip in flight is finished, the next ones go to other nodes, nothing counts as a fault.
* With too little, the gang leaves at once and its clips begin again elsewhere while the old node is still there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster
from support.job_runs import SMALL, BackgroundJob, assert_no_actors_left, check_files, drain, records, write_manifest
from support.waiting import wait_for

from cosmos_ray.ledger.record import Record

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@dataclass
class Drained:
    """A job whose first gang's node was drained after the first clip, when it has ended. node: that one."""

    said: list[str]
    records: dict[str, Record]
    node: str


def run_and_drain(
    cluster: Cluster, tmp_path: Path, rows: list[dict[str, Any]], notice_s: int, in_flight: int = 3
) -> Drained:
    """On one node, with another to go to that comes while the first clip is made."""
    first = cluster.add_node(num_cpus=1).node_id
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    job = BackgroundJob(manifest, output, gang={"clips_in_flight": in_flight}, gang_size=1)
    wait_for(lambda: list(output.glob("_cosmos_ray/attempts/*")), "a gang with a clip")
    cluster.add_node(num_cpus=1)
    wait_for(lambda: records(output), "a first clip")
    drain(cluster.address, first, notice_s)
    summary = job.result()
    assert (summary.ok, summary.failed) == (len(rows), 0)
    found = records(output)
    assert len({one.node for one in found.values()}) == 2
    check_files(output)
    assert_no_actors_left()
    assert not any("broke" in line or "faults in a row" in line for line in job.said), job.said
    assert any(re.match(r"gang-0001 leaves: node \w{8} is being drained, gone in \d+ s", line) for line in job.said)
    return Drained(job.said, found, first)


@pytest.mark.long
def test_the_clip_in_flight_is_finished_if_the_notice_allows(cluster: Cluster, tmp_path: Path) -> None:
    rows = [{**SMALL, "id": f"r{n}", "prompt": "a road [seconds=5]"} for n in range(8)]
    drained = run_and_drain(cluster, tmp_path, rows, notice_s=1800)
    assert any(re.match(r"gang-0001 is released: its node goes", line) for line in drained.said)
    made_by_first = [one for one in drained.records.values() if one.node == drained.node]
    assert all(one.attempt == 1 for one in made_by_first), "nothing that was begun was thrown away"


def test_a_gang_leaves_at_once_if_it_does_not(cluster: Cluster, tmp_path: Path) -> None:
    """By what a small clip took, the large one that hangs would need hours: it begins again on the other node."""
    rows = [
        {**SMALL, "id": "small", "prompt": "a road [seconds=1]", "n_views": 1, "num_steps": 1},
        {**SMALL, "id": "large", "prompt": "a road [hang attempt=1]", "n_views": 7, "num_steps": 100},
    ]
    drained = run_and_drain(cluster, tmp_path, rows, notice_s=60, in_flight=1)
    assert {clip: one.gang for clip, one in drained.records.items()} == {"small": "gang-0001", "large": "gang-0002"}
