"""Faults that need more than one node or more than one driver, on real Ray clusters and real processes.

* A node that dies takes no clip with it; the other node's gang goes on.
* A node that breaks gangs is avoided.
* A driver killed with SIGKILL: the same command, at once, waits for the dead owner and goes on.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from support.job_runs import (
    actor_pids,
    assert_no_actors_left,
    check_files,
    identity,
    records,
    run_job,
    wait_for,
    write_manifest,
)

from cosmos_ray.job.job import Summary
from cosmos_ray.output.status import read_status
from cosmos_ray.words import node_name

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_node_that_dies_takes_no_clip_with_it(cluster: Cluster, tmp_path: Path) -> None:
    doomed = cluster.add_node(num_cpus=2)
    cluster.add_node(num_cpus=2)
    rows = [{"id": f"r{n:02d}", "prompt": "a road [seconds=1]"} for n in range(14)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    ended: list[Summary] = []
    said: list[str] = []

    def job() -> None:
        summary, lines = run_job(manifest, tmp_path / "out", gangs="2:2")
        ended.append(summary)
        said.extend(lines)

    thread = threading.Thread(target=job)
    thread.start()

    def nodes_that_finished() -> set[str | None]:
        return {one.node for one in records(tmp_path / "out").values()} if (tmp_path / "out").exists() else set()

    wait_for(lambda: len(nodes_that_finished()) == 2, "a clip of each node")
    cluster.remove_node(doomed, allow_graceful=False)
    thread.join(240)
    assert ended, "the job did not end"
    assert (ended[0].ok, ended[0].failed) == (14, 0)
    assert sum(one.attempt > 1 for one in records(tmp_path / "out").values()) <= 3, (
        "more than the clips in flight redone"
    )
    check_files(tmp_path / "out")
    assert_no_actors_left()


def test_a_node_that_breaks_gangs_is_avoided(cluster: Cluster, tmp_path: Path) -> None:
    """Two deaths in a row on the only node: a node added during the second life gets the third gang."""
    cluster.add_node(num_cpus=2)
    rows = [{"id": "breaker", "prompt": "a road [die attempt=1] [hang attempt=2]"}]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    ended: list[tuple[Summary, list[str]]] = []
    settings = {"deadline_min_s": 600}
    thread = threading.Thread(target=lambda: ended.append(run_job(manifest, tmp_path / "out", gang=settings)))
    thread.start()
    wait_for(lambda: list((tmp_path / "out").glob("_cosmos_ray/attempts/breaker.2")), "a second attempt")
    cluster.add_node(num_cpus=2)
    os.kill(actor_pids("Rank")[0], signal.SIGKILL)

    def avoided_as_status_says() -> list[str]:
        owner = read_status(str(tmp_path / "out"))[0].owner
        return owner.job.get("avoided_nodes", []) if owner else []

    (avoided,) = wait_for(avoided_as_status_says, "the avoided node in the status of the running job")
    thread.join(180)
    assert ended, "the job did not end"
    summary, said = ended[0]
    assert (summary.ok, summary.failed) == (1, 0)
    assert any("avoided while there are others" in line for line in said)
    nodes = [found[1] for line in said if (found := re.search(r"is up: .* on node (\w+)", line))]
    assert nodes[2] != nodes[0] == nodes[1] == node_name(avoided)


def _command(manifest: str, output: Path) -> list[str]:
    settings = ["device=cpu", "lease.beat_s=0.5", "lease.life_s=3"]
    flags = [part for setting in settings for part in ("--set", setting)]
    names = ["--manifest", manifest, "--output", str(output), "--model", "fake", "--gang-size", "2"]
    return [sys.executable, "-m", "cosmos_ray", "generate", *names, *flags]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}


def test_a_killed_driver_is_resumed_by_the_same_command(tmp_path: Path) -> None:
    """SIGKILL half way, the same command at once: it waits for the dead owner's lease, then every row ends once."""
    rows = [{"id": f"r{n}", "prompt": "a road [seconds=0.7]"} for n in range(7)]
    rows.append({"id": "bad", "prompt": "a road", "num_conditional_frames": 1})
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    first = subprocess.Popen(_command(manifest, output), env=_environment(), stderr=subprocess.PIPE)
    wait_for(lambda: len(list(output.glob("clips/*/*/clip.json"))) >= 3, "three clips")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = {clip: one for clip, one in records(output).items() if one.status == "ok"}
    times = {entry.path: identity(output / entry.path) for one in before.values() for entry in one.files}
    assert 0 < len(before) < 7

    second = subprocess.run(_command(manifest, output), env=_environment(), capture_output=True, text=True, timeout=240)
    assert second.returncode == 3, second.stderr  # one of eight failed: more than the default 5 %
    assert "watching it for up to 3 s" in second.stderr
    assert "is silent: taking over" in second.stderr
    found = records(output)
    assert {clip: one.status for clip, one in found.items()} == {"bad": "failed", **{f"r{n}": "ok" for n in range(7)}}
    assert {one.epoch for one in found.values()} == {1, 2}
    for clip, one in before.items():
        assert found[clip] == one, "a committed clip was made again"
    assert all(identity(output / path) == known for path, known in times.items()), "a committed file was rewritten"
    check_files(output)


def test_a_job_that_is_told_to_stop_leaves_at_once_and_says_how_to_go_on(tmp_path: Path) -> None:
    """SIGTERM, as `ray job stop` sends it: exit 1, the lease is released, the next job need not wait.

    There are more rows than were read by then: the end of Ray Data's stream must not start another Ray.
    """
    rows = [{"id": f"r{n}", "prompt": "a road [seconds=0.7]"} for n in range(60)]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    first = subprocess.Popen(_command(manifest, output), env=_environment(), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(output.glob("_cosmos_ray/ledger/*/*.json")), "a first clip")
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "stopped by SIGTERM; the same command goes on from here" in said
    made = len(records(output))
    again = [*_command(manifest, output), "--limit", "2"]
    second = subprocess.run(again, env=_environment(), capture_output=True, text=True, timeout=240)
    assert second.returncode == 0, second.stderr
    assert "watching" not in second.stderr
    assert {one.status for one in records(output).values()} == {"ok"}
    assert len(records(output)) == made + 2
