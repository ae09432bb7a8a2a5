"""Whole jobs on a bucket that breaks under them: real processes, a real S3 server, a proxy that cuts in between.

* 503s at each step of the commit: no row fails, nothing is committed twice.
* A store that stays out, credentials that expire, a bucket that vanishes: the job pauses, says what it sees, stops with
  exit 1, fails no row; the same command goes on when the store is back.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import head_of_its_own
from support.fault_proxy import EXPIRED, NO_BUCKET, UNAVAILABLE, FaultProxy, Meets, fault_proxy
from support.job_runs import SMALL, check_files, records, write_manifest
from support.outage_scene import STEPS
from support.waiting import PATIENCE_S

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def proxy(s3_bucket: str) -> Iterator[FaultProxy]:
    with fault_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        yield proxy


@pytest.fixture
def environment(proxy: FaultProxy) -> Iterator[dict[str, str]]:
    """Of a job on a Ray of its own, whose every request to the bucket passes the proxy."""
    # One try a request: what is tested is what the job does, not the patience of the store's client.
    environment = {"AWS_ENDPOINT_URL": proxy.url, "AWS_MAX_ATTEMPTS": "1"}
    with head_of_its_own(2, environment) as address:
        yield {**os.environ, **environment, "RAY_ADDRESS": address}


def start(
    environment: dict[str, str], s3: str, tmp_path: Path, seconds: float, clips: int, **settings: object
) -> subprocess.Popen[str]:
    rows = [{**SMALL, "id": f"r{n}", "prompt": f"a road [seconds={seconds}]"} for n in range(clips)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    return run_on(manifest, f"{s3}/out", environment, **settings)


def run_on(manifest: str, output: str, environment: dict[str, str], **settings: object) -> subprocess.Popen[str]:
    base = {"device": "cpu", "lease.beat_s": 0.5, "lease.life_s": 4, "breaker.max_pause_s": 1, **settings}
    flags = [part for name, value in base.items() for part in ("--set", f"{name}={value}")]
    names = ["--manifest", manifest, "--output", output, "--model", "fake", "--gang-size", "1"]
    command = [sys.executable, "-m", "cosmos_ray", "generate", *names, *flags]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def end(job: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = job.communicate(timeout=PATIENCE_S)
    return job.returncode, said


def test_some_503_at_each_step_of_the_commit_cost_no_row(
    proxy: FaultProxy, environment: dict[str, str], s3: str, tmp_path: Path
) -> None:
    """Each step is unavailable for its first two requests."""
    met: Counter[str] = Counter()
    commit = STEPS.keys() - {"everything"}

    def fault(method: str, path: str) -> Meets:
        for step in commit:
            if re.match(STEPS[step], f"{method} {path}"):
                met[step] += 1
                return UNAVAILABLE if met[step] <= 2 else None
        return None

    proxy.fault = fault
    code, said = end(start(environment, s3, tmp_path, seconds=0.2, clips=5))
    assert code == 0, said
    assert met.keys() == commit
    assert min(met.values()) > 2, met
    found = records(f"{s3}/out")
    assert {one.status for one in found.values()} == {"ok"}
    assert len(found) == 5
    assert {one.attempt for one in found.values()} == {1}, "a clip was denoised again"
    check_files(f"{s3}/out")


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own takes root to mount")
def test_a_full_disk_stops_the_job_and_fails_no_row(tmp_path: Path) -> None:
    """A real disk of 1.5 MB: three or four clips fit. With more room, the same command goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    rows = [{"id": f"r{n}", "prompt": "a road [seconds=0.1]"} for n in range(40)]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1536k", "none", disk], check=True)
    try:
        alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        job = run_on(manifest, f"{disk}/out", alone, **{"breaker.patience_s": 6})
        code, said = end(job)
        assert code == 1, said
        assert "No space left on device" in said
        assert "Traceback" not in said
        assert {one.status for one in records(disk / "out").values()} == {"ok"}
        assert 0 < len(records(disk / "out")) < 40
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        code, said = end(run_on(manifest, f"{disk}/out", alone))
        assert code == 0, said
        assert {one.status for one in records(disk / "out").values()} == {"ok"}
        assert len(records(disk / "out")) == 40
        check_files(disk / "out")
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.long
def test_connections_that_are_cut_or_hang_cost_no_row(
    proxy: FaultProxy, environment: dict[str, str], s3: str, tmp_path: Path
) -> None:
    """One upload in three is cut off, one record is never answered."""
    uploads, records_met = 0, 0

    def fault(method: str, path: str) -> Meets:
        nonlocal uploads, records_met
        if method == "PUT" and path.endswith(".mp4"):
            uploads += 1
            return "drop" if uploads % 3 == 0 else None
        if method == "PUT" and "/ledger/" in path:
            records_met += 1
            return "hang" if records_met == 2 else None
        return None

    proxy.fault = fault
    code, said = end(start(environment, s3, tmp_path, seconds=0.1, clips=4))
    assert code == 0, said
    assert len(proxy.met) > 5
    assert {one.status for one in records(f"{s3}/out").values()} == {"ok"}
    check_files(f"{s3}/out")


@pytest.mark.long
@pytest.mark.parametrize(
    ("meets", "words"),
    [
        pytest.param(UNAVAILABLE, "reduce your request", id="store is out"),
        pytest.param(EXPIRED, "token has expired", id="credentials expire"),
        pytest.param(NO_BUCKET, "bucket does not exist", id="bucket vanishes"),
    ],
)
def test_a_store_that_stays_out_stops_the_job_and_fails_no_row(
    proxy: FaultProxy, environment: dict[str, str], s3: str, tmp_path: Path, meets: Meets, words: str
) -> None:
    is_out = False

    def fault(method: str, path: str) -> Meets:
        """The first record still passes."""
        nonlocal is_out
        was_out, is_out = is_out, is_out or (method == "PUT" and "/ledger/" in path)
        return meets if was_out else None

    proxy.fault = fault
    patience = {"breaker.patience_s": 6}
    code, said = end(start(environment, s3, tmp_path, seconds=0.5, clips=12, **patience))
    assert code == 1, said
    assert re.search(words, said), said
    assert "the same command goes on from here" in said or "cannot be stored" in said, said
    assert "Traceback" not in said
    before = records(f"{s3}/out")
    assert {one.status for one in before.values()} == {"ok"}
    assert 0 < len(before) < 12

    proxy.fault = lambda method, path: None
    code, said = end(start(environment, s3, tmp_path, seconds=0.5, clips=12, **patience))
    assert code == 0, said
    after = records(f"{s3}/out")
    assert {one.status for one in after.values()} == {"ok"}
    check_files(f"{s3}/out")
