"""The commands of the files in `cluster/`, run: on the local cluster, which grows, loses a node and shrinks.

* a job with the very command of `rayjob.yaml` brings its nodes up, from none, and settles every clip
* a node that is drained by the command of the pods' preStop hook is gone when the hook returns, at no clip's cost
* the nodes go when the work does

The head is one of our own: its ports, its folder and its token are nobody else's, and only its processes are stopped.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.heads import answers, free_ports, kill_all_with
from support.job_runs import check_files, records, write_manifest
from support.paths import ROOT
from support.waiting import PATIENCE_S, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

BIN = Path(sys.executable).parent
JOB = yaml.safe_load((ROOT / "cluster" / "rayjob.yaml").read_text())["spec"]


@dataclass(frozen=True)
class Local:
    """address: of its head; url: of its dashboard; environment: what commands that talk to it need."""

    address: str
    url: str
    environment: dict[str, str]

    def workers(self) -> list[str]:
        """Ids of the living nodes besides the head."""
        token = self.environment["RAY_AUTH_TOKEN"]
        request = urllib.request.Request(f"{self.url}/api/v0/nodes", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            nodes: list[dict[str, Any]] = json.load(answer)["data"]["result"]["result"]
        return [node["node_id"] for node in nodes if node["state"] == "ALIVE" and not node["is_head_node"]]


@pytest.fixture
def local() -> Iterator[Local]:
    folder = Path(tempfile.mkdtemp(prefix="cosmos-ray-"))  # short: Ray's sockets lie in it
    gcs, dashboard, agent, client = free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    flags = [
        f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        f"--ray-client-server-port={client}", "--object-store-memory=100000000", f"--temp-dir={folder / 'ray'}",
    ]  # fmt: skip
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, ROOT / "cluster" / "local_cluster.py", *flags],
            env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: answers(dashboard), lambda: f"the dashboard. {(folder / 'head.log').read_text()[-3000:]}")
        yield Local(f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", environment)
    finally:
        kill_all_with(environment["RAY_AUTH_TOKEN"])
        process.wait(PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


def test_nodes_come_with_a_job_may_be_drained_and_go_with_it(local: Local, tmp_path: Path) -> None:
    rows = [{"id": f"clip-{number}", "prompt": "a road [seconds=3]", "seed": number} for number in range(10)]
    manifest, output = write_manifest(tmp_path / "manifest.parquet", rows), tmp_path / "out"
    assert not local.workers()
    ours = ["--manifest", manifest, "--output", output, "--model", "fake", "--gang-size", "2", "--gangs", "1:2"]
    entrypoint = [*shlex.split(JOB["entrypoint"]), *map(str, ours), "--set", "device=cpu"]  # what is said last counts
    submit = [BIN / "ray", "job", "submit", "--address", local.url, "--", BIN / "python", "-m", "cosmos_ray"]
    submitted = subprocess.Popen(
        [*submit, *entrypoint[1:]],
        env=local.environment, stdout=(tmp_path / "job.log").open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip

    def job_log() -> str:
        return (tmp_path / "job.log").read_text()

    wait_for(lambda: output.exists() and records(output), lambda: f"a first clip. {job_log()}")
    (leaving, *_) = {str(record.node) for record in records(output).values()}
    drained = _prestop("--address", local.address, "--node-id", leaving, environment=local.environment)
    assert drained.returncode == 0, drained.stdout
    assert f"node {leaving[-8:]} is gone" in drained.stdout
    assert leaving not in local.workers()
    again = _prestop("--address", local.address, "--node-id", leaving, environment=local.environment)
    assert (again.returncode, again.stdout.strip()) == (0, "no living Ray node to drain"), "a stopping pod is held up"

    assert submitted.wait(PATIENCE_S) == 0, job_log()
    assert "broke" not in job_log()
    assert {name: record.status for name, record in records(output).items()} == {row["id"]: "ok" for row in rows}
    check_files(output)
    wait_for(lambda: not local.workers(), lambda: f"nodes to go: {local.workers()}")


def _prestop(*flags: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The pods' own hook, up to `ray stop`, with this checkout's copy of the script."""
    pod = JOB["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1].partition(";")[0]
    command = shlex.split(hook.replace("/opt/cosmos_ray", str(ROOT)))
    return subprocess.run(
        [str(BIN / command[0]), *command[1:], *flags],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
