"""Nothing stale with exit 0: a job with nothing to do, `report` and `status` find what is of another state, say so, and
make it again; the manifest may be edited, moved or gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.job_runs import fake_config, write_manifest
from support.outcomes import settle
from support.paths import ROOT

from cosmos_ray.clip.sampling import SamplingConfig
from cosmos_ray.errors import LeaseHeld, ManifestError, UsageError
from cosmos_ray.job.job import generate
from cosmos_ray.job.plan import manifest_clips, row_defaults
from cosmos_ray.job.report import bring_up_to_date, report, report_together
from cosmos_ray.ledger.layout import KEPT
from cosmos_ray.ledger.lease import LeaseTimes, acquire
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.output import derived
from cosmos_ray.output.derived import with_stale
from cosmos_ray.output.report.part import WHOLE, Part
from cosmos_ray.output.status import read_status
from cosmos_ray.store.storage import Storage

DEFAULTS = row_defaults(load_bundle("fake"), SamplingConfig())
ROWS: list[dict[str, Any]] = [{"id": f"r{number}", "prompt": "p", "colour": "red"} for number in range(5)]
STALE = "not of what the ledger and the manifest say now: index.parquet, failures.parquet, report.html"


class Scene:
    """An output whose clips gangs have committed; a manifest to edit."""

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        self.output = Storage(uri or str(folder / "out"))
        self.manifest = str(folder / "m.parquet")
        self.said: list[str] = []

    def write(self, rows: list[dict[str, Any]]) -> None:
        write_manifest(Path(self.manifest), rows)

    def commit(self, *ids: str) -> None:
        for clip in manifest_clips(self.manifest, DEFAULTS):
            if clip.id in ids:
                settle(self.output, clip)

    def job(self) -> None:
        """With nothing to do."""
        generate(fake_config(self.manifest, self.output.uri), self.said.append)

    def report(self) -> None:
        report(self.output.uri, self.said.append)

    def status(self) -> None:
        found, run, state = read_status(self.output.uri)
        bring_up_to_date(with_stale(found, run, state), run, state, self.said.append)

    def index(self, column: str = "id") -> list[Any]:
        found: list[Any] = pq.read_table(pa.BufferReader(self.output.read("index.parquet")))[column].to_pylist()
        return found

    def stale(self) -> tuple[tuple[str, ...], bool]:
        found = with_stale(*read_status(self.output.uri))
        return found.stale, found.manifest_changed


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Two clips of two rows; a job was there and has written its index."""
    found = Scene(tmp_path)
    found.write(ROWS[:2])
    found.commit("r0", "r1")
    found.job()
    assert found.index() == ["r0", "r1"]
    found.said.clear()
    return found


COMMANDS = pytest.mark.parametrize("command", [Scene.job, Scene.report, Scene.status], ids=["job", "report", "status"])
Command = Callable[[Scene], None]


def said(scene: Scene, words: str) -> bool:
    return any(words in line for line in scene.said)


@COMMANDS
def test_a_driver_that_died_between_its_last_commit_and_the_index(scene: Scene, command: Command) -> None:
    """On an output that had an index, of a manifest that was shorter."""
    scene.write(ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cosmos_ray.job.job.make_if_stale", lambda *_: None)
        scene.commit("r2", "r3", "r4")
        scene.job()
    assert scene.index() == ["r0", "r1"]
    assert scene.stale() == (derived.DERIVED, False)
    command(scene)
    assert scene.index() == ["r0", "r1", "r2", "r3", "r4"]
    assert said(scene, STALE)
    assert scene.stale() == ((), False)


@COMMANDS
@pytest.mark.parametrize(
    ("rows", "column", "expected"),
    [
        ([{**row, "colour": "blue"} for row in ROWS[:2]], "colour", ["blue", "blue"]),
        (ROWS[:1], "id", ["r0"]),
        pytest.param([{**row, "added": 1.5} for row in ROWS[:2]], "added", [1.5, 1.5], marks=pytest.mark.long),
        pytest.param(ROWS[1::-1], "id", ["r1", "r0"], marks=pytest.mark.long),
    ],
    ids=["edited", "row removed", "column added", "other order"],
)
def test_a_manifest_that_was_edited_without_anything_to_do(
    scene: Scene, command: Command, rows: list[dict[str, Any]], column: str, expected: list[Any]
) -> None:
    scene.write(rows)
    assert scene.stale() == ((), True)
    command(scene)
    assert scene.index(column) == expected
    assert said(scene, STALE)
    assert scene.stale() == ((), False)
    scene.said.clear()
    command(scene)
    assert not said(scene, "not of what")


@pytest.mark.parametrize("command", [Scene.report, Scene.status], ids=["report", "status"])
def test_a_manifest_whose_rows_clips_were_not_made_from_is_not_taken_up(scene: Scene, command: Command) -> None:
    """A job refuses it; what is made again is of the rows that there were."""
    for rows, words in (
        ([{**ROWS[0], "prompt": "another"}, ROWS[1]], "1 row edited after their clips were made (r0)"),
        ([{**row, "id": f"x{number}"} for number, row in enumerate(ROWS)], "none of the rows whose clips were made"),
        ([{"id": None, "prompt": "p"}], "row 0"),
    ):
        scene.write(rows)
        scene.said.clear()
        command(scene)
        assert said(scene, "is not taken up: "), scene.said
        assert said(scene, words), scene.said
        assert scene.index("colour") == ["red", "red"]


def test_a_manifest_that_has_moved_is_looked_for_where_it_is_now(scene: Scene, tmp_path: Path) -> None:
    """Though its rows are those that the output has kept."""
    moved = shutil.move(scene.manifest, tmp_path / "moved.parquet")
    assert report(scene.output.uri, scene.said.append, manifest=str(moved)) == 2
    assert read_status(scene.output.uri)[1].manifest == str(moved)
    assert scene.stale() == ((), False)


def test_rows_that_an_output_did_not_keep_are_kept_once_their_manifest_is_found(scene: Scene) -> None:
    """Though nothing of it has changed: an earlier release kept none."""
    for path in list(scene.output.list(KEPT)):
        scene.output.delete(path)
    scene.output.delete("index.parquet")
    scene.report()
    Path(scene.manifest).unlink()
    scene.report()
    assert scene.index("colour") == ["red", "red"]


@pytest.mark.parametrize("command", [Scene.report, Scene.status], ids=["report", "status"])
def test_an_output_needs_no_manifest_elsewhere(scene: Scene, command: Command) -> None:
    Path(scene.manifest).unlink()
    for name in derived.DERIVED:
        scene.output.delete(name)
    command(scene)
    assert scene.index("colour") == ["red", "red"]
    assert said(scene, STALE)


def test_a_job_that_is_at_work_makes_them_itself(scene: Scene) -> None:
    """A report meanwhile is of the rows that the job has read."""
    scene.write([{**row, "colour": "blue"} for row in ROWS])
    scene.commit("r2")
    lease = acquire(scene.output, LeaseTimes(60.0, 180.0))
    try:
        scene.status()
        assert scene.said == [f"{STALE}; the job that is at work makes them again at its end"]
        assert scene.index() == ["r0", "r1"]
        scene.report()
        assert scene.index("colour") == ["red", "red"]
    finally:
        lease.release()
    scene.status()
    assert scene.index("colour") == ["blue"] * 3


def test_a_driver_of_this_machine_that_was_killed_is_not_waited_for(scene: Scene) -> None:
    script = (
        "import sys, time\nfrom cosmos_ray.ledger.lease import LeaseTimes, acquire\n"
        "from cosmos_ray.store.storage import Storage\n"
        "acquire(Storage(sys.argv[1]), LeaseTimes(60.0, 180.0))\nprint('owns it', flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, scene.output.uri], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "owns it\n"
        scene.write([*ROWS[:2], {**ROWS[2], "colour": "blue"}])
        scene.commit("r2")
        os.kill(driver.pid, signal.SIGKILL)
    status, _, _ = read_status(scene.output.uri)
    assert status.owner is not None
    assert (status.owner.has_ended, status.is_at_work) == (True, False)
    scene.status()
    assert scene.index("colour") == ["red", "red", "blue"]


def test_a_status_of_what_can_only_be_read_is_a_status(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.write(ROWS)
    scene.commit("r2")

    def refuse(self: Storage, path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    for name in ("write", "write_file", "write_if_absent"):
        monkeypatch.setattr(Storage, name, refuse)
    scene.status()
    assert said(scene, "they cannot be made again: ")
    assert said(scene, "Permission denied")


def test_a_status_does_not_wait_for_the_manifests_store(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer."""
    answers = threading.Event()
    monkeypatch.setattr(derived, "_LOOK_S", 0.05)
    monkeypatch.setattr(derived, "manifest_now", lambda *_: answers.wait() and "changed")
    assert scene.stale() == ((), False)
    answers.set()


def test_the_manifest_of_another_kind_of_store_is_not_looked_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that reads a copied output need not reach it."""
    found, run, state = read_status(scene.output.uri)
    elsewhere = type(run)(**{**run.__dict__, "manifest": "s3://away/m.parquet"})
    monkeypatch.setattr(derived, "manifest_now", None)
    assert not with_stale(found, elsewhere, state).manifest_changed


# --- outputs of a release that kept no rows --------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Storage:
    """As 0.1.0 wrote it, with its manifest at its old place or not."""
    shutil.copytree(ROOT / "tests" / "golden-output" / "0.1.0" / "output", tmp_path / "old")
    return Storage(str(tmp_path / "old"))


def test_a_report_of_an_old_output_asks_for_its_manifest_once(old: Storage, tmp_path: Path) -> None:
    heard: list[str] = []
    with pytest.raises(UsageError, match=r"kept no copy of the manifest.*--manifest URI"):
        report(old.uri, heard.append)
    found, run, state = read_status(old.uri)
    bring_up_to_date(with_stale(found, run, state), run, state, heard.append)
    assert "--manifest URI" in heard[-1], "a status says the same, and ends well"
    given = str(tmp_path / "given.parquet")
    shutil.copyfile(ROOT / "tests" / "golden-output" / "0.1.0" / "manifest.parquet", given)
    assert report(old.uri, heard.append, given) == 5
    Path(given).unlink()
    assert report(old.uri, heard.append) == 5
    status, _, _ = read_status(old.uri)
    assert (status.ok, status.failed_by_class, status.left) == (5, {"input": 1}, 1)


def test_the_manifest_that_is_given_must_be_this_outputs(old: Storage, scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="none of the rows"):
        report(old.uri, print, scene.manifest)
    with pytest.raises(ManifestError, match="there is no manifest at"):
        report(old.uri, print, str(tmp_path / "none.parquet"))
    scene.write([{**row, "prompt": "another"} for row in ROWS])
    with pytest.raises(ManifestError, match="2 rows edited"):
        report(scene.output.uri, print, scene.manifest)


def test_a_report_does_not_take_an_output_from_a_living_job(scene: Scene) -> None:
    scene.write([{**row, "colour": "blue"} for row in ROWS[:2]])
    lease = acquire(scene.output, LeaseTimes(0.05, 180.0))
    try:
        with pytest.raises(LeaseHeld):
            report(scene.output.uri, print, scene.manifest)
    finally:
        lease.release()


def test_a_page_of_several_is_of_the_part_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each output's own files are of all of it."""
    heard: list[Any] = []
    monkeypatch.setattr("cosmos_ray.job.report.report", lambda output, say: heard.append((output, say)))
    monkeypatch.setattr("cosmos_ray.job.report.write_together", lambda outputs, part: f"{'+'.join(outputs)} {part!r}")
    part = Part("colour = 1", ("colour", "seed"), 2.0)
    assert report_together(["a", "b"], print, part) == f"a+b {part!r}"
    assert report_together(["a"], print) == f"a {WHOLE!r}"
    assert heard == [("a", print), ("b", print), ("a", print)]
