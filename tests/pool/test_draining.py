"""Nodes that are drained (`ray drain-node`, as KubeRay's preStop hook and spot notices do), on real Ray clusters.

* With time enough, the clip in flight is finished, the next ones go to other nodes, nothing counts as a fault.
* With too little, the gang leaves at once and its clips begin again elsewhere while the old node is still there.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from support.job_runs import assert_no_actors_left, check_files, drain, fake_config, records, wait_for, write_manifest

from cosmos_ray.job.job import Summary, generate

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def run_and_drain(cluster: Cluster, tmp_path: Path, seconds: float, clips: int, notice_s: int) -> list[str]:
    """A job on one node, drained after the first clip, with another node to go to; what the job said."""
    cluster.add_node(num_cpus=2)
    rows = [{"id": f"r{n}", "prompt": f"a road [seconds={seconds}]"} for n in range(clips)]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    said: list[str] = []
    ended: list[Summary] = []
    thread = threading.Thread(target=lambda: ended.append(generate(fake_config(manifest, output), said.append)))
    thread.start()
    wait_for(lambda: output.exists() and records(output), "a first clip")
    (node,) = {one.node for one in records(output).values()}
    cluster.add_node(num_cpus=2)
    assert len(records(output)) < clips, "drained too late to show anything"
    drain(cluster.address, str(node), notice_s)
    thread.join(240)
    assert ended, said
    assert (ended[0].ok, ended[0].failed) == (clips, 0)
    assert len({one.node for one in records(output).values()}) == 2
    check_files(output)
    assert_no_actors_left()
    assert not any("broke" in line or "faults in a row" in line for line in said), said
    return said


@pytest.mark.long
def test_the_clip_in_flight_is_finished_if_the_notice_allows(cluster: Cluster, tmp_path: Path) -> None:
    said = run_and_drain(cluster, tmp_path, seconds=3, clips=8, notice_s=120)
    assert any(re.match(r"gang-0001 leaves: node \w{8} is being drained, gone in \d+ s", line) for line in said)
    assert any(re.match(r"gang-0001 is released: its node goes", line) for line in said)
    made_by_first = [one for one in records(tmp_path / "out").values() if one.gang == "gang-0001"]
    assert all(one.attempt == 1 for one in made_by_first), "nothing that was begun was thrown away"


def test_a_gang_leaves_at_once_if_it_does_not(cluster: Cluster, tmp_path: Path) -> None:
    """Clips of 12 s and a notice of 5: the second clip begins again on the other node."""
    said = run_and_drain(cluster, tmp_path, seconds=12, clips=2, notice_s=5)
    assert any(re.match(r"gang-0001 leaves: node \w{8} is being drained, gone in \d s", line) for line in said)
    assert {one.gang for one in records(tmp_path / "out").values()} == {"gang-0001", "gang-0002"}
