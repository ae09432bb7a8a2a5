"""`ray job submit --working-dir . -- python jobs/generate.py ...` on a real head node.

* the job runs from what was uploaded, on the driver and on the workers, and settles every clip
* submitted again, it has nothing to do
* stopped in the middle, it lets go of the output and of its gangs, and the next submission makes the rest
* a failure allowed by nobody ends the job as failed, with our exit code in Ray's message
* what is uploaded is small, and holds nothing but code
* without the cluster's token, nothing can be submitted

The head is one of our own: its ports, its folder and its token are nobody else's, and only its processes are stopped.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from job_runs import check_files, records, write_manifest

from cosmos_ray.lease import LeaseTimes, acquire
from cosmos_ray.storage import Storage
from cosmos_ray.video import probe

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[1]
RAY = Path(sys.executable).with_name("ray")
VERSION = "0.0.0+submitted"
MAX_UPLOAD_BYTES = 2_000_000
#: So long that only a lease that was released can be had within a test.
LEASE_LIFE_S = 60.0


@dataclass(frozen=True)
class Head:
    """A Ray head node. environment: of every command that may talk to it. folder: where Ray keeps its files."""

    address: str
    environment: dict[str, str]
    folder: Path
    working_dir: Path

    def ray(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `ray` command; standard output and error come in one."""
        return subprocess.run(
            [str(RAY), *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    def get(self, path: str) -> Any:
        """What the dashboard answers."""
        token = self.environment["RAY_AUTH_TOKEN"]
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def log(self, submission: str) -> str:
        return str(self.get(f"/api/jobs/{submission}/logs")["logs"])

    def submit(self, manifest: str, output: Path, *flags: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        """Exit code and log of a submitted job of the fake model, gangs of 2 CPU ranks."""
        ours = ("--manifest", manifest, "--output", str(output), "--model", "fake", "--gang-size", "2")
        settings = ("--set", "device=cpu", "--set", f"lease.life_s={LEASE_LIFE_S}", *flags)
        where = ("--address", self.address, "--working-dir", str(self.working_dir), *options)
        done = self.ray("job", "submit", *where, "--", "python", "jobs/generate.py", *ours, *settings)
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository, told apart from the installed package by its version, with what a used checkout has in it."""
    folder = tmp_path_factory.mktemp("checkout") / "cosmos-ray"
    ignored = shutil.ignore_patterns(".git", ".venv", "demo", "__pycache__", ".*_cache", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, folder, ignore=ignored)
    package = folder / "cosmos_ray" / "__init__.py"
    text = package.read_text()
    package.write_text(text.replace('__version__ = "', f'__version__ = "{VERSION}"  # "', 1))
    assert VERSION in package.read_text()
    for junk in (
        ".git/pack",
        ".venv/lib/torch.so",
        "demo/output/clip.mp4",
        "cosmos_ray/__pycache__/planted.pyc",
        "big.mp4",
    ):
        (folder / junk).parent.mkdir(parents=True, exist_ok=True)
        (folder / junk).write_bytes(os.urandom(3_000_000))
    return folder


@pytest.fixture(scope="module")
def head(working_dir: Path) -> Iterator[Head]:
    """A head with as many CPUs as one gang needs: a gang that was left behind would leave no room for the next."""
    folder = Path(tempfile.mkdtemp(prefix="cosmos-ray-"))  # short: Ray's sockets lie in it
    gcs, dashboard, agent, client = _free_ports(4)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RAY_") and name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    environment |= {
        "RAY_AUTH_MODE": "token",  # a head turns it on by itself, `ray job` commands have to be told
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PATH": f"{RAY.parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    command = [
        str(RAY), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=2",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        f"--ray-client-server-port={client}", "--object-store-memory=200000000", "--disable-usage-stats",
        f"--temp-dir={folder / 'ray'}",
    ]  # fmt: skip
    log = (folder / "head.log").open("wb")
    process = subprocess.Popen(
        command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True
    )
    try:
        _wait_until(lambda: _answers(dashboard), 180, lambda: (folder / "head.log").read_text())
        yield Head(f"http://127.0.0.1:{dashboard}", environment, folder, working_dir)
    finally:
        _kill_all_with(environment["RAY_AUTH_TOKEN"])
        process.wait(10)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def refused(head: Head, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The log of a job whose manifest does not exist: the quickest way through an upload."""
    folder = tmp_path_factory.mktemp("refused")
    code, log = head.submit(str(folder / "missing.parquet"), folder / "out")
    assert code == 1
    return log


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until(condition: Callable[[], object], seconds: float, explain: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s. {explain()[-3000:]}"
        time.sleep(0.3)


def _kill_all_with(token: str) -> None:
    """End this head's processes and no others: those that have its token in their environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.name != str(os.getpid()) and token.encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile, or is somebody else's


def _manifest(folder: Path, clips: int, seconds: float = 0.0) -> str:
    rows = [{"id": f"clip-{number}", "prompt": f"[seconds={seconds}]", "seed": number} for number in range(clips)]
    return write_manifest(folder / "manifest.parquet", rows)


def _living_gangs(head: Head) -> list[str]:
    """Leaders and ranks that are not dead."""
    actors = head.get("/api/v0/actors?limit=1000")["data"]["result"]["result"]
    gangs = [actor for actor in actors if actor["class_name"] in ("GangLeader", "Rank")]
    assert gangs, f"Ray has forgotten the gangs, alive or dead: {actors}"
    return [actor["class_name"] for actor in gangs if actor["state"] != "DEAD"]


def test_a_submitted_job_makes_every_clip_and_again_nothing(head: Head, tmp_path: Path) -> None:
    """Driver and workers run the uploaded code; the second submission finds everything settled."""
    manifest, output = _manifest(tmp_path, 3), tmp_path / "out"
    code, log = head.submit(manifest, output)
    assert code == 0, log
    assert {clip_id: record.status for clip_id, record in records(output).items()} == dict.fromkeys(
        ["clip-0", "clip-1", "clip-2"], "ok"
    )
    check_files(output)
    for record in records(output).values():
        assert record.sidecar is not None
        sidecar = json.loads((output / record.sidecar.path).read_bytes())
        assert sidecar["versions"]["cosmos-ray"] == VERSION
        assert sidecar["network_calls_a_step"] == (2 if sidecar["clip"]["negative_prompt"] else 1)
    before = sorted(path for path in (output / "clips").rglob("*") if path.is_file())
    code, log = head.submit(manifest, output)
    assert code == 0, log
    assert "all 3 clips are settled already: nothing to do" in log
    assert sorted(path for path in (output / "clips").rglob("*") if path.is_file()) == before


def test_the_sample_drive_goes_the_whole_way(head: Head, tmp_path: Path) -> None:
    """The demo's own six rows, the tiny model, two gloo ranks: three modes, a caption a view, samples, one bad row."""
    subprocess.run([sys.executable, ROOT / "datasets" / "make_sample.py", "--out", tmp_path], check=True)
    flags = ("--model", "tiny", "--max-failed", "1", "--set", "sampling.num_steps=2")
    code, log = head.submit(str(tmp_path / "manifest.parquet"), tmp_path / "out", *flags)
    assert code == 0, log
    found = records(tmp_path / "out")
    assert {clip for clip, record in found.items() if record.status == "failed"} == {"missing-input"}
    assert len(found) == 7
    assert max(record.attempt for record in found.values()) == 1, log
    check_files(tmp_path / "out")
    for record in found.values():
        for entry in record.files:
            info = probe(tmp_path / "out" / entry.path)
            assert (info.frames, info.height, info.width, info.fps) == (29, 64, 112, 10.0)
    assert "missing-input" in (tmp_path / "out" / "report.html").read_text()
    index = pq.read_table(tmp_path / "out" / "index.parquet")
    assert sorted(index["id"].to_pylist()) == sorted(clip for clip in found if clip != "missing-input")


def test_a_stopped_job_lets_go_and_the_next_submission_makes_the_rest(head: Head, tmp_path: Path) -> None:
    """`ray job stop` in mid-clip: lease released, gangs gone, finished clips kept and not made again."""
    manifest, output = _manifest(tmp_path, 4, seconds=4.0), tmp_path / "out"
    code, log = head.submit(manifest, output, options=("--no-wait", "--submission-id", "to-be-stopped"))
    assert code == 0, log
    _wait_until(lambda: records(output), 180, lambda: head.log("to-be-stopped"))
    stopped = head.ray("job", "stop", "--address", head.address, "to-be-stopped")
    assert stopped.returncode == 0, stopped.stdout
    assert head.get("/api/jobs/to-be-stopped")["status"] == "STOPPED"
    said = head.log("to-be-stopped")
    assert "stopped by SIGTERM; the same command goes on from here" in said
    assert "Traceback" not in said

    _wait_until(lambda: not _living_gangs(head), 60, lambda: str(_living_gangs(head)))
    began = time.monotonic()
    acquire(Storage(str(output)), LeaseTimes(1.0, LEASE_LIFE_S)).release()
    assert time.monotonic() - began < LEASE_LIFE_S / 2, "the lease was not released: it had to run out"

    finished = records(output)
    assert 0 < len(finished) < 4, f"stopped at {len(finished)} of 4: not in the middle"
    code, log = head.submit(manifest, output)
    assert code == 0, log
    after = records(output)
    assert {clip_id: record.status for clip_id, record in after.items()} == {f"clip-{n}": "ok" for n in range(4)}
    assert {clip_id: after[clip_id] for clip_id in finished} == finished, "a finished clip was made again"
    check_files(output)


def test_more_failures_than_allowed_end_the_job_as_failed(head: Head, tmp_path: Path) -> None:
    """Ray turns our exit code 3 into 1 of its own, and says so."""
    manifest = write_manifest(tmp_path / "manifest.parquet", [{"id": "bad", "prompt": "[fail=model]"}])
    code, log = head.submit(manifest, tmp_path / "out", "--max-failed", "0")
    assert code == 1
    assert "exit code 3" in log
    assert records(tmp_path / "out")["bad"].failure_class == "model"


def test_a_bad_manifest_ends_the_job_before_any_gang(refused: str) -> None:
    assert "exit code 2" in refused
    assert "there is no manifest at" in refused
    assert "gangs of" not in refused


@pytest.mark.usefixtures("refused")
def test_what_is_uploaded_is_small_and_holds_nothing_but_code(head: Head) -> None:
    """Not the checkout's history, environment, results, tests or footage. Weights of the tiny model do not count."""
    (package,) = {path.parent for path in (head.folder / "ray").glob("session_2*/**/_ray_pkg_*/cosmos_ray")}
    assert {path.name for path in package.iterdir()} == {"cosmos_ray", "jobs"}
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    counted = [path for path in files if "bundles" not in path.parts]
    assert (package / "cosmos_ray" / "report" / "report.html") in files
    assert (package / "cosmos_ray" / "models" / "bundles" / "tiny" / "bundle.json") in files
    assert not list(package.rglob("planted.pyc"))
    assert sum(path.stat().st_size for path in counted) < MAX_UPLOAD_BYTES, sorted(map(str, counted))


def test_nobody_submits_without_the_token(head: Head, tmp_path: Path) -> None:
    """Ray's token authentication is on by default and stays on."""
    stranger = {**head.environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    other = Head(head.address, stranger, head.folder, head.working_dir)
    code, log = other.submit(_manifest(tmp_path, 1), tmp_path / "out")
    assert code != 0
    assert "401" in log or "403" in log or "uthenticat" in log, log
    assert not (tmp_path / "out").exists()
