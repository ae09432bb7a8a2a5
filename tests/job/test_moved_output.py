"""An output is whole by itself: moved to another folder or to another kind of store, with its manifest gone, everything
that is asked of an output works there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from support.cluster import head_of_its_own
from support.command_line import Answer
from support.job_runs import FAST, SMALL, run_job, write_manifest
from support.outcomes import begin, clips, settle
from support.paths import ROOT

from cosmos_ray.errors import CosmosRayError
from cosmos_ray.job.report import report
from cosmos_ray.job.reproduce import reproduce
from cosmos_ray.ledger.ledger import Ledger
from cosmos_ray.output.derived import DERIVED, make, stale
from cosmos_ray.output.results import results
from cosmos_ray.output.status import read_status
from cosmos_ray.store.storage import Storage

PLACES = pytest.mark.parametrize("place", ["folder", pytest.param("s3", marks=pytest.mark.slow)])


def moved(output: Path, to: str) -> Storage:
    """Byte by byte, as any tool copies a folder; nothing is left at the old place."""
    storage = Storage(to)
    for path in sorted(output.rglob("*")):
        if path.is_file():
            storage.write(path.relative_to(output).as_posix(), path.read_bytes())
    shutil.rmtree(output)
    return storage


def where(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return f"{request.getfixturevalue('s3')}/moved" if place == "s3" else str(tmp_path / "elsewhere" / "moved")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Five clips that 0.1.0 has made, one that failed and one that is left; today's release has seen the manifest."""
    shutil.copytree(ROOT / "tests" / "golden-output" / "0.1.0", tmp_path / "first")
    report(str(tmp_path / "first" / "output"), lambda _: None, str(tmp_path / "first" / "manifest.parquet"))
    return tmp_path / "first" / "output"


def index_of(storage: Storage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(pa.BufferReader(storage.read("index.parquet"))).to_pylist()
    return found


@PLACES
def test_all_that_is_asked_of_an_output_works_where_it_is_now(
    place: str, output: Path, tmp_path: Path, request: pytest.FixtureRequest, cosmos_ray: Callable[..., Answer]
) -> None:
    storage = moved(output, where(place, tmp_path, request))
    shutil.rmtree(tmp_path / "first")

    told = cosmos_ray("status", storage.uri)
    assert (told.code, "5 ok, 1 failed (1 input), 1 left" in told.out) == (0, True)
    assert "not of what" not in told.err, "moving it has changed nothing"
    for row in index_of(storage):
        videos = [path for name, path in row.items() if name.startswith("video_") and path]
        assert videos
        assert all(storage.exists(path) for path in [*videos, row["sidecar"]])

    for name in DERIVED:
        storage.delete(name)
    assert "5 clips" in cosmos_ray("report", storage.uri).out
    assert [row["id"] for row in index_of(storage)] == ["text", "two.s000", "two.s001", "again", "video"]
    assert sorted(results(storage.uri)["id"]) == sorted(["again", "faulty", "text", "two.s000", "two.s001", "video"])

    assert cosmos_ray("export", storage.uri, "--format", "webdataset", "--to", tmp_path / "copy").code == 0
    assert list((tmp_path / "copy").glob("*.tar"))

    assert cosmos_ray("retry", storage.uri).out.startswith("1 clip will be made again")
    told = cosmos_ray("status", storage.uri)
    assert "5 ok, 0 failed, 2 left" in told.out
    assert "failures.parquet, report.html: made again" in told.err
    assert stale(storage, *read_status(storage.uri)[1:]) == []


def test_a_clip_is_made_again_from_its_sidecar_alone(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So far as that goes without a cluster: the job that would make it."""
    storage = moved(output, str(tmp_path / "moved"))
    shutil.rmtree(tmp_path / "first")
    asked = []

    def job(config: Any, *_: object) -> None:
        asked.append((config.output, pq.read_table(config.manifest).to_pylist()[0]["id"]))
        raise CosmosRayError("no cluster")

    monkeypatch.setattr("cosmos_ray.job.job.work_through", job)
    with pytest.raises(CosmosRayError, match="no cluster"):
        reproduce(storage.uri, "text", print)
    [(place, clip_id)] = asked
    assert (place.startswith(f"{storage.uri}/_cosmos_ray/reproduced/text."), clip_id) == (True, "text")


@pytest.mark.slow
def test_seeds_do_not_depend_on_where_the_rows_are_kept(s3: str, tmp_path: Path) -> None:
    """Paths of a local disk are right in a local manifest, and would be wrong in one of a store."""
    rows = [{"id": "a", "prompt": "p", "seed": 7, "num_samples": 2, "input_video": str(tmp_path / "a.mp4")}]
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    storage = Storage(f"{s3}/out")
    run, known = begin(storage, manifest), clips(manifest)
    for clip in known.values():
        settle(storage, clip)
    make(storage, run, Ledger(storage).state())
    assert [row["seed"] for row in index_of(storage)] == [clip.seed for clip in known.values()]
    assert known["a.s000"].seed == 7


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.parametrize("place", ["folder", "s3"])
def test_a_real_output_is_gone_on_with_where_it_is_now(
    place: str, s3: str, tmp_path: Path, request: pytest.FixtureRequest, cosmos_ray: Callable[..., Answer]
) -> None:
    """Ray's workers take the bucket's address and keys from the environment that Ray is started in."""
    with head_of_its_own(2, {}) as address:
        ray.init(address=address, log_to_driver=False)
        try:
            _gone_on_with(place, tmp_path, request, cosmos_ray)
        finally:
            ray.shutdown()


def _gone_on_with(
    place: str, tmp_path: Path, request: pytest.FixtureRequest, cosmos_ray: Callable[..., Answer]
) -> None:
    rows = [{**SMALL, "id": "a", "prompt": "p", "weather": "rain"}, {**SMALL, "id": "b", "prompt": ""}]
    (tmp_path / "first").mkdir()
    manifest = write_manifest(tmp_path / "first" / "m.parquet", rows)
    summary, said = run_job(manifest, tmp_path / "first" / "out", gang_size=1)
    assert (summary.ok, summary.failed) == (1, 1), said
    kept = Path(manifest).read_bytes()
    storage = moved(tmp_path / "first" / "out", where(place, tmp_path, request))
    shutil.rmtree(tmp_path / "first")

    assert "1 ok, 1 failed" in cosmos_ray("status", storage.uri).out
    assert cosmos_ray("report", storage.uri).code == 0
    assert [row["weather"] for row in index_of(storage)] == ["rain"]
    flags = [f"--set=lease.{name}={value}" for name, value in FAST["lease"].items()]
    answer = cosmos_ray("reproduce", storage.uri, "a", "--gang-size", "1", "--set", "device=cpu", "--json", *flags)
    assert answer.code == 0, answer.err
    assert all(one["same_bytes"] for one in json.loads(answer.out))
    assert cosmos_ray("export", storage.uri, "--format", "rds-hq", "--to", tmp_path / "copy").code == 0
    assert "1 clip will be made again" in cosmos_ray("retry", storage.uri).out

    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "m.parquet").write_bytes(kept)  # the same rows, from anywhere, go on
    summary, said = run_job(str(tmp_path / "back" / "m.parquet"), storage.uri, gang_size=1)
    assert (summary.ok, summary.failed, summary.left) == (1, 1, 0), said
