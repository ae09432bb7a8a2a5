"""`ray job submit --working-dir . -- python jobs/generate.py ...` on a real head node.

* the job runs from what was uploaded, on the driver and on the workers, and settles every clip, here in a bucket
* its log is for a person: a line a clip, with time, gang, progress and what is left; nothing of Ray Data
* the bucket's secret comes from the nodes' environment and is written nowhere
* submitted again, it has nothing to do
* stopped in the middle, it says which clip it was at, lets go of the output and of its gangs; the next submission makes
  the rest
* a cluster that dies takes nothing with it that another cluster needs
* an output that would be removed with the job's working directory is refused
* a failure allowed by nobody ends the job as failed, with our exit code in Ray's message
* what is uploaded is small: code and the tiny model
* without the cluster's token, nothing can be submitted and no node joins
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.checkout import copy_checkout
from support.job_runs import SMALL, check_files, records, write_manifest
from support.paths import ROOT
from support.ray_head import Head, head_node, processes_of
from support.waiting import PATIENCE_S, wait_for

from cosmos_ray.clip.frames import inspect_video
from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.store.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

VERSION = "0.0.0+submitted"
MAX_UPLOAD_BYTES = 3_000_000
NOT_TO_TRAVEL = (
    ".git/pack",
    ".venv/lib/torch.so",
    "demo/output/clip.mp4",
    "cosmos_ray/__pycache__/planted.pyc",
    "cosmos_ray/models/bundle/built_in/mine/dit.safetensors",
    "cosmos_ray/converted.pt",
    "jobs/vae.pth",
    "big.mp4",
)
TINY_WEIGHTS = "cosmos_ray/models/bundle/built_in/tiny/planted.safetensors"
#: Only a lease that was released can be had before it is over.
LEASE_LIFE_S = PATIENCE_S


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository, told apart from the installed package by its version, with what a used checkout has in it."""
    folder = copy_checkout(tmp_path_factory.mktemp("checkout") / "cosmos-ray")
    package = folder / "cosmos_ray" / "version.py"
    text = package.read_text()
    package.write_text(text.replace('VERSION = "', f'VERSION = "{VERSION}"  # "', 1))
    assert VERSION in package.read_text()
    for junk in (*NOT_TO_TRAVEL, TINY_WEIGHTS):
        (folder / junk).parent.mkdir(parents=True, exist_ok=True)
        (folder / junk).write_bytes(os.urandom(3_000_000))
    return folder


@pytest.fixture(scope="module")
def head(working_dir: Path, s3_bucket: str) -> Iterator[Head]:
    """With the bucket's credentials in the environment of its processes."""
    with head_node(working_dir) as head:
        yield head


@pytest.fixture(scope="module")
def refused(head: Head, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The log of a job whose manifest does not exist: the quickest way through an upload."""
    folder = tmp_path_factory.mktemp("refused")
    code, log = head.submit(str(folder / "missing.parquet"), folder / "out")
    assert code == 1
    return log


def _manifest(folder: Path, clips: int, hangs: int | None = None) -> str:
    """hangs: number of the clip that does so in its first attempt. Three are in flight, and it may overtake two."""
    prompts = ["[hang attempt=1]" if number == hangs else "a road" for number in range(clips)]
    rows = [
        {**SMALL, "id": f"clip-{number}", "prompt": prompt, "seed": number} for number, prompt in enumerate(prompts)
    ]
    return write_manifest(folder / "manifest.parquet", rows)


def _living_gangs(head: Head) -> list[str]:
    """Leaders and ranks that are not dead."""
    actors = head.get("/api/v0/actors?limit=1000")["data"]["result"]["result"]
    gangs = [actor for actor in actors if actor["class_name"] in ("GangLeader", "Rank")]
    assert gangs, f"Ray has forgotten the gangs, alive or dead: {actors}"
    return [actor["class_name"] for actor in gangs if actor["state"] != "DEAD"]


@dataclass(frozen=True)
class Submitted:
    """A job of three clips from bucket to bucket, when it has ended. titles: of the cluster's processes meanwhile."""

    manifest: str
    output: str
    status: str
    log: str
    titles: set[bytes]


@pytest.fixture(scope="module")
def submitted(head: Head, s3_bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    bucket = Storage(f"{s3_bucket}/submitted")
    bucket.write("in/m.parquet", Path(_manifest(tmp_path_factory.mktemp("in"), 3)).read_bytes())
    manifest, output = bucket.uri_of("in/m.parquet"), bucket.uri_of("out")
    code, log = head.submit(manifest, output, options=("--no-wait", "--submission-id", "from-bucket-to-bucket"))
    assert code == 0, log
    titles: set[bytes] = set()

    def ended() -> str | None:
        titles.update((entry / "cmdline").read_bytes() for entry in processes_of(head.environment["RAY_AUTH_TOKEN"]))
        status = str(head.get("/api/jobs/from-bucket-to-bucket")["status"])
        return status if status in ("SUCCEEDED", "FAILED", "STOPPED") else None

    status = wait_for(ended, "the end of the job")
    return Submitted(manifest, output, status, head.log("from-bucket-to-bucket"), titles)


def test_a_submitted_job_makes_every_clip(submitted: Submitted) -> None:
    """Driver and workers run the uploaded code, with the credentials of their nodes."""
    assert submitted.status == "SUCCEEDED", submitted.log
    found = records(submitted.output)
    assert {clip: record.status for clip, record in found.items()} == {f"clip-{n}": "ok" for n in range(3)}
    check_files(submitted.output)
    for record in found.values():
        assert record.sidecar is not None
        sidecar = json.loads(Storage(submitted.output).read(record.sidecar.path))
        assert sidecar["versions"]["cosmos-ray"] == VERSION
        assert sidecar["network_calls_a_step"] == (2 if sidecar["clip"]["negative_prompt"] else 1)


def test_the_log_is_for_a_person(submitted: Submitted) -> None:
    lines = submitted.log.splitlines()
    clip = r"\d\d:\d\d:\d\d \[[123]/3\] clip-[012]: ok, denoised in \d+\.\d s on gang-0001(; about [\dhms]+ to go)?"
    assert sum(re.fullmatch(clip, line) is not None for line in lines) == 3, submitted.log
    assert any(f"run 1 of {submitted.output}, by from-bucket-to-bucket-" in line for line in lines), submitted.log
    others = [line for line in lines if not re.match(r"\d\d:\d\d:\d\d ", line)]
    assert len(others) <= 2, others


def test_a_secret_is_written_nowhere(submitted: Submitted, head: Head) -> None:
    """Not in the job's log, Ray's logs, the dashboard, titles of processes, or any object of the output."""
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    assert len(secret) > 7
    assert submitted.titles
    assert not [title for title in submitted.titles if secret in title]
    for path in ("/api/jobs/", "/api/v0/actors?detail=1&limit=1000", "/api/v0/runtime_envs?detail=1"):
        assert secret not in json.dumps(head.get(path)).encode(), path
    files = [path for path in (head.folder / "ray").rglob("*") if path.is_file() and not path.is_symlink()]
    assert any("job-driver-from-bucket" in path.name for path in files)
    assert not [path for path in files if secret in path.read_bytes()]
    output = Storage(submitted.output)
    objects = [path for folder in ("clips", "_cosmos_ray") for path in output.list(folder)]
    assert len(objects) > 3
    assert not [path for path in (*objects, "index.parquet", "report.html") if secret in output.read(path)]


@pytest.mark.long
def test_submitted_again_there_is_nothing_to_do(submitted: Submitted, head: Head) -> None:
    before = {path: Storage(submitted.output).stat(path) for path in Storage(submitted.output).list("clips")}
    code, log = head.submit(submitted.manifest, submitted.output)
    assert code == 0, log
    assert "3 clips: 3 done, 0 failed, 0 left: nothing to do" in log
    assert {path: Storage(submitted.output).stat(path) for path in Storage(submitted.output).list("clips")} == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("chosen", "clips"),
    [
        pytest.param(("video2world-rain",), 1, id="a row"),
        pytest.param(("video2world-rain", "caption-a-view-dusk", "two-samples-day"), 4, id="all kinds"),
    ],
)
def test_the_sample_drive_goes_the_whole_way(head: Head, tmp_path: Path, chosen: tuple[str, ...], clips: int) -> None:
    """Rows of the demo, the tiny model, two gloo ranks, one bad row; all kinds: the three modes, a caption a view,
    samples. (The two rows of the demo that are left out show nothing which these do not show too.)

    One step without guidance goes the same way as the model's ten with it, and calls the network once a clip, not
    twenty times.
    """
    subprocess.run([sys.executable, ROOT / "datasets" / "make_sample.py", "--out", tmp_path], check=True)
    demo = pq.read_table(tmp_path / "manifest.parquet").to_pylist()
    rows = [row for row in demo if row["id"] in (*chosen, "missing-input")]
    assert len(rows) == len(chosen) + 1
    manifest = write_manifest(tmp_path / "some.parquet", rows)
    cheap = ("--set", "sampling.num_steps=1", "--set", "sampling.negative_prompt=''")
    code, log = head.submit(manifest, tmp_path / "out", "--model", "tiny", "--max-failed", "1", *cheap)
    assert code == 0, log
    found = records(tmp_path / "out")
    assert {clip for clip, record in found.items() if record.status == "failed"} == {"missing-input"}
    assert len(found) == clips + 1
    assert max(record.attempt for record in found.values()) == 1, log
    check_files(tmp_path / "out")
    for record in found.values():
        for entry in record.files:
            info = inspect_video(tmp_path / "out" / entry.path)
            assert (info.frames, info.height, info.width, info.fps) == (29, 64, 112, 10.0)
    assert any("missing-input" in page.read_text() for page in (tmp_path / "out" / "report").iterdir())
    index = pq.read_table(tmp_path / "out" / "index.parquet")
    assert sorted(index["id"].to_pylist()) == sorted(clip for clip in found if clip != "missing-input")


def test_a_stopped_job_lets_go_and_the_next_submission_makes_the_rest(head: Head, tmp_path: Path) -> None:
    """`ray job stop` in mid-clip: lease released, gangs gone, finished clips kept and not made again."""
    manifest, output = _manifest(tmp_path, 4, hangs=3), tmp_path / "out"
    long_lease = ("--set", f"lease.life_s={LEASE_LIFE_S}")
    options = ("--no-wait", "--submission-id", "to-be-stopped")
    code, log = head.submit(manifest, output, *long_lease, options=options)
    assert code == 0, log
    wait_for(lambda: output.exists() and records(output), "a first clip")
    stopped = head.ray("job", "stop", "--address", head.address, "to-be-stopped")
    assert stopped.returncode == 0, stopped.stdout
    assert head.get("/api/jobs/to-be-stopped")["status"] == "STOPPED"
    said = head.log("to-be-stopped")
    assert "stopped by SIGTERM; the same command goes on from here" in said
    assert "Traceback" not in said
    in_flight = re.search(r"gang-0001 is stopped in the middle of (.*)", said)
    assert in_flight, said
    unfinished = set(re.findall(r"(clip-\d) \(attempt 1\)", in_flight[1]))

    wait_for(lambda: not _living_gangs(head), "the gangs to be gone")
    watched: list[str] = []
    acquire(Storage(str(output)), LeaseTimes(1.0, LEASE_LIFE_S), say=watched.append).release()
    assert not watched, "the lease was not released"

    finished = records(output)
    assert 0 < len(finished) < 4, f"stopped at {len(finished)} of 4: not in the middle"
    assert unfinished
    assert unfinished.isdisjoint(finished)
    code, log = head.submit(manifest, output, *long_lease)
    assert code == 0, log
    after = records(output)
    assert {clip_id: record.status for clip_id, record in after.items()} == {f"clip-{n}": "ok" for n in range(4)}
    assert {clip_id: after[clip_id] for clip_id in finished} == finished, "a finished clip was made again"
    assert {clip for clip, record in after.items() if record.attempt == 2} == unfinished
    check_files(output)


@pytest.mark.long
def test_a_job_whose_cluster_dies_goes_on_on_another_from_its_output(head: Head, s3: str, tmp_path: Path) -> None:
    """Every process of the first cluster is killed at once; its folders are gone. The same submission elsewhere."""
    manifest, output = f"{s3}/m.parquet", f"{s3}/out"
    Storage(s3).write("m.parquet", Path(_manifest(tmp_path, 5, hangs=4)).read_bytes())
    with head_node(head.working_dir) as doomed:
        code, log = doomed.submit(manifest, output, options=("--no-wait",))
        assert code == 0, log
        wait_for(lambda: records(output), "a first clip")
    before = records(output)
    assert 0 < len(before) < 5
    code, log = head.submit(manifest, output)
    assert code == 0, log
    assert "has ended: taking over" in log
    after = records(output)
    assert {clip_id: record.status for clip_id, record in after.items()} == {f"clip-{n}": "ok" for n in range(5)}
    assert {clip_id: after[clip_id] for clip_id in before} == before
    check_files(output)


@pytest.mark.long
def test_more_failures_than_allowed_end_the_job_as_failed(head: Head, tmp_path: Path) -> None:
    """Ray turns our exit code 3 into 1 of its own, and says so."""
    manifest = write_manifest(tmp_path / "manifest.parquet", [{**SMALL, "id": "bad", "prompt": "[fail=model]"}])
    code, log = head.submit(manifest, tmp_path / "out", "--max-failed", "0")
    assert code == 1
    assert "exit code 3" in log
    assert records(tmp_path / "out")["bad"].failure_class == "model"


def test_a_bad_manifest_ends_the_job_before_any_gang(refused: str) -> None:
    assert "exit code 2" in refused
    assert "there is no manifest at" in refused
    assert "gangs of" not in refused


@pytest.mark.long
def test_a_relative_output_ends_the_job_before_any_gang(head: Head, tmp_path: Path) -> None:
    """It would lie in Ray's copy of the working directory, and be gone with it."""
    code, log = head.submit(_manifest(tmp_path, 1), "out")
    assert code == 1
    assert "exit code 2" in log
    assert "would lie in the copy of the working directory that Ray has unpacked for this job" in log
    assert "gangs of" not in log
    assert not list((head.folder / "ray").rglob("working_dir_files/*/out"))


@pytest.mark.usefixtures("refused")
def test_what_is_uploaded_is_small(head: Head) -> None:
    """Code and the tiny model: not the checkout's history, environment, results, tests, footage, nor other weights."""
    (package,) = {path.parent for path in (head.folder / "ray").glob("session_2*/**/_ray_pkg_*/cosmos_ray")}
    assert {path.name for path in package.iterdir()} == {"cosmos_ray", "jobs"}
    files = {str(path.relative_to(package)): path for path in package.rglob("*") if path.is_file()}
    assert {
        "cosmos_ray/output/report/assets/report.html",
        "cosmos_ray/models/bundle/built_in/tiny/bundle.json",
        TINY_WEIGHTS,
    } <= set(files)
    assert not set(files) & set(NOT_TO_TRAVEL)
    tiny_weights = {name for name in files if "built_in/tiny/" in name and name.endswith((".safetensors", ".pt"))}
    counted = [name for name in files if name not in tiny_weights and "__pycache__" not in name]
    assert sum(files[name].stat().st_size for name in counted) < MAX_UPLOAD_BYTES, sorted(counted)


def test_nothing_is_done_without_the_token(head: Head, tmp_path: Path) -> None:
    """Ray's token authentication is on by default and stays on."""
    stranger = replace(head, environment={**head.environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    code, log = stranger.submit(_manifest(tmp_path, 1), tmp_path / "out")
    assert code != 0
    assert "401" in log or "403" in log or "uthenticat" in log, log
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_no_node_and_no_job_joins_without_the_token(head: Head, tmp_path: Path) -> None:
    stranger = replace(head, environment={**head.environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    joined = stranger.ray("start", f"--address={head.gcs}", "--num-cpus=1", f"--temp-dir={head.folder / 'stranger'}")
    assert joined.returncode != 0
    assert "uthenticat" in joined.stdout, joined.stdout
    places = [f"--manifest={_manifest(tmp_path, 1)}", f"--output={tmp_path / 'out'}"]
    command = [sys.executable, "jobs/generate.py", *places, "--model=fake", "--gang-size=1"]
    asks = {**stranger.environment, "RAY_ADDRESS": head.gcs}
    refused = subprocess.run(command, cwd=ROOT, env=asks, capture_output=True, text=True, check=False)
    assert "lets in who has its token, and the one in RAY_AUTH_TOKEN is another" in refused.stderr, refused.stderr
    assert len(head.get("/api/v0/nodes")["data"]["result"]["result"]) == 1
