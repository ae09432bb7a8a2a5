"""Nodes that are started by hand as docs/cluster.md shows it, both on this machine: homes and ports of their own.

* a node joins with the head's token, and a job's gang comes up on it: the head here has no room for one
* it does so without having been told of the job, which was there before
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.heads import free_ports, kill_all_with
from support.job_runs import SMALL, records, write_manifest
from support.pages import shown_to
from support.paths import ROOT
from support.waiting import PATIENCE_S, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Machine:
    """A machine's home, and what its shells have in their environment before anything is exported."""

    home: Path
    environment: dict[str, str]

    def does(self, block: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", block], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=PATIENCE_S, check=False, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}"
        return done.stdout


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    folder = Path(tempfile.mkdtemp(prefix="cosmos-ray-"))  # short: Ray's sockets lie in it
    mark = secrets.token_hex(16)
    common = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    common |= {"PATH": f"{BIN}:{common['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "BY_HAND": mark}
    found = []
    for name in ("head", "node"):
        (folder / name).mkdir()
        found.append(Machine(folder / name, {**common, "HOME": str(folder / name), "RAY_TMPDIR": str(folder / "ray")}))
    (folder / "ray").mkdir()
    try:
        yield found[0], found[1]
    finally:
        kill_all_with(mark)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_node_joins_and_a_job_runs_as_shown(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    head, node = machines
    gcs, dashboard, agent, client = free_ports(4)
    small = "--num-cpus={} --object-store-memory=100000000 "
    ports = f"--dashboard-port={dashboard} --dashboard-agent-listen-port={agent} --ray-client-server-port={client} "

    def here(block: str) -> str:
        """The block, with these machines in it."""
        block = block.replace("6379", str(gcs)).replace("HEAD:.ray", f"{head.home}/.ray").replace("scp ", "cp ")
        block = block.replace("--head ", f"--head {small.format(0)}{ports}").replace("HEAD:", "127.0.0.1:")
        return block.replace("ray start --address", f"ray start {small.format(1)}--address")

    starts, joins, looks = map(here, shown_to(__file__, "test_a_node_joins_and_a_job_runs_as_shown"))
    head.does(starts)
    rows = [{**SMALL, "id": f"clip-{number}", "prompt": "a road", "seed": number} for number in range(2)]
    manifest, output = write_manifest(tmp_path / "manifest.parquet", rows), tmp_path / "out"
    flags = f"--manifest {manifest} --output {output} --model fake --gang-size 1 --set device=cpu"
    job = subprocess.Popen(
        ["bash", "-ec", f"cosmos-ray generate {flags}"], cwd=ROOT,
        env={**head.environment, "RAY_AUTH_MODE": "token", "RAY_ADDRESS": f"127.0.0.1:{gcs}"},
        stdout=(tmp_path / "job.log").open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for(lambda: "gangs of 1" in (tmp_path / "job.log").read_text(), lambda: (tmp_path / "job.log").read_text())
    node.does(joins)
    assert (node.home / ".ray" / "auth_token").read_text() == (head.home / ".ray" / "auth_token").read_text()
    assert node.does(looks).count(" 1 node_") == 2
    assert job.wait(PATIENCE_S) == 0, (tmp_path / "job.log").read_text()
    assert [record.status for record in records(output).values()] == ["ok", "ok"]
