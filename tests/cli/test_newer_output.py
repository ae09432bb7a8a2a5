"""An output of a newer release, and one that a job may not go on with: every command says so in a line, and writes
nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command_line import assert_one_line
from support.paths import ROOT

from cosmos_ray.ledger.layout import RUN
from cosmos_ray.ledger.record import record_path
from cosmos_ray.store.storage import Storage

COMMANDS = {
    "plan": ("plan", "--manifest", "manifest.parquet", "--output", "output", "--model", "fake"),
    "generate": ("generate", "--manifest", "manifest.parquet", "--output", "output", "--model", "fake"),
    "status": ("status", "output"),
    "status --records": ("status", "output", "--records"),
    "status --failed": ("status", "output", "--failed"),
    "status --watch": ("status", "output", "--watch"),
    "status --clean": ("status", "output", "--clean"),
    "retry": ("retry", "output"),
    "retry --id": ("retry", "output", "--id", "text"),
    "retry --damaged": ("retry", "output", "--damaged"),
    "report": ("report", "output", "--manifest", "manifest.parquet"),
    "reproduce": ("reproduce", "output", "text"),
    **{f"export {name}": ("export", "output", "--format", name, "--to", "to") for name in ("webdataset", "lerobot")},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a job of 0.1.0, where commands are given."""
    shutil.copytree(ROOT / "tests" / "golden-output" / "0.1.0", tmp_path / "job")
    monkeypatch.chdir(tmp_path / "job")
    return tmp_path / "job"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", [RUN, record_path("video", 0)], ids=["run", "record"])
@pytest.mark.parametrize("command", COMMANDS)
def test_one_of_a_newer_release_is_refused_and_left_alone(
    cosmos_ray: Any, folder: Path, command: str, path: str
) -> None:
    output = Storage(str(folder / "output"))
    output.write(path, json.dumps({**json.loads(output.read(path)), "new": 1}).encode())
    before = _files(folder)
    answer = cosmos_ray(*COMMANDS[command])
    assert_one_line(answer, 2, output.uri_of(path), "of this version: found new, which a newer release may know")
    assert _files(folder) == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model", "tiny"), "model: it has 'fake', this job 'tiny'"),
        (("--set", "sampling.numerics=reference"), "numerics: it has 'float32', this job 'reference'"),
        (("--set", "sampling.solver=unipc"), "approximations: it has {}, this job {'solver': 'unipc'}"),
        (("--set", "inputs.fit=pad"), "inputs: it has"),
    ],
    ids=["model", "numerics", "solver", "inputs"],
)
def test_a_plan_refuses_what_its_job_would(cosmos_ray: Any, folder: Path, flags: tuple[str, ...], words: str) -> None:
    answer = cosmos_ray(*COMMANDS["plan"], *flags)
    assert_one_line(answer, 2, "was made with other settings; use another output", words)


def test_a_plan_of_another_manifest_is_refused_and_one_that_moved_is_not(cosmos_ray: Any, folder: Path) -> None:
    shutil.copy("manifest.parquet", "moved.parquet")
    asked = [*COMMANDS["plan"], "--manifest", "moved.parquet"]
    assert cosmos_ray(*asked).code == 0
    output = Storage(str(folder / "output"))
    run = {**json.loads(output.read(RUN)), "manifest_sha256": "0" * 64}
    output.write(RUN, json.dumps(run).encode())
    assert_one_line(cosmos_ray(*asked), 2, "manifest: it has")


def test_a_plan_asks_for_no_refiner_and_no_weights_of_checks(cosmos_ray: Any, folder: Path) -> None:
    """What they come to is told by the machines of the job."""
    output = Storage(str(folder / "output"))
    run = {**json.loads(output.read(RUN)), "refiner": {"model": "m"}, "guardrails": {"face_blur": "1"}}
    output.write(RUN, json.dumps(run).encode())
    assert cosmos_ray(*COMMANDS["plan"]).code == 0
